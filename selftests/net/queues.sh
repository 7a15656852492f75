#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 400
# What the kernel tells by netlink of queues, polls and their counters; polls by a thread
# instead of a softirq; and that what is set for a poll stays. (The kernel's own
# napi_threaded.py wants two queues for that.)
. "$(dirname "$0")/lib.sh"

wire 10

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
	IRQ=$irq
	calls_it coop
}
# So the interrupt is called, as /proc/interrupts shows it; whoever shares the line has his own name.
calls_it()
{
	local names
	names=$(<"/sys/kernel/irq/$IRQ/actions")
	grep -qxF "$1" <<<"${names//,/$'\n'}" || { echo "# interrupt $IRQ is called $names"; return 1; }
	grep -qE "^ *$IRQ:.*[ ,]$1(,|\$)" /proc/interrupts
}
check "queues, their poll and its interrupt" bound
# Another name of the interface is at once that of the interrupt, and in /proc/irq the next time that it
# goes up; while it is down it has none. As with the C driver.
renamed()
{
	calls_it coop && [ -d "/proc/irq/$IRQ/coop" ] || return
	ip -n coop link set coop name other && calls_it other && ! calls_it coop || return
	ip -n coop link set other down && ! calls_it other || return
	ip -n coop link set other up && calls_it other && [ -d "/proc/irq/$IRQ/other" ] || return
	ip -n coop link set other name coop && calls_it coop && goes_on
}
check "the interrupt is called as the interface is" renamed
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
	still
	before=$(queues | awk '/^rx/ { print $2 }')
	mark
	frames sizes peer coop 7 && eventually passed rx 208 163176 && eventually agree &&
		[ $(($(queues | awk '/^rx/ { print $2 }') - before)) -ge 208 ]
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
# The poll's number, thread, and settings; the thread as 0 or 1.
settings() { queues | awk '/^napi/ { id = $2; pid = $4 != 0 } /^set/ { print id, pid, $2, $3, $4, $5 }'; }
is_set() { [ "$(settings)" = "$1" ] || { echo "# $1 is wanted, but there is: $(settings)"; return 1; }; }
# What has the poll end and begin again. (The second driver's rings are as they are.)
WAYS="down rings reset"
[ "$DRIVER" != coop_rtl8139 ] || WAYS=down
anew()
{
	case $1 in
	down) ip -n coop link set coop down && ip -n coop link set coop up ;;
	rings) in_coop ethtool -G coop rx 512 tx 512 && in_coop ethtool -G coop rx 256 tx 256 ;;
	reset) in_coop ethtool --reset coop all >/dev/null ;;
	esac
}
# And what is refused.
more_channels() { in_coop ethtool -L coop combined 2 2>/dev/null; }
outlives()
{
	local way
	! more_channels || { echo "# there are two channels"; return 1; }
	is_set "$1" || return
	for way in $WAYS; do
		anew "$way" && is_set "$1" && goes_on || { echo "# after: $way"; return 1; }
	done
}
of_interface() { in_coop sh -c "echo $1 >/sys/class/net/coop/threaded"; }
id() { queues | awk '/^napi/ { print $2 }'; }
# By the interface all polls, and then this one not.
threaded_stays()
{
	local id
	id=$(id)
	of_interface 1 && wait_for $LONG polls && outlives "$id 1 1 0 0 0" || return
	queues thread 0 && outlives "$id 0 0 0 0 0"
}
check "a poll by a thread stays one, and one that is not stays so" threaded_stays
# While there is no poll it is refused; in particular to take its thread away, for which the kernel
# waits for ever if there is a poll that is disabled, as with the C driver.
threaded_meanwhile()
{
	local id threaded
	id=$(id)
	for threaded in 1 0; do
		of_interface $threaded && ip -n coop link set coop down || return
		! of_interface $((1 - threaded)) || { echo "# there is a poll"; return 1; }
		ip -n coop link set coop up && is_set "$id $threaded $threaded 0 0 0" && goes_on || return
	done
} 2>/dev/null
check "refused while the interface is down" threaded_meanwhile
config_stays()
{
	local id
	id=$(id)
	queues defer 3 && queues flush 200000 && queues suspend 20000000 &&
		outlives "$id 0 0 3 200000 20000000" || return
	queues defer 0 && queues flush 0 && queues suspend 0 && is_set "$id 0 0 0 0 0"
}
check "other settings of the poll stay, too" config_stays
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
