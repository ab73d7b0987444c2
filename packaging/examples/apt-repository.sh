#!/bin/sh
# Makes a flat apt repository of a folder of packages: apt-repository.sh FOLDER [GPG-KEY]
# Serve the folder by any web server, or use it as it is. On the hosts, with a key:
#   curl -fsSL https://packages.example.com/vm-sidecar/key.gpg -o /usr/share/keyrings/vm-sidecar.gpg
#   echo 'deb [signed-by=/usr/share/keyrings/vm-sidecar.gpg] https://packages.example.com/vm-sidecar ./' >/etc/apt/sources.list.d/vm-sidecar.list
# without one (a folder of this machine, a test): deb [trusted=yes] file:/FOLDER ./
# Needs dpkg-dev; with a key also gnupg.
set -eu
cd "${1:?usage: apt-repository.sh FOLDER [GPG-KEY]}"
dpkg-scanpackages --multiversion . /dev/null >Packages
gzip -9nkf Packages
{
	echo "Date: $(date -Ru)"
	echo "Suite: ./"
	echo "SHA256:"
	for file in Packages Packages.gz; do
		printf ' %s %s %s\n' "$(sha256sum "$file" | cut -d' ' -f1)" "$(wc -c <"$file")" "$file"
	done
} >Release
if [ -n "${2:-}" ]; then
	gpg --batch --yes --local-user "$2" --clearsign --output InRelease Release
	gpg --batch --yes --output key.gpg --export "$2"
fi
