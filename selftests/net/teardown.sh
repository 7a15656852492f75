#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --append swiotlb=force --timeout 400
# The device goes away in every way there is, while frames come and go both ways
# as fast as they can; each time it comes back and traffic goes on. Afterwards
# there is as much memory in use, and as much of it mapped for DMA, as before.
# Invariant 6: nothing outlives its owner; and nothing of what it had is lost.
#
# Each way is gone for PATIENCE seconds, three times at least; the driver is loaded
# and unloaded RELOADS times if that is set (200 take a quarter of an hour).
. "$(dirname "$0")/lib.sh"

PATIENCE=${PATIENCE:-10}
RELOADS=${RELOADS:-}

wire 7

blast()
{
	python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	python3 -IS "$HERE/frames.py" blast peer "$COOP_IP" &
}

quiet()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
} 2>/dev/null

down_up()
{
	ip -n coop link set coop down && ip -n coop link set coop up && wait_for $LONG carrier_of coop
}
rebind() { unbind_coop && bind_coop && adopt_coop; }
reload() { drop_coop && take_coop; }
unplug()
{
	echo 1 >"$PCI/devices/$COOP_PCI/remove"
	plug_in
}
unload_runtime()
{
	is_c && return
	unload_driver && unload coop_domain && load_driver && adopt_coop
}

# times N COMMAND...: so often, or until patience is at its end if there is no N;
# traffic must go on after each round.
times()
{
	local i n=$1 begin=$SECONDS
	shift
	for ((i = 1; n ? i <= n : i <= 3 || SECONDS - begin < PATIENCE; i++)); do
		"$@" || { echo "# $*: failed in round $i"; return 1; }
		wait_for $LONG ping_ok || { echo "# $*: no traffic after round $i"; return 1; }
	done
	echo "# $*: $((i - 1)) rounds in $((SECONDS - begin)) s"
}

# What each round would lose is lost many times over in the end. Before the
# first reading everything that is allocated once has been.
no_leak()
{
	local before
	quiet
	drop_coop || return
	before=$(in_use_at_last)
	take_coop || return
	blast
	times "$@" || return
	quiet
	drop_coop || return
	# shellcheck disable=SC2086
	eventually no_more $before && take_coop
}

blast
check "down and up" times "" down_up
check "unbind and bind" times "" rebind
check "unplug and plug in" times "" unplug
check "unload and load the runtime" times "" unload_runtime
check "unload and load the driver, and nothing is lost" no_leak "$RELOADS" reload

# The driver is gone: so are its threads, its folders and its claim on the device.
nothing_left()
{
	is_c && return
	unload_driver || return
	[ ! -e "$PCI/devices/$COOP_PCI/driver" ] || return
	[ "$(<"$PCI/devices/$COOP_PCI/enable")" = 0 ] || { echo "# still enabled"; return 1; }
	no_home_threads || return
	unload coop_domain
}
check "nothing is left when the driver is unloaded" nothing_left
check "the kernel log is clean" dmesg_is_clean
ktap_finished
