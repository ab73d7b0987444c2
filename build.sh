#!/usr/bin/env bash
# Everything a person does with this repository. `./build.sh help` lists the verbs.
set -euo pipefail
cd "$(dirname "$0")"
# An ordinary user's PATH lacks the folders of iptables and its kin.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

# What each verb needs beyond the .NET SDK: "command=debian-package".
BUILD_TOOLS="clang=clang"
LAB_TOOLS="ip=iproute2 iptables=iptables nft=nftables conntrack=conntrack curl=curl dig=bind9-dnsutils dnsmasq=dnsmasq-base setpriv=util-linux openssl=openssl ps=procps"
DEB_TOOLS="dh=debhelper dpkg-buildpackage=dpkg-dev fakeroot=fakeroot lintian=lintian"
TEST_TOOLS="unbound=unbound musl-gcc=musl-tools python3=python3 dnsperf=dnsperf h2load=nghttp2-client"
MACHINE_TOOLS="systemd-nspawn=systemd-container debootstrap=debootstrap"
RPM_TOOLS="rpmbuild=rpm rpmlint=rpmlint"

# Installs what is missing with apt when root; says what to install when not.
need() {
  local missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair##*=}")
  done
  case " $* " in *" clang=clang "*) [ -e /usr/include/zlib.h ] || missing+=(zlib1g-dev) ;; esac
  case " $* " in *" python3=python3 "*) /usr/bin/python3 -c 'import grpc' 2>/dev/null || missing+=(python3-grpcio) ;; esac
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    say "installing ${missing[*]}"
    # No service of a package is to start on this machine: only the programs are wanted.
    local policy=/usr/sbin/policy-rc.d made=0
    if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=1; trap "rm -f $policy" EXIT; fi
    local ok=0
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >out/apt.log 2>&1 && ok=1
    if [ "$made" = 1 ]; then rm -f "$policy"; trap - EXIT; fi
    [ "$ok" = 1 ] || { tail -5 out/apt.log >&2; die "apt could not install: ${missing[*]}"; }
  else
    die "missing on this machine: ${missing[*]}. Install them (apt-get install ${missing[*]}) or run as root"
  fi
}

sdk() { command -v dotnet >/dev/null 2>&1 || die "the .NET SDK 10 is not on PATH; install it first (dotnet-sdk-10.0)"; }

rid() { case "$(uname -m)" in x86_64) echo linux-x64 ;; aarch64) echo linux-arm64 ;; *) die "no native build for $(uname -m)" ;; esac; }

# VERSION from the environment, else the tag of this very commit (v1.2.3), else the one in Directory.Build.props.
version() {
  local tag
  if [ -n "${VERSION:-}" ]; then echo "$VERSION"
  elif tag=$(git describe --exact-match --tags --match 'v[0-9]*' 2>/dev/null); then echo "${tag#v}"
  else sed -n 's|.*<Version>\(.*\)</Version>.*|\1|p' Directory.Build.props; fi
}

# Native AOT: on net10.0 where the SDK can get that compiler, otherwise on net9.0.
aot_framework() {
  local kept=out/aot-framework
  if [ ! -s "$kept" ]; then
    local probe; probe=$(mktemp -d)
    cat >"$probe/probe.csproj" <<P
<Project Sdk="Microsoft.NET.Sdk"><PropertyGroup><TargetFramework>net10.0</TargetFramework><PublishAot>true</PublishAot><RuntimeIdentifier>$(rid)</RuntimeIdentifier></PropertyGroup></Project>
P
    if dotnet restore "$probe/probe.csproj" -v q >/dev/null 2>&1; then echo net10.0 >"$kept"; fi
    rm -rf "$probe"
  fi
  # Only the good answer is kept: a registry that was out of reach once must not decide for ever.
  if [ -s "$kept" ]; then cat "$kept"; else echo net9.0; fi
}

