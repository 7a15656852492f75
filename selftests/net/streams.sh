#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 240
# TCP and UDP both ways at once, and more frames than the driver can take at a
# time: the queue stops, and is woken each time.
# Invariant 3: no wake-up is lost; invariant 5: no direction starves the other.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 7

in_peer iperf3 -s -D --forceflush >/dev/null 2>&1
wait_for $LONG in_coop bash -c "</dev/tcp/$PEER_IP/5201"

# iperf OPTION...: run it from the side under test, fail if no data came across.
iperf()
{
	local report tries=0
	# The server may not be done with the one before.
	until report=$(in_coop timeout 60 iperf3 -c "$PEER_IP" -J "$@" 2>&1); do
		grep -q "server is busy" <<<"$report" && [ $((tries++)) -lt 30 ] && sleep 0.5 && continue
		grep -m1 '"error"' <<<"$report" | sed 's/^/# /'
		return 1
	done
	python3 -c '
import json, sys
end = json.loads(sys.argv[1])["end"]
sums = [end[k] for k in end if k.startswith("sum_received") or k == "sum"]
rates = [s["bits_per_second"] / 1e6 for s in sums]
print("#", ", ".join(f"{r:.1f} Mbit/s" for r in rates))
sys.exit(not rates or min(rates) < 0.5)' "$report"
}

check "TCP out" iperf -t 4
check "TCP in" iperf -t 4 -R
check "TCP both ways at once, four streams each" iperf -t 5 --bidir -P 4
check "UDP out, as much as there is" iperf -t 3 -u -b 0 -l 64
check "UDP in, as much as there is" iperf -t 3 -u -b 0 -l 1400 -R
# Many senders at once against a queue that is full most of the time: afterwards
# it must not have stayed stopped.
flood()
{
	local before
	before=$(handed)
	for _ in 1 2 3 4; do
		in_coop python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	done
	sleep 1
	wait_for $LONG handed_more_than $((before + 10000))
	local status=$?
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	[ $status = 0 ] && goes_on 5
} 2>/dev/null
check "a flood from four senders ends, and the queue goes on" flood
check "the kernel log is clean" dmesg_is_clean
in_peer pkill -x iperf3
ktap_finished
