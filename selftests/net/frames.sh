#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 2 --timeout 240
# Every byte of every frame arrives, both ways: all sizes that Ethernet has,
# bursts, and what is too short filled up with zeroes; the counters agree.
# Invariant 2: nothing is lost, nothing comes twice.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 10

frames() { python3 "$HERE/frames.py" "$@"; }

# What one side sent is what the other side received. A frame that is still on
# its way, or one of IPv6's own, may come in between: look again.
counters_agree_once()
{
	local sent received
	sent=$(counter "$1" "tx_$3") && received=$(counter "$2" "rx_$3") && [ "$sent" = "$received" ]
}
counters_agree() { wait_for 5 counters_agree_once "$@"; }

check "short frames are padded" frames short coop peer
check "all sizes out" frames sizes coop peer
check "all sizes in" frames sizes peer coop
check "bursts out" frames burst coop peer 3000
check "bursts in" frames burst peer coop 3000
check "the counters agree: packets out" counters_agree coop peer packets
check "the counters agree: packets in" counters_agree peer coop packets
check "the counters agree: bytes out" counters_agree coop peer bytes
no_errors()
{
	local name
	for name in rx_errors rx_dropped tx_errors tx_dropped; do
		[ "$(counter coop $name)" = 0 ] || { echo "# $name: $(counter coop $name)"; return 1; }
	done
}
check "no errors are counted" no_errors
check "the kernel log is clean" dmesg_is_clean
ktap_finished