publish() {
  sdk; need $BUILD_TOOLS
  local framework; framework=$(aot_framework)
  say "publishing vmsidecar: native AOT on $framework for $(rid)"
  dotnet publish src/VmSidecar/VmSidecar.csproj -c Release -f "$framework" -r "$(rid)" -p:Aot=true -p:ShippedFrameworks="$framework" \
    -p:Version="$(version)" -p:SourceRevisionId="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" -o out/publish -v q
  mkdir -p out/bin
  install -m 0755 out/publish/vmsidecar out/bin/vmsidecar
  ln -sfn vmsidecar out/bin/pilot-agent
  ls -l out/bin/vmsidecar | awk '{printf "   out/bin/vmsidecar, %.1f MB\n", $5/1e6}' >&2
}

# What both kinds of package hold besides the binary: man pages, settings, examples, completions (the binary's own), in $1.
stage() {
  local to=$1 binary=$2
  mkdir -p "$to"/{bin,man,default,examples,completions}
  install -m 0755 "$binary" "$to/bin/vmsidecar"
  install -m 0644 packaging/*.[58] "$to/man"
  install -m 0644 packaging/default/istio "$to/default"
  install -m 0644 packaging/examples/* systemd/wasm.conf systemd/tproxy.conf "$to/examples"
  chmod 0755 "$to/examples/apt-repository.sh"
  "$to/bin/vmsidecar" completion bash >"$to/completions/vmsidecar"
  "$to/bin/vmsidecar" completion zsh >"$to/completions/_vmsidecar"
  "$to/bin/vmsidecar" completion fish >"$to/completions/vmsidecar.fish"
}

# A binary that is already there can be packed as it is: VMSIDECAR_BINARY=FILE
binary() {
  if [ -z "${VMSIDECAR_BINARY:-}" ]; then publish; fi
  [ -x "${VMSIDECAR_BINARY:-out/bin/vmsidecar}" ] || die "no binary at ${VMSIDECAR_BINARY:-out/bin/vmsidecar}"
}

# Stages the binary, the units and packaging/debian, and lets debhelper make out/vm-sidecar_VERSION_ARCH.deb of them.
# The bytes depend on the binary, the commit and the tools only: times are the commit's, modes and owners are set here or by debhelper.
deb() {
  sdk; need $DEB_TOOLS; binary
  local arch number stage=out/deb/vm-sidecar
  number=$(version)
  arch=$(dpkg --print-architecture)
  export SOURCE_DATE_EPOCH; SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
  rm -rf out/deb; mkdir -p "$stage"
  (
    umask 022
    stage "$stage" "${VMSIDECAR_BINARY:-out/bin/vmsidecar}"
    cp -r packaging/debian "$stage/debian"
    for unit in istio istio-capture-watch; do install -m 0644 "systemd/$unit.service" "$stage/debian/vm-sidecar.$unit.service"; done
    mkdir "$stage/debian/source"; echo '3.0 (native)' >"$stage/debian/source/format"
    printf 'vm-sidecar (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n' "$number" "$(git rev-parse --short=12 HEAD)" \
      "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$stage/debian/changelog"
    cd "$stage"; LC_ALL=C.UTF-8 dpkg-buildpackage -b -us -uc
  ) >out/deb.log 2>&1 || { tail -30 out/deb.log >&2; die "the package could not be built; see out/deb.log"; }
  local file=vm-sidecar_${number}_$arch.deb
  mv "out/deb/$file" "out/$file"
  lintian --allow-root --fail-on error,warning "out/$file" >&2 || die "lintian is not content with out/$file"
  ls -l "out/$file" | awk '{printf "   %s, %.1f MB\n", $9, $5/1e6}' >&2
}

# The same files for rpm's family, built by rpmbuild and looked through by rpmlint.
rpm_package() {
  sdk; need $RPM_TOOLS; binary
  local stage=$PWD/out/rpm/stage files=$PWD/out/rpm/root arch; arch=$(uname -m)
  rm -rf out/rpm; mkdir -p "$files"/{usr/bin,usr/lib/systemd/system,usr/lib/tmpfiles.d,etc/default,etc/logrotate.d,etc/certs,var/log/istio} \
    "$files"/usr/share/{man/man5,man/man8,doc/vm-sidecar/examples,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d} \
    "$files"/var/lib/istio/{envoy,proxy,config,state}
  ( umask 022
    stage "$stage" "${VMSIDECAR_BINARY:-out/bin/vmsidecar}"
    cp "$stage/bin/vmsidecar" "$files/usr/bin/"; ln -s vmsidecar "$files/usr/bin/pilot-agent"
    install -m 0644 systemd/istio.service systemd/istio-capture-watch.service "$files/usr/lib/systemd/system/"
    install -m 0644 packaging/debian/vm-sidecar.tmpfiles "$files/usr/lib/tmpfiles.d/vm-sidecar.conf"
    install -m 0644 "$stage/default/istio" "$files/etc/default/"
    install -m 0644 packaging/debian/vm-sidecar.istio.logrotate "$files/etc/logrotate.d/istio"
    install -m 0644 packaging/debian/copyright "$files/usr/share/doc/vm-sidecar/"
    cp "$stage"/examples/* "$files/usr/share/doc/vm-sidecar/examples/"
    gzip -9nc "$stage/man/istio-sidecar.5" >"$files/usr/share/man/man5/istio-sidecar.5.gz"
    gzip -9nc "$stage/man/vmsidecar.8" >"$files/usr/share/man/man8/vmsidecar.8.gz"; ln -s vmsidecar.8.gz "$files/usr/share/man/man8/pilot-agent.8.gz"
    cp "$stage/completions/vmsidecar" "$files/usr/share/bash-completion/completions/"; ln -s vmsidecar "$files/usr/share/bash-completion/completions/pilot-agent"
    cp "$stage/completions/_vmsidecar" "$files/usr/share/zsh/site-functions/"; cp "$stage/completions/vmsidecar.fish" "$files/usr/share/fish/vendor_completions.d/"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) rpmbuild -bb --define "_topdir $PWD/out/rpm" --define "stage $files" --define "package_version $(version)" --define "package_arch $arch" \
      --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" --define "_buildhost vm-sidecar" packaging/rpm/vm-sidecar.spec
  ) >out/rpm.log 2>&1 || { tail -30 out/rpm.log >&2; die "the rpm could not be built; see out/rpm.log"; }
  local built; built=$(find out/rpm/RPMS -name '*.rpm'); mv "$built" out/
  rpmlint -c packaging/rpm/rpmlint.toml "out/$(basename "$built")" >out/rpmlint.log 2>&1 || { cat out/rpmlint.log >&2; die "rpmlint found errors"; }
  tail -n 1 out/rpmlint.log >&2
  ls -l "out/$(basename "$built")" | awk '{printf "   %s, %.1f MB\n", $9, $5/1e6}' >&2
}

lab_build() {
  dotnet build tests/VmSidecar.MeshLab/VmSidecar.MeshLab.csproj -c Debug -v q -p:ShippedFrameworks=net10.0
  dotnet build tests/VmSidecar.MiniEnvoy/VmSidecar.MiniEnvoy.csproj -c Debug -v q -p:ShippedFrameworks=net10.0
}

lab() {
  [ "$(id -u)" -eq 0 ] || die "run needs root, for network namespaces: sudo ./build.sh run $*"
  need $LAB_TOOLS
  exec dotnet exec tests/VmSidecar.MeshLab/bin/Debug/net10.0/mesh-lab.dll run \
    --vmsidecar "$PWD/out/bin/vmsidecar" --mini-envoy "$PWD/tests/VmSidecar.MiniEnvoy/bin/Debug/net10.0" "$@"
}

run() {
  [ "$(id -u)" -eq 0 ] || die "run needs root, for network namespaces: sudo ./build.sh run $*"
  publish; say "building the lab"; lab_build; lab "$@"
}

# Runs one xunit.v3 project; adds its counts to PASSED, FAILED, SKIPPED. One that hangs is ended with all it has started, and what ran then is named. It has a
# session of its own, so that Ctrl-C reaches it once, through timeout, and it can clean up; whoever pressed it wants no further suite.
PASSED=0 FAILED=0 SKIPPED=0
SUITE_LIMIT=1200 HUNG_AFTER=120 # seconds
suite() {
  local name=$1; shift
  local log=out/test-$name.log code=0 begin=$SECONDS
  say "$name"
  trap 'exit 130' INT
  timeout --foreground --kill-after=60s "$SUITE_LIMIT" setsid sh -c 'echo $$ >"$0"; exec "$@"' out/suite.pid \
    dotnet exec "tests/$name/bin/Debug/net10.0/$name.dll" -noColor -longRunning "$HUNG_AFTER" "$@" >"$log" 2>&1 || code=$?
  trap - INT
  if [ $((SECONDS - begin)) -ge "$SUITE_LIMIT" ] && { [ "$code" -eq 124 ] || [ "$code" -eq 137 ]; }; then
    pkill -KILL -s "$(cat out/suite.pid)" || true
    echo "$name did not end within $SUITE_LIMIT s; of its tests these were running:"
    grep -F 'Long Running Test' "$log" | tail -n 10 || true
    FAILED=$((FAILED + 1))
    return
  fi
  local line; line=$(grep -E 'Total: [0-9]+, Errors:' "$log" | tail -n 1 || true)
  if [ -z "$line" ]; then tail -40 "$log"; FAILED=$((FAILED + 1)); return; fi
  number() { sed -E "s/.*$1: ([0-9]+).*/\1/" <<<"$line"; }
  local total failed errors skipped notrun
  total=$(number Total) failed=$(number Failed) errors=$(number Errors) skipped=$(number Skipped) notrun=$(number 'Not Run')
  if [ "$total" -eq "$notrun" ]; then tail -40 "$log"; echo "no test ran in $name"; FAILED=$((FAILED + 1)); return; fi
  grep -E '\[(FAIL|SKIP)\]' "$log" || true
  if [ "$((failed + errors))" -gt 0 ]; then grep -A 25 -E '\[FAIL\]' "$log" | head -400 || true; fi
  FAILED=$((FAILED + failed + errors)) SKIPPED=$((SKIPPED + skipped)) PASSED=$((PASSED + total - failed - skipped - notrun))
  printf '   %s\n' "$line"
}

