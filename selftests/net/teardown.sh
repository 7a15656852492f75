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

PATIENCE=${PATIENCE:-25}
RELOADS=${RELOADS:-}

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 7

blast()
{
	python3 "$HERE/frames.py" blast coop "$PEER_IP" &
	python3 "$HERE/frames.py" blast peer "$COOP_IP" &
}

quiet()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
} 2>/dev/null

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

# times N COMMAND...: so often, or until patience is at its end if there is no N;
# traffic must go on after each round.
times()
{
	local i n=$1 begin=$SECONDS
	shift
	for ((i = 1; n ? i <= n : i <= 3 || SECONDS - begin < PATIENCE; i++)); do
		"$@" || { echo "# $*: failed in round $i"; return 1; }
		wait_for 10 ping_ok || { echo "# $*: no traffic after round $i"; return 1; }
	done
	echo "# $*: $((i - 1)) rounds in $((SECONDS - begin)) s"
}

# What is in use while the driver is not there: in KiB what slabs, vmalloc and
# per-CPU memory hold, then mappings for DMA (all of them are through swiotlb).
in_use()
{
	local cache
	sync
	echo 3 >/proc/sys/vm/drop_caches
	# Freed by RCU and by workers.
	sleep 1
	for cache in /sys/kernel/slab/*/shrink; do
		echo 1 >"$cache"
	done 2>/dev/null
	awk '/^(SUnreclaim|VmallocUsed|Percpu|KernelStack):/ { kib += $2 } END { printf "%d ", kib }' \
		/proc/meminfo
	cat /sys/kernel/debug/swiotlb/io_tlb_used 2>/dev/null || echo 0
}

# What each round would lose is lost many times over in the end. Before the
# first reading everything that is allocated once has been.
no_leak()
{
	local kib mapped kib_then mapped_then
	quiet
	unload_driver || return
	read -r kib_then mapped_then < <(in_use)
	load_driver && adopt_coop || return
	blast
	times "$@" || return
	quiet
	unload_driver || return
	read -r kib mapped < <(in_use)
	load_driver && adopt_coop || return
	echo "# before: $kib_then KiB, $mapped_then mapped; after: $kib KiB, $mapped mapped"
	# The other NIC's ring alone has 256 mappings, so that a 0 would prove nothing; and one
	# or two of its frames come and go.
	[ "$mapped_then" -gt 0 ] && [ "$mapped" -le $((mapped_then + 4)) ] &&
		[ $((kib - kib_then)) -lt 1024 ]
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
	[ "$DRIVER" = coop_e1000 ] || return 0
	unload_driver || return
	[ ! -e "$PCI/devices/$COOP_PCI/driver" ] || return
	[ "$(<"$PCI/devices/$COOP_PCI/enable")" = 0 ] || { echo "# still enabled"; return 1; }
	no_home_threads || return
	rmmod coop_domain
}
check "nothing is left when the driver is unloaded" nothing_left
check "the kernel log is clean" dmesg_is_clean
ktap_finished
