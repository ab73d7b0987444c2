#!/usr/bin/env bash
# CPU per query, QPS and, at a fixed load, percentiles of the agent's DNS (as shipped, and with portable sockets) beside unbound, dnsmasq and, for the
# table, knot: in one run on one host, in a network namespace of its own. Then 10,000 queries a second with the first upstream dead, a table of 100,000
# hosts being built and swapped, and, given the agent's binary, the time from its start to the first forwarded answer.
# usage: compare.sh BENCHMARKS_BINARY [SECONDS] [QPS]     needs root, dnsperf, unbound, dnsmasq, knot; AGENT=FILE in the environment
set -euo pipefail
binary=$(readlink -f "$1"); seconds=${2:-10}; load=${3:-5000}
if [ -z "${VSC_INSIDE:-}" ]; then exec env VSC_INSIDE=1 AGENT="${AGENT:+$(readlink -f "$AGENT")}" unshare --net --mount "$0" "$binary" "$seconds" "$load"; fi
work=$(mktemp -d); trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
ip link set lo up
echo "nameserver 127.0.0.2" > "$work/resolv.conf"
for i in $(seq 1 1000); do echo "s$((i / 10 * 10 + 1)).n$(((i / 10 * 10 + 1) % 100)).svc.cluster.local A"; done > "$work/hits"
for i in $(seq 1 200000); do echo "n$i.upstream.test A"; done > "$work/misses"
for i in $(seq 1 500); do echo "c$i.cached.test A"; done > "$work/cached"

dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=53 --listen-address=127.0.0.2 --bind-interfaces --cache-size=0 --dns-forward-max=10000 \
  --address=/upstream.test/192.0.2.53 --server=/cached.test/127.0.0.3 --local-ttl=0 --pid-file= --user=root 2>/dev/null &
dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=53 --listen-address=127.0.0.3 --bind-interfaces \
  --address=/cached.test/192.0.2.54 --local-ttl=60 --pid-file= --user=root 2>/dev/null &

"$binary" dns-serve 15053 "$work/resolv.conf" 5000 > "$work/agent.log" & agent=$!
"$binary" dns-serve 15056 "$work/resolv.conf" 5000 portable > "$work/portable.log" & portable=$!

{ echo "server:"; printf '  interface: 127.0.0.1@15054\n  do-daemonize: no\n  chroot: ""\n  username: ""\n  pidfile: ""\n  use-syslog: no\n  logfile: "%s"\n  num-threads: 2\n  so-reuseport: yes\n  do-not-query-localhost: no\n  module-config: "iterator"\n  local-zone: "test." nodefault\n  access-control: 127.0.0.0/8 allow\n' "$work/unbound.log"
  while read -r name type; do echo "  local-data: \"$name. 30 A 10.0.0.1\""; done < "$work/hits"
  printf 'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.2\nremote-control:\n  control-enable: no\n'; } > "$work/unbound.conf"
unbound -d -c "$work/unbound.conf" 2>/dev/null & unbound=$!

{ while read -r name type; do echo "10.0.0.1 $name"; done < "$work/hits"; } > "$work/hosts"
dnsmasq --keep-in-foreground --no-hosts --addn-hosts="$work/hosts" --resolv-file="$work/resolv.conf" --port=15055 --listen-address=127.0.0.1 --bind-interfaces \
  --cache-size=10000 --dns-forward-max=10000 --local-ttl=30 --pid-file= --user=root 2>/dev/null & dnsmasq=$!
knot=
if command -v knotd > /dev/null; then
  { echo '$ORIGIN svc.cluster.local.'; echo '@ 30 SOA ns. root. 1 3600 600 86400 5'; echo '@ 30 NS ns.'
    while read -r name type; do echo "$name. 30 A 10.0.0.1"; done < "$work/hits" | sort -u; } > "$work/svc.zone"
  printf 'server:\n  rundir: "%s"\n  listen: 127.0.0.1@15057\n  udp-workers: 1\ndatabase:\n  storage: "%s"\nzone:\n  - domain: svc.cluster.local\n    file: "%s/svc.zone"\n' "$work" "$work" "$work" > "$work/knot.conf"
  knotd -c "$work/knot.conf" > "$work/knot.log" 2>&1 & knot=$!
fi
sleep 2

