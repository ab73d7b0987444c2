#!/usr/bin/env bash
# CPU per query and QPS of the agent's DNS beside unbound and dnsmasq, in one run on one host, in a network namespace of its own.
# usage: compare.sh BENCHMARKS_BINARY [SECONDS]     needs root, dnsperf, unbound, dnsmasq
set -euo pipefail
binary=$(readlink -f "$1"); seconds=${2:-10}
if [ -z "${VSC_INSIDE:-}" ]; then exec env VSC_INSIDE=1 unshare --net --mount "$0" "$binary" "$seconds"; fi
work=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
ip link set lo up
echo "nameserver 127.0.0.2" > "$work/resolv.conf"
for i in $(seq 1 1000); do echo "s$((i / 10 * 10 + 1)).n$(((i / 10 * 10 + 1) % 100)).svc.cluster.local A"; done > "$work/hits"
for i in $(seq 1 20000); do echo "n$i.upstream.test A"; done > "$work/misses"
for i in $(seq 1 500); do echo "c$i.cached.test A"; done > "$work/cached"

dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=53 --listen-address=127.0.0.2 --bind-interfaces --cache-size=0 --dns-forward-max=10000 \
  --address=/upstream.test/192.0.2.53 --address=/cached.test/192.0.2.54 --local-ttl=0 --pid-file= --user=root 2>/dev/null & upstream=$!

"$binary" dns-serve 15053 "$work/resolv.conf" 5000 > "$work/agent.log" & agent=$!

{ echo "server:"; printf '  interface: 127.0.0.1@15054\n  do-daemonize: no\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n  logfile: "%s"\n  num-threads: 2\n  so-reuseport: yes\n  do-not-query-localhost: no\n  module-config: "iterator"\n  access-control: 127.0.0.0/8 allow\n' "$work/unbound.log"
  while read -r name type; do echo "  local-data: \"$name. 30 A 10.0.0.1\""; done < "$work/hits"
  printf 'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.2\nremote-control:\n  control-enable: no\n'; } > "$work/unbound.conf"
unbound -d -c "$work/unbound.conf" 2>/dev/null & unbound=$!

{ while read -r name type; do echo "10.0.0.1 $name"; done < "$work/hits"; } > "$work/hosts"
dnsmasq --keep-in-foreground --no-hosts --addn-hosts="$work/hosts" --resolv-file="$work/resolv.conf" --port=15055 --listen-address=127.0.0.1 --bind-interfaces \
  --cache-size=10000 --dns-forward-max=10000 --local-ttl=30 --pid-file= --user=root 2>/dev/null & dnsmasq=$!
sleep 2

cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; }
measure() { # name pid port file
  dnsperf -s 127.0.0.1 -p "$3" -d "$4" -l 2 -c 4 -q 100 > /dev/null 2>&1 || true
  local before after out
  before=$(cpu "$2"); out=$(dnsperf -s 127.0.0.1 -p "$3" -d "$4" -l "$seconds" -c 4 -q 100 2>&1 || true); after=$(cpu "$2")
  local done lost qps latency
  done=$(awk '/Queries completed/{print $3}' <<< "$out"); lost=$(awk '/Queries lost/{print $3}' <<< "$out")
  qps=$(awk '/Queries per second/{print $4}' <<< "$out"); latency=$(awk '/Average Latency/{print $4}' <<< "$out")
  awk -v n="$1" -v b="$before" -v a="$after" -v d="$done" -v l="$lost" -v q="$qps" -v t="$latency" -v hz="$(getconf CLK_TCK)" \
    'BEGIN { printf "  %-10s %6.1f us CPU/query %9.0f QPS  lost %d  mean %.2f ms\n", n, (a - b) / hz / d * 1e6, q, l, t * 1000 }'
}
for kind in hits misses; do
  case $kind in hits) echo "answered from the table:";; misses) echo "forwarded (answers with TTL 0):";; esac
  measure vmsidecar "$agent" 15053 "$work/$kind"
  measure unbound "$unbound" 15054 "$work/$kind"
  measure dnsmasq "$dnsmasq" 15055 "$work/$kind"
done
kill -TERM "$agent"; wait "$agent" || true; cat "$work/agent.log"
