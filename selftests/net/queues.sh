#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 200
# What the kernel tells by netlink of queues, polls and their counters; and polls by a
# thread instead of a softirq.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 6

queues() { in_coop python3 -IS "$HERE/queues.py" coop "$@"; }
frames() { python3 -IS "$HERE/frames.py" "$@"; }

# Both queues are polled by the same poll, whose interrupt is the device's.
bound()
{
	local out napi irq
	out=$(queues) || return
	# shellcheck disable=SC2001
	sed 's/^/# /' <<<"$out"
	read -r _ napi irq _ < <(grep '^napi' <<<"$out")
	[ "$napi" -gt 0 ] && grep -qx "queue rx 0 $napi" <<<"$out" &&
		grep -qx "queue tx 0 $napi" <<<"$out" || return
	grep -E "^ *$irq:.*$DRIVER" /proc/interrupts >/dev/null
}
check "queues, their poll and its interrupt" bound
# By netlink and by /proc/net/dev it is the same.
agree()
{
	local queue
	queue=$(queues | awk '/^[rt]x/ { n[$1] = $2 " " $3 } END { print n["rx"], n["tx"] }')
	echo "# queues: $queue; interface: $(counters coop)"
	[ "$queue" = "$(counters coop)" ]
}
counted()
{
	local before
	before=$(queues | awk '/^rx/ { print $2 }')
	mark
	frames sizes peer coop && eventually passed rx 1455 1145085 && eventually agree &&
		[ $(($(queues | awk '/^rx/ { print $2 }') - before)) -ge 1455 ]
}
check "counters of each queue" counted
# The thread is named after the interface.
polls() { pgrep -f '^\[napi/coop-' >/dev/null; }
threaded()
{
	queues thread 1 && wait_for $LONG polls && [ "$(queues | awk '/^napi/ { print $4 }')" -gt 0 ] ||
		return
	goes_on 3 && frames stream coop peer 8 && frames stream peer coop 8 || return
	# What was set outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	goes_on 3 && polls || return
	queues thread 0 && goes_on 3 && frames stream coop peer 8
}
check "polls by a thread" threaded
down()
{
	ip -n coop link set coop down || return
	! queues | grep -q '^queue' || return
	ip -n coop link set coop up && goes_on && bound
}
check "an interface that is down has no queues" down
busy()
{
	echo 50 >/proc/sys/net/core/busy_read
	echo 50 >/proc/sys/net/core/busy_poll
	goes_on 3 && frames stream peer coop 8 && frames stream coop peer 8
	local status=$?
	echo 0 >/proc/sys/net/core/busy_read
	echo 0 >/proc/sys/net/core/busy_poll
	return $status
}
check "busy polls by the receiver" busy
check "the kernel log is clean" dmesg_is_clean
ktap_finished
