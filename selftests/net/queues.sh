#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 200
# What the kernel tells by netlink of queues, polls and their counters; and polls by a
# thread instead of a softirq.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 6

queues() { in_coop python3 "$HERE/queues.py" coop "$@"; }
frames() { python3 "$HERE/frames.py" "$@"; }

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
	grep -E "^ *$irq:.*coop_e1000" /proc/interrupts >/dev/null
}
check "queues, their poll and its interrupt" bound
counted()
{
	local before after
	before=$(queues | awk '/^rx/ { print $2, $3 }')
	frames sizes peer coop || return
	after=$(queues | awk '/^rx/ { print $2, $3 }')
	echo "# received: $before, then $after"
	[ $((${after% *} - ${before% *})) = 1455 ] && [ $((${after#* } - ${before#* })) = 1145085 ] &&
		[ "$(queues | awk '/^tx/ { print $2, $3 }')" = \
			"$(counter coop tx_packets) $(counter coop tx_bytes)" ]
}
check "counters of each queue" counted
# The thread is named after the interface.
polls() { pgrep -f '^\[napi/coop-' >/dev/null; }
threaded()
{
	queues thread 1 && wait_for 5 polls && [ "$(queues | awk '/^napi/ { print $4 }')" -gt 0 ] ||
		return
	wait_for 5 ping_ok 3 && frames stream coop peer 8 && frames stream peer coop 8 || return
	# What was set outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	wait_for 10 carrier_of coop && wait_for 5 ping_ok 3 && polls || return
	queues thread 0 && wait_for 5 ping_ok 3 && frames stream coop peer 8
}
check "polls by a thread" threaded
down()
{
	ip -n coop link set coop down || return
	! queues | grep -q '^queue' || return
	ip -n coop link set coop up && wait_for 10 carrier_of coop && wait_for 5 ping_ok && bound
}
check "an interface that is down has no queues" down
busy()
{
	echo 50 >/proc/sys/net/core/busy_read
	echo 50 >/proc/sys/net/core/busy_poll
	wait_for 5 ping_ok 3 && frames stream peer coop 8 && frames stream coop peer 8
	local status=$?
	echo 0 >/proc/sys/net/core/busy_read
	echo 0 >/proc/sys/net/core/busy_poll
	return $status
}
check "busy polls by the receiver" busy
check "the kernel log is clean" dmesg_is_clean
ktap_finished
