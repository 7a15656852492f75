#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 90
# The counters tell what happened, also in debugfs; a home thread is seen under
# its name.
. "$(dirname "$0")/kernel/lib.sh"

begin 8 stats
run_tests stats

DIR=$DEBUGFS/coop_domain/seen
counter() { awk -v name="$1" '$1 == name { $1 = ""; print substr($0, 2) }' "$DIR/stats"; }
is()
{
	local found
	found=$(counter "$1")
	test "$found" "$2" "$3" && return
	echo "# $1 is $found, not $2 $3"
	return 1
}

check "a domain with a history" kernel_test owner.keep_stats
check "debugfs: messages" is posts = 11
check "debugfs: the fullest ring" is ring_high_water = 11
check "debugfs: the longest poll has a name" is longest_poll_name = "slow one"
check "debugfs: the longest poll took its time" is longest_poll_ns -ge 25000000
home() { ps -e -o comm | grep -q "^coop/seen$"; }
check "the home thread is seen by its name" home
check "the modules can be unloaded" unload
gone() { [ ! -e "$DIR" ] && no_home_threads; }
check "with them, files and threads are gone" gone
ktap_finished
