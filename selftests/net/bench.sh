#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What a transaction, a packet and a KiB cost the whole guest, in instructions,
# with the sample driver and, in the same boot, with the C driver in its place.
#
# Run in a guest with `--icount --nics 1`: a nanosecond there is an instruction.
# One CPU only, because both would count the time in which either works. Cost is
# elapsed time minus idle time, for a long run minus a short one, so that
# starting the programs does not count. Prints lines `name value unit`.
. "$(dirname "$0")/lib.sh"

REPEAT=${REPEAT:-3}
ONLY=${*:-tcp_rr udp64_tx udp64_rx tcp_stream}

say() { printf '%s\n' "$*" >&2; }
die() { say "bench: error: $*"; exit 1; }

IDLE=/sys/module/coop_idle/parameters/idle_us

# busy COMMAND...: instructions while it runs, in BUSY.
busy()
{
	local start idle
	idle=$(<$IDLE) start=${EPOCHREALTIME/./}
	"$@" >/dev/null 2>&1 || return
	BUSY=$(((${EPOCHREALTIME/./} - start - $(<$IDLE) + idle) * 1000))
}

tcp_rr() { in_coop netperf -H "$PEER_IP" -t TCP_RR -l -"$1"; }
udp64_tx() { in_coop iperf3 -c "$PEER_IP" -u -b 0 -l 64 -k "$1" -i 0; }
udp64_rx() { in_coop iperf3 -c "$PEER_IP" -R -u -b 0 -l 64 -k "$1" -i 0; }
tcp_stream() { in_coop iperf3 -c "$PEER_IP" -n "$1"K -i 0; }

# figure NAME SHORT LONG PREFIX UNIT: the median of $REPEAT readings.
figure()
{
	local name=$1 short=$2 long=$3 readings=() before i
	[[ " $ONLY " == *" $name "* ]] || return 0
	busy "$name" "$short" || die "$name fails" # Warm.
	for ((i = 0; i < REPEAT; i++)); do
		busy "$name" "$short" || die "$name fails"
		before=$BUSY
		busy "$name" "$long" || die "$name fails"
		readings+=($(((BUSY - before) * 10 / (long - short))))
	done
	say "  $4nic.$name: ${readings[*]} (tenths)"
	i=$(printf '%s\n' "${readings[@]}" | sort -n | sed -n "$(((REPEAT + 1) / 2))p")
	printf '%s %d.%d %s\n' "$4nic.$name" $((i / 10)) $((i % 10)) "$5"
}

figures()
{
	figure tcp_rr 200 1200 "$1" insn/op
	figure udp64_tx 500 2500 "$1" insn/op
	figure udp64_rx 500 2500 "$1" insn/op
	figure tcp_stream 500 2500 "$1" insn/KiB
}

insmod "$MODULES/coop_idle.ko" || die "no coop_idle.ko"
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 0 >"$cpu"
done
setup_wire >&2 || die "cannot bring the NICs up"
in_peer netserver >/dev/null 2>&1
in_peer iperf3 -s -D >/dev/null 2>&1
wait_for 10 in_coop bash -c "</dev/tcp/$PEER_IP/5201" || die "iperf3 does not listen"
wait_for 10 in_coop bash -c "</dev/tcp/$PEER_IP/12865" || die "netserver does not listen"

figures ""
unbind_coop
DRIVER=e1000
echo e1000 >"$PCI/devices/$COOP_PCI/driver_override"
bind_coop && adopt_coop && wait_for 10 ping_ok || die "cannot bind the C driver"
figures base.
in_peer pkill -x iperf3
in_peer pkill -x netserver
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 1 >"$cpu"
done
rmmod coop_idle
exit 0
