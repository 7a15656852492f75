#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 300
# Every byte of every frame arrives, both ways: all sizes that Ethernet has,
# bursts, and what is too short filled up with zeroes; the counters agree.
# Invariant 2: nothing is lost, nothing comes twice.
. "$(dirname "$0")/lib.sh"

wire 7

still
patient coop
patient peer
frames() { python3 -IS "$HERE/frames.py" "$@"; }
# What has been counted so far, in one line. (Who asks for all statistics has the driver collect what the
# device has counted; otherwise it does so every two seconds.)
errors()
{
	local name
	in_coop ethtool -S coop >/dev/null 2>&1
	for name in rx_errors rx_dropped rx_missed_errors tx_errors tx_dropped; do
		echo -n "$name $(counter coop $name), "
	done
}

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
# What a test before left in the emulator's queues comes when the interface is up: more than the ring
# takes perhaps, and nobody wants it, which the kernel counts as dropped. By now it has come.
had=$(errors)
# Each fits into the ring. (What does not may come in another order from QEMU: the one frame that its
# RTL8139 has refused, qemu_flush_or_purge_queued_packets() sends after those that wait in the hub.)
fits=""
[ $MODULE != second_driver ] || fits=28672
check "bursts out" frames burst coop peer 3000 $fits
check "bursts in" frames burst peer coop 3000 $fits
no_errors()
{
	local after
	after=$(errors)
	[ "$after" = "$had" ] || { echo "# before the bursts: $had afterwards: $after"; return 1; }
}
check "no errors are counted" no_errors
check "the kernel log is clean" dmesg_is_clean
ktap_finished
