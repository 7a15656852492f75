#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 300
# TCP and UDP both ways at once, and more frames than the driver can take at a
# time: the queue stops, and is woken each time.
# Invariant 3: no wake-up is lost; invariant 5: no direction starves the other.
. "$(dirname "$0")/lib.sh"

wire 7

# iperf OPTION...: run it from the side under test, fail if no data came across, one way or the other.
iperf()
{
	local report
	report=$(iperf_report "$@") || { grep -m1 '"error"' <<<"$report" | sed 's/^/# /'; return 1; }
	python3 -c '
import json, sys
end = json.loads(sys.argv[1])["end"]
sums = [end[k] for k in end if k.startswith("sum_received") or k == "sum"]
rates = [s["bits_per_second"] / 1e6 for s in sums]
print("#", ", ".join(f"{r:.1f} Mbit/s" for r in rates))
# More than fits into the ring, of 64 bytes each, or comes before the first answer: a queue that is not
# woken brings no more, and then there is no end, either.
sys.exit(not sums or min(s["bytes"] for s in sums) < 40_000)' "$report"
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
		python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	done
	wait_for $LONG handed_more_than $((before + 10000))
	local status=$?
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	[ $status = 0 ] && goes_on 5
} 2>/dev/null
check "a flood from four senders ends, and the queue goes on" flood
check "the kernel log is clean" dmesg_is_clean
ktap_finished
