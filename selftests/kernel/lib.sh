# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# For the scripts that run the tests of coop_test.ko; sourced, in a guest.

# shellcheck source=selftests/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

DEBUGFS=/sys/kernel/debug
TESTS=$DEBUGFS/coop_test

load()
{
	[ -d "$DEBUGFS/coop_test" ] || mountpoint -q "$DEBUGFS" || mount -t debugfs none "$DEBUGFS"
	[ -d /sys/module/coop_domain ] || insmod "$MODULES/coop_domain.ko" || return
	[ -d /sys/module/coop_test ] || insmod "$MODULES/coop_test.ko"
}

unload()
{
	local module
	for module in coop_test coop_domain; do
		[ ! -d "/sys/module/$module" ] || rmmod "$module" || return
	done
}

# One test of coop_test.ko; what it found wrong goes to standard output.
kernel_test()
{
	echo "$1" >"$TESTS/run" 2>/dev/null && return
	sed 's/^/# /' "$TESTS/log"
	return 1
}

# What the kernel has for itself, in KiB.
memory_of_kernel()
{
	awk '/^(SUnreclaim|KernelStack|VmallocUsed|PageTables):/ { n += $2 } END { print n }' /proc/meminfo
}

# little_more BEFORE KIB: less than so much more than before is in use, by what the script's `memory`
# says. What is freed by RCU comes back when all CPUs have had their turn, on a busy machine some time
# later: what leaked never does.
little_more()
{
	local after
	wait_for 30 is_little_more "$@" && return
	echo "# $((after - $1)) KiB are gone"
	return 1
}
is_little_more() { after=$(memory) && [ $((after - $1)) -lt "$2" ]; }

names_of()
{
	local group
	for group in "$@"; do
		grep "^$group\." "$TESTS/tests"
	done
}

# begin COUNT GROUP...: load the modules, and plan all tests of the groups
# and COUNT more.
begin()
{
	local more=$1
	shift
	ktap_print_header
	load || give_up "cannot load the modules of $MODULES"
	ktap_set_plan $((more + $(names_of "$@" | wc -l)))
}

run_tests()
{
	local name
	for name in $(names_of "$@"); do
		check "$name" kernel_test "$name"
	done
}

# All tests of some groups, then the modules go, and nothing was said.
run_groups()
{
	begin 2 "$@"
	run_tests "$@"
	check "the modules can be unloaded" unload
	check "the kernel log is clean" dmesg_is_clean
	ktap_finished
}