scenario() {
  say "scenario (./build.sh run --once)"
  if (lab --once) >out/scenario.log 2>&1; then PASSED=$((PASSED + 1)); tail -n 6 out/scenario.log
  else FAILED=$((FAILED + 1)); tail -n 80 out/scenario.log; fi
}

# The Debian that the package is tried on: debootstrapped once, then kept where every run of this machine finds it. Prints its folder.
MACHINE_PACKAGES=systemd,systemd-sysv,systemd-resolved,dbus,iproute2,iptables,nftables,adduser,logrotate,libssl3,ca-certificates,procps,curl,bind9-dnsutils,netbase,ifupdown,cron
machine_root() {
  local kept mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
  kept=/var/cache/vmsidecar/bookworm-$(dpkg --print-architecture)-$(cksum <<<"$MACHINE_PACKAGES" | cut -d' ' -f1)
  if [ ! -d "$kept" ]; then
    mkdir -p /var/cache/vmsidecar; chmod 0755 /var/cache/vmsidecar
    ( flock 9; [ -d "$kept" ] || {
        say "debootstrap of the machine that the package is tried on (once; kept in $kept)"
        rm -rf "$kept.tmp"
        debootstrap --variant=minbase --include="$MACHINE_PACKAGES" bookworm "$kept.tmp" "$mirror" >out/debootstrap.log 2>&1 || { tail -5 out/debootstrap.log >&2; exit 1; }
        rm -rf "$kept.tmp"/var/cache/apt/archives/*.deb; mv "$kept.tmp" "$kept"; }
    ) 9>/var/cache/vmsidecar/lock || return 1
  fi
  echo "$kept"
}

# The package on booted machines: an upgrade, a crash, a purge. Needs root, for systemd-nspawn.
machines() {
  local framework root; framework=$(aot_framework)
  if ! unshare --mount --net --pid --fork mount -t tmpfs vmsidecar-probe /mnt 2>/dev/null; then
    say "machines skipped: this kernel or container does not let us mount and make namespaces"; SKIPPED=$((SKIPPED + 1)); return
  fi
  need $MACHINE_TOOLS $DEB_TOOLS
  root=$(machine_root) || { echo "no Debian to boot: debootstrap could not fetch one; see out/debootstrap.log"; FAILED=$((FAILED + 1)); return; }
  say "publishing the test data plane: native too, as the unit's sandbox allows no JIT"
  dotnet publish tests/VmSidecar.MiniEnvoy/VmSidecar.MiniEnvoy.csproj -c Release -r "$(rid)" -p:Aot=true -p:TargetFramework="$framework" -p:ShippedFrameworks="$framework" -o out/mini-envoy -v q
  VMSIDECAR_BINARY=out/bin/vmsidecar deb
  VMSIDECAR_MACHINE_ROOT=$root VMSIDECAR_DEB=$PWD/out/vm-sidecar_$(version)_$(dpkg --print-architecture).deb VMSIDECAR_NATIVE_ENVOY=$PWD/out/mini-envoy/mini-envoy \
    suite VmSidecar.Package.Tests "$@"
}

test_all() {
  sdk; need $BUILD_TOOLS $LAB_TOOLS $TEST_TOOLS
  interop_js
  say "building (net10.0 and net9.0, warnings are errors)"
  dotnet build VmSidecar.sln -c Debug -v q
  publish
  for project in VmSidecar.Wire.Tests VmSidecar.Tests VmSidecar.Integration.Tests; do suite "$project"; done
  if [ "$(id -u)" -eq 0 ]; then scenario; else say "scenario skipped: it needs root"; SKIPPED=$((SKIPPED + 1)); fi
  if [ "$(id -u)" -eq 0 ]; then machines; else say "machines skipped: booting them needs root"; SKIPPED=$((SKIPPED + 1)); fi
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  [ "$FAILED" -eq 0 ]
}

# bench [MEASUREMENT...]: the native form, as shipped, where the SDK can make it. Without arguments: the relay against a direct connection.
bench() {
  sdk
  [ $# -gt 0 ] || set -- xds
  if [ "$(aot_framework)" != net10.0 ]; then dotnet run --project tests/VmSidecar.Benchmarks -c Release -- "$@"; return; fi
  need $BUILD_TOOLS
  say "publishing the benchmarks: native AOT"
  dotnet publish tests/VmSidecar.Benchmarks -c Release -r "$(rid)" -p:Aot=true -p:OptimizationPreference=Size -p:ShippedFrameworks=net10.0 -v q -o out/bench
  if [ "$1" = dns ]; then
    [ "$(id -u)" -eq 0 ] || die "bench dns needs root, for a network namespace: sudo ./build.sh bench dns"
    need ip=iproute2 dnsmasq=dnsmasq-base unbound=unbound dnsperf=dnsperf knotd=knot openssl=openssl
    publish
    AGENT=out/bin/vmsidecar tests/VmSidecar.Benchmarks/Dns/compare.sh out/bench/VmSidecar.Benchmarks "${@:2}"
    return
  fi
  out/bench/VmSidecar.Benchmarks "$@"
}

# gRPC's JavaScript client for one test, at the versions of the lock file; no script of a package runs. Without npm that test is skipped and says so.
interop_js() {
  local from=tests/VmSidecar.Tests/Xds/Interop/js to=out/grpc-js
  if ! command -v npm >/dev/null 2>&1; then say "no npm: the test with gRPC's JavaScript client is skipped"; return; fi
  if cmp -s "$from/package-lock.json" "$to/node_modules/.vmsidecar-lock"; then return; fi
  mkdir -p "$to"
  cp "$from/package.json" "$from/package-lock.json" "$to"
  if npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --loglevel=error >out/npm.log 2>&1; then cp "$from/package-lock.json" "$to/node_modules/.vmsidecar-lock"
  else say "npm could not install: see out/npm.log; the test with gRPC's JavaScript client is skipped"; rm -rf "$to"; fi
}

# fuzz [TARGET...] [SECONDS]: every parser in turn, SECONDS of CPU each (30 by default), at the lowest priority. New inputs and findings: out/fuzz.
# Led by branch coverage where the SharpFuzz package is to be had. 'fuzz prune' puts the inputs that reach most into the committed corpus.
fuzz() {
  sdk
  local seconds=30 names=() word
  for word in "$@"; do if [[ $word =~ ^[0-9]+$ ]]; then seconds=$word; else names+=("$word"); fi; done
  local bin=out/fuzz/bin corpus=tests/VmSidecar.Fuzz/Corpus
  rm -rf "$bin"; mkdir -p "$bin"
  if dotnet build tests/VmSidecar.Fuzz -c Release -v q -p:ShippedFrameworks=net10.0 -p:Coverage=true -o "$bin" >out/fuzz/build.log 2>&1; then
    dotnet exec "$bin/VmSidecar.Fuzz.dll" instrument "$bin" || die "the assemblies could not be prepared for coverage"
  else
    say "without coverage: see out/fuzz/build.log"
    dotnet build tests/VmSidecar.Fuzz -c Release -v q -p:ShippedFrameworks=net10.0 -o "$bin"
  fi
  if [ "${names[0]:-}" = prune ]; then dotnet exec "$bin/VmSidecar.Fuzz.dll" prune out/fuzz "$corpus" "${names[@]:1}"; return; fi
  # One process a target: the coverage map, and a crash, are its own.
  local failed=0
  [ ${#names[@]} -gt 0 ] || mapfile -t names < <(dotnet exec "$bin/VmSidecar.Fuzz.dll" list)
  for word in "${names[@]}"; do nice -n 19 dotnet exec "$bin/VmSidecar.Fuzz.dll" run out/fuzz "$corpus" "$seconds" "$word" || failed=1; done
  [ "$failed" = 0 ] || die "there are findings: see out/fuzz/findings"
}

help() {
  cat <<'H'
./build.sh run [--once]   the whole job in three network namespaces, with a transcript (root)
./build.sh test           every test
./build.sh publish        the native binary at out/bin/vmsidecar, with the link pilot-agent
./build.sh deb            the Debian package at out/vm-sidecar_VERSION_ARCH.deb, checked by lintian
./build.sh rpm            the same as an rpm, checked by rpmlint
./build.sh machines       only the tests of the package on booted machines (root); after ./build.sh publish
./build.sh bench [WHAT]   ratios against named peers, one run; alone: the relay against a direct connection
./build.sh fuzz [TARGET...] [SECONDS]  fuzzes the parsers, 30 s of CPU each by default
./build.sh fmt            format the code
./build.sh clean          remove everything built
H
}

mkdir -p out
verb=${1:-help}; shift || true
case "$verb" in
  run) run "$@" ;;
  test) test_all ;;
  publish) publish ;;
  deb) deb ;;
  rpm) rpm_package ;;
  machines)
    sdk; [ -x out/bin/vmsidecar ] || publish
    dotnet build tests/VmSidecar.Package.Tests/VmSidecar.Package.Tests.csproj -c Debug -v q -p:ShippedFrameworks=net10.0
    machines "$@"; [ "$FAILED" -eq 0 ] ;;
  bench) bench "$@" ;;
  fuzz) fuzz "$@" ;;
  fmt) sdk; dotnet format VmSidecar.sln ;;
  clean) rm -rf out; find src tests -type d \( -name bin -o -name obj \) -prune -exec rm -rf {} + ;;
  help|-h|--help) help ;;
  *) help >&2; die "unknown verb '$verb'" ;;
esac
