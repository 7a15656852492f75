# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# What all selftests have in common; sourced, in a guest.

SELFTESTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=selftests/ktap_helpers.sh
. "$SELFTESTS/ktap_helpers.sh"
# shellcheck source=selftests/dmesg.sh
. "$SELFTESTS/dmesg.sh"

MODULES=${COOP_MODULES:-$SELFTESTS/../build/mod}

skip_all()
{
	ktap_print_header
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# give_up WHY: it is no use going on; the kernel may know more.
give_up()
{
	dmesg | tail -n 6 | sed 's/^/# dmesg: /'
	ktap_exit_fail_msg "$@"
}

# wait_for SECONDS COMMAND...: until the command succeeds, which may take its time each time.
wait_for()
{
	local tries=0 end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $SECONDS -lt $end ] || [ $tries -lt 5 ] || return 1
		sleep 0.05
	done
}

# Whether no home thread is left. Whoever waits for a thread's end hears of it a
# moment before ps does.
no_home_threads() { wait_for 20 eval '! ps -e -o comm | grep -q "^coop/"'; }

# check DESCRIPTION COMMAND...: one test of the plan.
check()
{
	local description=$1
	shift
	if "$@"; then
		ktap_test_pass "$description"
	else
		ktap_test_fail "$description"
	fi
}
