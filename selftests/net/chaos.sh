#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --append swiotlb=force --timeout 400
# iperf3 and netperf both ways at once, while the interface goes down and up, is given
# other rings, another MTU, is reset, negotiates anew, and its driver is unbound and
# loaded again, in a random order, one every few hundred milliseconds (of the guest's clock, which
# is that of the wall). Each time traffic goes on, and one connection of iperf3 lives through it all;
# afterwards no memory and no DMA mapping more is in use than before.
# Invariants 2 and 6.
#
# CHAOS seconds of it, each event once at least; in an order that depends on SEED. For two minutes:
#   scripts/guest --nics 1 --append swiotlb=force --timeout 600 -- env CHAOS=120 bash selftests/net/chaos.sh
. "$(dirname "$0")/lib.sh"

CHAOS=${CHAOS:-20}
SEED=${SEED:-1}

# For who has an address it is asked again after a second, unless told otherwise.
sysctl -qw net.ipv4.neigh.default.retrans_time_ms=20
wire 3

for ns in coop peer; do
	# How long TCP waits before it sends again doubles each time, from a fifth of a second up to two
	# minutes: then it is not the driver that one waits for.
	ip netns exec "$ns" sysctl -qw net.ipv4.tcp_rto_min_us=10000 net.ipv4.tcp_rto_max_ms=1000 \
		net.ipv4.tcp_retries2=255
done
still
PEER=$(in_peer cat /sys/class/net/peer/address)

again() { while :; do timeout -k 1 "$@" || sleep 0.1; done >/dev/null 2>&1; }
# From the side under test: port, bytes that the other end has acknowledged, bytes received.
connections()
{
	in_coop ss -Htin state established "dport = :5201" | awk '
		function value(name) { return match($0, name ":[0-9]+") ? substr($0, RSTART + length(name) + 1, RLENGTH - length(name) - 1) : 0 }
		/^[0-9]/ { port = $3; sub(/.*:/, "", port); next }
		{ print port, value("bytes_acked"), value("bytes_received") }' | sort
}
three_connections() { PORTS=$(connections | cut -d ' ' -f 1) && [ "$(wc -w <<<"$PORTS")" = 3 ]; }
traffic()
{
	in_peer iperf3 -s -D >/dev/null 2>&1
	in_peer netserver >/dev/null 2>&1
	wait_for $LONG listens peer 5201 && wait_for $LONG listens peer 12865 || return
	ip netns exec coop iperf3 -c "$PEER_IP" -t 3600 --bidir >"$LOG" 2>&1 &
	IPERF=$!
	wait_for $LONG three_connections || { sed 's/^/# /' "$LOG"; return 1; }
	again 4000 ip netns exec coop netperf -H "$PEER_IP" -l 3600 -t TCP_RR &
	# Who has no route gives up.
	again 60 ip netns exec coop netperf -H "$PEER_IP" -l 30 -t UDP_STREAM -- -m 1000 -R 1 &
}
quiet()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	pkill -x 'iperf3|netperf|netserver'
	wait_for $LONG bash -c "! pgrep -x 'iperf3|netperf|netserver'"
} 2>/dev/null

# Without what is for debuggers the module is loaded in a fraction of the time.
FILE=- LOG=$(mktemp)
is_c || { FILE=/tmp/$MODULE.ko && strip --strip-debug -o "$FILE" "$MODULES/$MODULE.ko"; } || FILE=$MODULES/$MODULE.ko

# chaos SECONDS EACH: each EACHth time all traffic is waited for.
chaos() { python3 -IS "$HERE/chaos.py" "$1" "$2" "$SEED" "$COOP_PCI" "$DRIVER" "$FILE" "$PEER" "${events[@]}"; }
# What there is for this driver, more often what takes little time. An e1000 is waited for now and then.
each=6
case $DRIVER in
coop_e1000) events=(down_up rings mtu renegotiate reset rings mtu reset rebind reload) ;;
e1000) events=(down_up rings mtu renegotiate rings mtu rebind) ;;
coop_rtl8139) events=(down_up short_mtu rebind reload) each=1 ;;
8139cp) events=(down_up short_mtu rebind) each=1 ;;
esac
# Where frames can be long it is for the coop side to choose.
[ $each = 1 ] || ip -n peer link set peer mtu 9000

# Those of iperf3, one to talk and one for each direction, live through all that. (What it says itself
# when it is told to end is not always whole.)
survived()
{
	local before
	before=$(connections)
	# shellcheck disable=SC2001
	sed 's/^/# iperf3: port, bytes that arrived, bytes received: /' <<<"$before"
	kill -0 "$IPERF" && [ "$(cut -d ' ' -f 1 <<<"$before")" = "$PORTS" ] && wait_for $LONG goes_on_from "$before" ||
		{ sed 's/^/# /' "$LOG"; return 1; }
}
# Each way more has passed than when `connections` said that.
goes_on_from()
{
	join <(echo "$1") <(connections) | awk '{ out += $4 > $2 + 100000; in_ += $5 > $3 + 100000 } END { exit !(out && in_) }'
}

# The first round sees to it that everything that is allocated once has been.
no_leak()
{
	local before
	traffic && chaos 0 1 || return
	quiet
	drop_coop || return
	before=$(in_use_at_last)
	# Who has no route gives up: one must have answered.
	take_coop && goes_on || return
	traffic && chaos "$CHAOS" $each || return
	survived || return
	quiet
	drop_coop || return
	# shellcheck disable=SC2086
	eventually no_more $before && take_coop && goes_on
}
echo "# SEED=$SEED"
check "traffic goes on after each of them, and nothing is lost" no_leak
check "a stream arrives whole" python3 -IS "$HERE/frames.py" stream coop peer 4
check "the kernel log is clean" dmesg_is_clean
ktap_finished