cpu() { awk '{print $14 + $15}' "/proc/$1/stat"; }
measure() { # name pid port file
  timeout 60 dnsperf -s 127.0.0.1 -p "$3" -d "$4" -l 2 -c 4 -q 100 > /dev/null 2>&1 || true
  local before after out
  before=$(cpu "$2"); out=$(timeout $((seconds + 60)) dnsperf -s 127.0.0.1 -p "$3" -d "$4" -l "$seconds" -c 4 -q 100 2>&1 || true); after=$(cpu "$2")
  local done lost qps latency
  done=$(awk '/Queries completed/{print $3}' <<< "$out"); lost=$(awk '/Queries lost/{print $3}' <<< "$out")
  qps=$(awk '/Queries per second/{print $4}' <<< "$out"); latency=$(awk '/Average Latency/{print $4}' <<< "$out")
  awk -v n="$1" -v b="$before" -v a="$after" -v d="$done" -v l="$lost" -v q="$qps" -v t="$latency" -v hz="$(getconf CLK_TCK)" \
    'BEGIN { printf "  %-10s %6.1f us CPU/query %9.0f QPS  lost %d  mean %.2f ms\n", n, (a - b) / hz / d * 1e6, q, l, t * 1000 }'
}
for kind in hits cached misses; do
  case $kind in hits) echo "answered from the table:";; cached) echo "answered from the cache:";; misses) echo "forwarded (answers with TTL 0):";; esac
  while read -r name pid port <&3; do
    measure "$name" "$pid" "$port" "$work/$kind"
    printf '  %-10s ' ""; "$binary" dns-load "$port" "$work/$kind" "$load" "$seconds"
  done 3< <(
    echo "vmsidecar $agent 15053"; echo "portable $portable 15056"; echo "unbound $unbound 15054"; echo "dnsmasq $dnsmasq 15055"
    if [ "$kind" = hits ] && [ -n "$knot" ]; then echo "knot $knot 15057"; fi)
done
kill -TERM "$portable"; wait "$portable" || true
"$binary" dns-silent 127.0.0.9 & sleep 0.5
printf 'nameserver 127.0.0.9\nnameserver 127.0.0.2\n' > "$work/resolv.conf"; sleep 4 # the agent looks every three seconds
for i in $(seq 1 $((10000 * seconds))); do echo "d$i.upstream.test A"; done > "$work/outside"
echo "names outside the mesh, the first upstream dead:"
printf '  %-10s ' vmsidecar; "$binary" dns-load 15053 "$work/outside" 10000 "$seconds"
echo "nameserver 127.0.0.2" > "$work/resolv.conf"
echo "a table of 100,000 hosts:"
"$binary" dns-table 100000 | grep built
"$binary" dns-swap 100000
kill -TERM "$agent"; wait "$agent" || true; grep '^serving' "$work/agent.log"

if [ -n "${AGENT:-}" ]; then
  kill "$unbound" "$dnsmasq"; wait "$unbound" "$dnsmasq" 2>/dev/null || true
  root=$work/root; mkdir -p "$root"/{etc/certs,etc/istio/config,var/lib/istio/envoy,var/run/secrets/tokens}
  cp "$work/resolv.conf" "$root/etc/resolv.conf"
  printf '%s\n' ISTIO_META_CLUSTER_ID=Kubernetes ISTIO_META_DNS_CAPTURE=true ISTIO_NAMESPACE=vm-ns ISTIO_SERVICE=vm.vm-ns ISTIO_SVC_IP=10.99.0.1 SERVICE_ACCOUNT=sa DISABLE_ENVOY=true > "$root/var/lib/istio/envoy/cluster.env"
  printf 'defaultConfig:\n  discoveryAddress: 127.0.0.10:15012\n' > "$root/etc/istio/config/mesh" # nobody there: DNS must not need it
  openssl req -x509 -newkey rsa:2048 -nodes -keyout /dev/null -out "$root/etc/certs/root-cert.pem" -days 2 -subj /CN=bench 2>/dev/null
  part() { base64 -w0 | tr '+/' '-_' | tr -d =; }
  printf '%s.%s.c2ln' "$(printf '{"alg":"RS256"}' | part)" "$(printf '{"iss":"bench","aud":["istio-ca"],"sub":"system:serviceaccount:vm-ns:sa","iat":1,"exp":4102444800}' | part)" > "$root/var/run/secrets/tokens/istio-token"
  echo "from the start of the process to the first forwarded answer:"
  "$binary" dns-start vmsidecar 15053 w1.upstream.test 15 "$AGENT" run --root "$root"
  "$binary" dns-start unbound 15054 w2.upstream.test 15 unbound -d -c "$work/unbound.conf"
  "$binary" dns-start dnsmasq 15055 w3.upstream.test 15 dnsmasq --keep-in-foreground --no-hosts --addn-hosts="$work/hosts" --resolv-file="$work/resolv.conf" --port=15055 \
    --listen-address=127.0.0.1 --bind-interfaces --pid-file= --user=root
fi
