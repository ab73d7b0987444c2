#!/usr/bin/env bash
# The DNS server against a real resolver over a bad network: loss, delay, a dead and a lying first server; asked with dig and getent.
# usage: network.sh BENCHMARKS_BINARY     needs root, dig, unbound, tc or iptables. All in namespaces of its own, gone when it ends.
set -euo pipefail
binary=$(readlink -f "$1")
if [ -z "${VSC_INSIDE:-}" ]; then exec env VSC_INSIDE=1 unshare --net --mount "$0" "$binary"; fi
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; ip netns del vsc-dns-up 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
mount -t tmpfs none /run
ip link set lo up
ip netns add vsc-dns-up
ip link add vsc-dns0 type veth peer name vsc-dns1 netns vsc-dns-up
ip addr add 10.77.0.1/24 dev vsc-dns0; ip link set vsc-dns0 up
ip -n vsc-dns-up addr add 10.77.0.2/24 dev vsc-dns1; ip -n vsc-dns-up link set vsc-dns1 up; ip -n vsc-dns-up link set lo up
{ printf 'server:\n  interface: 10.77.0.2\n  do-daemonize: no\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n  logfile: "/dev/null"\n  access-control: 10.0.0.0/8 allow\n  max-udp-size: 1232\n  local-zone: "test." static\n'
  for i in $(seq 1 200); do echo "  local-data: \"n$i.upstream.test. 1 A 192.0.2.$i\""; done
  for i in $(seq 1 200); do echo "  local-data: \"big.upstream.test. 60 A 198.51.100.$i\""; done
  printf 'remote-control:\n  control-enable: no\n'; } > "$work/unbound.conf"
ip netns exec vsc-dns-up unbound -d -c "$work/unbound.conf" & sleep 1
echo "nameserver 10.77.0.2" > "$work/resolv.conf"
echo "nameserver 127.0.0.1" > "$work/host-resolv.conf"
mount --bind "$work/host-resolv.conf" /etc/resolv.conf
"$binary" dns-serve 53 "$work/resolv.conf" 100 > "$work/agent.log" & agent=$!
sleep 1
check() { # what expected got
  if [ "$2" = "$3" ]; then echo "ok    $1"; else echo "WRONG $1: expected '$2', got '$3'"; failed=1; fi
}
failed=0
d() { dig @127.0.0.1 +tries=1 +time=8 "$@"; }
check "dig, table" 10.0.0.1 "$(d +short h1.example.com)"
check "dig, table, tcp" 10.0.0.1 "$(d +short +tcp h1.example.com)"
check "dig, upstream" 192.0.2.7 "$(d +short n7.upstream.test)"
check "dig, upstream, NXDOMAIN" NXDOMAIN "$(d nope.test | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
check "dig, 200 addresses: cut, fetched by tcp, whole" 200 "$(d +short big.upstream.test | wc -l)"
check "dig, EDNS version 1" BADVERS "$(d +edns=1 +noednsneg h1.example.com | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
check "dig, opcode UPDATE" NOTIMP "$(d +opcode=UPDATE h1.example.com | sed -n 's/.*status: \([A-Z]*\).*/\1/p')"
check "dig -x" s1.n1.svc.cluster.local. "$(d +short -x 10.0.0.1)"
check "getent (glibc), table" 10.0.0.1 "$(getent ahostsv4 h1.example.com | awk 'NR==1{print $1}')"
check "getent (glibc), upstream" 192.0.2.9 "$(getent ahostsv4 n9.upstream.test | awk 'NR==1{print $1}')"
# a kernel without netem: loss alone, by a rule
tc qdisc add dev vsc-dns0 root netem loss 25% delay 30ms 2>/dev/null || iptables -I INPUT -i vsc-dns0 -m statistic --mode random --probability 0.25 -j DROP
begin=$(date +%s%N); good=0
for i in $(seq 10 89); do [ "$(d +short n$i.upstream.test)" = "192.0.2.$i" ] && good=$((good + 1)); done
check "80 names at 25 % loss" 80 "$good"; echo "      in $((($(date +%s%N) - begin) / 80000000)) ms each"
tc qdisc del dev vsc-dns0 root 2>/dev/null || iptables -D INPUT 1
printf 'nameserver 10.77.0.99\nnameserver 10.77.0.2\n' > "$work/resolv.conf"; sleep 4
begin=$(date +%s%N); good=0
for i in $(seq 100 139); do [ "$(d +short n$i.upstream.test)" = "192.0.2.$i" ] && good=$((good + 1)); done
check "40 names with the first server dead" 40 "$good"; echo "      in $((($(date +%s%N) - begin) / 40000000)) ms each"
ip -n vsc-dns-up link set vsc-dns1 down; sleep 2
check "upstream gone: the expired answer" 192.0.2.139 "$(d +short n139.upstream.test)"
check "upstream gone: names of the table" 10.0.0.1 "$(d +short h1.example.com)"
ip -n vsc-dns-up link set vsc-dns1 up
kill -TERM "$agent"; wait "$agent" || true
exit "$failed"
