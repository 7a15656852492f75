#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 240
# Every byte of every frame arrives, both ways: all sizes that Ethernet has,
# bursts, and what is too short filled up with zeroes; the counters agree.
# Invariant 2: nothing is lost, nothing comes twice.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 7

still
frames() { python3 -IS "$HERE/frames.py" "$@"; }

# counted DIRECTION SOURCE TARGET: the counters of the interface under test grow
# by exactly what passes: 1 455 frames of 60 to 1 514 bytes.
counted()
{
	mark
	frames sizes "$2" "$3" && eventually passed "$1" 1455 1145085
}

check "short frames are padded" frames short coop peer
check "all sizes out, and counted" counted tx coop peer
check "all sizes in, and counted" counted rx peer coop
# What a test before left in the emulator's queues comes when the interface is up,
# and nobody wants it: the kernel counts that as dropped. By now it has come.
stale=$(counter coop rx_dropped)
check "bursts out" frames burst coop peer 3000
check "bursts in" frames burst peer coop 3000
no_errors()
{
	local name expected
	for name in rx_errors rx_dropped tx_errors tx_dropped; do
		expected=0
		[ $name = rx_dropped ] && expected=$stale
		[ "$(counter coop $name)" = "$expected" ] ||
			{ echo "# $name: $(counter coop $name), not $expected"; return 1; }
	done
}
check "no errors are counted" no_errors
check "the kernel log is clean" dmesg_is_clean
ktap_finished
