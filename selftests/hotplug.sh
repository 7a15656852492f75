#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 3 --timeout 120
# A CPU goes, with messages in its rings and a home thread that was bound to it,
# and comes back: invariants 2 and 3.
. "$(dirname "$0")/kernel/lib.sh"

SWITCH=/sys/devices/system/cpu/cpu1/online
[ -w "$SWITCH" ] || skip_all "this machine cannot switch CPUs off"

off() { echo 0 >"$SWITCH" && [ "$(<"$SWITCH")" = 0 ]; }
on() { echo 1 >"$SWITCH" && [ "$(<"$SWITCH")" = 1 ]; }
step() { kernel_test "hotplug.$1"; }

ktap_print_header
load || give_up "cannot load the modules of $MODULES"
ktap_set_plan 6

gone() { step fill && off && step drain; }
check "the rings of a CPU that is gone are emptied" gone
back() { on && step fill && off && on && step drain; }
check "a CPU that was gone meanwhile" back
again()
{
	local i
	step traffic || return
	for ((i = 0; i < 8; i++)); do
		off && on || return
	done
	step traffic_ends
}
check "a CPU goes and comes under traffic" again
kept() { step fill && off && unload; }
check "a domain ends whose CPU is gone" kept
check "the CPU comes back" on
check "the kernel log is clean" dmesg_is_clean
ktap_finished
