#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --append swiotlb=force --timeout 400
# iperf3 and netperf both ways at once, while the interface goes down and up, is given
# other rings, another MTU, is reset, negotiates anew, and its driver is unbound and
# loaded again, in a random order, one after the other without a pause. Each time the
# traffic goes on; afterwards no memory and no DMA mapping more is in use than before.
# Invariants 2 and 6.
#
# CHAOS seconds of it, each event once at least; in an order that depends on SEED. For two minutes:
#   scripts/guest --nics 1 --append swiotlb=force --timeout 900 -- env CHAOS=120 bash selftests/net/chaos.sh
. "$(dirname "$0")/lib.sh"

CHAOS=${CHAOS:-20}
SEED=${SEED:-1}

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 3

# How long TCP waits before it sends again doubles each time, up to two minutes: then it
# is not the driver that one waits for.
for ns in coop peer; do
	ip netns exec "$ns" sysctl -qw net.ipv4.tcp_rto_max_ms=1000
done
# Long frames are for the coop side to choose.
ip -n peer link set peer mtu 9000

again() { while :; do timeout -k 1 "$@" || sleep 0.1; done >/dev/null 2>&1; }
traffic()
{
	in_peer iperf3 -s -D --rcv-timeout 2000 >/dev/null 2>&1
	in_peer netserver >/dev/null 2>&1
	wait_for $LONG in_coop bash -c "</dev/tcp/$PEER_IP/5201" || return
	again 6 ip netns exec coop iperf3 -c "$PEER_IP" -t 5 --bidir --connect-timeout 500 &
	again 4 ip netns exec coop netperf -H "$PEER_IP" -l 3 -t TCP_RR &
	again 4 ip netns exec coop netperf -H "$PEER_IP" -l 3 -t UDP_STREAM -- -m 1000 -R 1 &
}
quiet()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	pkill -x 'iperf3|netperf|netserver'
	wait_for $LONG bash -c "! pgrep -x 'iperf3|netperf|netserver'"
} 2>/dev/null

# What is done to the interface.
down_up() { ip -n coop link set coop down && ip -n coop link set coop up; }
rings()
{
	local lengths=(128 256 512 1024 4096)
	in_coop ethtool -G coop rx "${lengths[RANDOM % 5]}" tx "${lengths[RANDOM % 5]}"
}
mtu()
{
	local lengths=(576 1500 4000 9000)
	ip -n coop link set coop mtu "${lengths[RANDOM % 4]}"
}
renegotiate() { in_coop ethtool -r coop; }
reset()
{
	[ "$DRIVER" = coop_e1000 ] || { renegotiate; return; }
	in_coop ethtool --reset coop all
} >/dev/null
rebind() { unbind_coop && bind_coop && adopt_coop; }
reload()
{
	is_c && { rebind; return; }
	unload_driver && load_driver && adopt_coop
}

# Streams flow both ways: 20 kB within a tenth of a second, more than pings and their like.
flows()
{
	local in out
	in=$(counter coop rx_bytes) out=$(counter coop tx_bytes)
	sleep 0.1
	[ $(($(counter coop rx_bytes) - in)) -gt 20000 ] &&
		[ $(($(counter coop tx_bytes) - out)) -gt 20000 ]
}

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }

# chaos SECONDS: all of that in a random order, each once at least.
chaos()
{
	local events=("${EVENTS[@]}") event begin=$SECONDS i after wait longest=0 whose=-
	local -A count=()
	for ((i = 0; i < ${#EVENTS[@]} || SECONDS - begin < $1; i++)); do
		event=${events[i < ${#EVENTS[@]} ? i : RANDOM % ${#EVENTS[@]}]}
		"$event" || { echo "# event $i, $event: failed"; return 1; }
		after=$(milliseconds)
		wait_for $LONG flows || { echo "# event $i, $event: no traffic after it"; return 1; }
		wait=$(($(milliseconds) - after))
		[ $wait -gt $longest ] && longest=$wait whose=$event
		count[$event]=$((${count[$event]:-0} + 1))
	done
	echo "# $i events in $((SECONDS - begin)) s:" \
		"$(for event in "${!count[@]}"; do printf '%s %s, ' "${count[$event]}" "$event"; done)" \
		"longest wait for traffic $longest ms, after $whose"
}

# The first round sees to it that everything that is allocated once has been.
no_leak()
{
	local before
	EVENTS=(rings mtu reset rebind reload)
	traffic && chaos 0 || return
	EVENTS=(down_up down_up rings rings mtu mtu reset reset renegotiate rebind reload)
	quiet
	unload_driver || return
	before=$(in_use_at_last)
	load_driver && adopt_coop || return
	traffic && chaos "$CHAOS" || return
	quiet
	unload_driver || return
	# shellcheck disable=SC2086
	eventually no_more $before || return
	load_driver && adopt_coop
}
RANDOM=$SEED
echo "# SEED=$SEED"
check "traffic goes on after each of them, and nothing is lost" no_leak
check "a stream arrives whole" python3 -IS "$HERE/frames.py" stream coop peer 4
check "the kernel log is clean" dmesg_is_clean
ktap_finished
