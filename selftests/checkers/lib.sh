# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# For the scripts that show that the kernel's checkers find the mistakes of
# drivers; sourced, in a guest. Lockdep reports one thing, and is off from then
# on: each script has a boot of its own.

# shellcheck source=selftests/kernel/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../kernel/lib.sh"

# reported TEST WORDS...: a test that makes a mistake, of which the log says all
# of the words, each a pattern.
reported()
{
	local test=$1 word
	shift
	begin $((2 + $#))
	check "the log is clean before" dmesg_is_clean
	check "$test" kernel_test "$test"
	for word in "$@"; do
		check "reported: $word" grep -qE "$word" <(dmesg)
	done
	# What is left in it is as it has to be.
	dmesg -C
	ktap_finished
}
