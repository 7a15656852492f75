#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 240
# Invariant 6, as memory sees it: what has ended is freed.
. "$(dirname "$0")/kernel/lib.sh"

# What the kernel has allocated, in KiB, as stable as it gets.
memory()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 0.3
	memory_of_kernel
}

# The first time warms up the kernel's caches. Each test would leave two MiB or more.
little_leaks()
{
	local before
	kernel_test "$1" || return
	before=$(memory)
	kernel_test "$1" || return
	little_more "$before" 1000
}

begin 2 leaks
for name in $(names_of leaks); do
	check "$name" little_leaks "$name"
done
check "the modules can be unloaded" unload
check "the kernel log is clean" dmesg_is_clean
ktap_finished
