#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 400
# The device goes away in every way there is, while frames come and go both ways
# as fast as they can; each time it comes back and traffic goes on.
# Invariant 6: nothing outlives its owner; and nothing of what it had is lost.
. "$(dirname "$0")/lib.sh"

LOOPS=${LOOPS:-4}

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 8

python3 "$HERE/frames.py" blast coop "$PEER_IP" &
python3 "$HERE/frames.py" blast peer "$COOP_IP" &

down_up()
{
	ip -n coop link set coop down && ip -n coop link set coop up && wait_for 10 carrier_of coop
}
rebind() { unbind_coop && bind_coop && adopt_coop; }
reload()
{
	local i
	[ "$DRIVER" = coop_e1000 ] || { rebind; return; }
	# A reader of debugfs or the like may hold the module for a moment.
	for ((i = 0; i < 5; i++)); do
		unload_driver && break
		sleep 0.2
	done
	load_driver && adopt_coop
}
unplug()
{
	echo 1 >"$PCI/devices/$COOP_PCI/remove"
	# What is found again has no preference for a driver yet: none may take it.
	echo 0 >"$PCI/drivers_autoprobe"
	echo 1 >"$PCI/rescan"
	wait_for 10 test -e "$PCI/devices/$COOP_PCI" || return
	echo "$DRIVER" >"$PCI/devices/$COOP_PCI/driver_override"
	echo 1 >"$PCI/drivers_autoprobe"
	bind_coop && adopt_coop
}
unload_runtime()
{
	[ "$DRIVER" = coop_e1000 ] || return 0
	unload_driver && rmmod coop_domain && load_driver && adopt_coop
}

# times N COMMAND...: again and again; traffic must go on after each.
times()
{
	local i n=$1
	shift
	for ((i = 1; i <= n; i++)); do
		"$@" || { echo "# $*: failed in round $i"; return 1; }
		wait_for 10 ping_ok || { echo "# $*: no traffic after round $i"; return 1; }
	done
}

check "down and up" times "$LOOPS" down_up
check "unbind and bind" times "$LOOPS" rebind
check "unload and load the driver" times "$LOOPS" reload
check "unplug and plug in" times "$((LOOPS / 2))" unplug
check "unload and load the runtime" times 2 unload_runtime

# What each round would lose is lost many times over by now and grows on.
no_leak()
{
	local before after grown
	times 3 rebind || return
	before=$(used_memory)
	times "$((2 * LOOPS))" rebind || return
	after=$(used_memory)
	grown=$((after - before))
	echo "# grown by $grown KiB in $((2 * LOOPS)) rounds"
	# One receive ring alone has 600 KiB of buffers.
	[ "$grown" -lt 4096 ]
}
check "memory does not grow" no_leak

# The driver is gone: so are its threads, its folders and its claim on the device.
nothing_left()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	[ "$DRIVER" = coop_e1000 ] || return 0
	unload_driver || return
	[ ! -e "$PCI/devices/$COOP_PCI/driver" ] || return
	[ "$(<"$PCI/devices/$COOP_PCI/enable")" = 0 ] || { echo "# still enabled"; return 1; }
	! pgrep -f '^\[coop/e1000' || return
	rmmod coop_domain
} 2>/dev/null
check "nothing is left when the driver is unloaded" nothing_left
check "the kernel log is clean" dmesg_is_clean
ktap_finished
