#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.fault --timeout 150
# A coroutine that panics takes its domain down, and nothing else: invariants 2
# and 6. The kernel log is not clean here, by intent, so this has a guest of its
# own (the kernel ignores the argument above).
. "$(dirname "$0")/kernel/lib.sh"

! grep -q 'User Mode Linux' /proc/cpuinfo || skip_all "a fault is the end of user-mode Linux"
sysctl -q kernel.panic_on_oops=0
begin 5 fault
run_tests fault

# As many as there should be, and no other trouble.
panics() { [ "$(dmesg | grep -c 'panicked at')" -ge 6 ]; }
check "they did panic" panics
told() { dmesg | grep -q "domain fault: coroutine dies died; the domain ends"; }
check "the log names domain and coroutine" told
check "debugfs still answers" eval "ls $DEBUGFS/coop_domain >/dev/null"
check "the modules can be unloaded" unload
other_trouble()
{
	local found
	found=$(dmesg | grep -E "WARNING: |page fault|general protection|refcount_t|UBSAN|scheduling while atomic|blocked for more|soft lockup|Unable to handle|list_(add|del) corruption") || return 0
	echo "$found" | sed 's/^/# /'
	return 1
}
check "nothing else is wrong" other_trouble
# What is left in the log is as it has to be.
dmesg -C
ktap_finished
