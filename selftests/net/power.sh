#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 240 --qemu -machine --qemu q35 --qemu -device --qemu pcie-root-port,id=root0,chassis=1,addr=10 --qemu -device --qemu pcie-pci-bridge,id=bridge,bus=root0 --qemu -netdev --qemu hubport,id=net0,hubid=1 --qemu -device --qemu e1000,netdev=net0,bus=bridge,addr=1,romfile=,mac=52:54:00:c0:09:01 --qemu -device --qemu pcie-pci-bridge,id=other,addr=11 --qemu -netdev --qemu hubport,id=net1,hubid=1 --qemu -device --qemu e1000,netdev=net1,bus=other,addr=1,romfile=,mac=52:54:00:c0:09:02
# A device that sleeps, is reset, or has had errors on its bus: it comes back as it was, in the
# midst of traffic, and as long as it is away nothing reaches it. Between it and the CPU are
# a PCI Express port and a bridge, which report errors and can reset what is behind them.
# DRIVER=e1000 does the same to the C driver.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 9

tool() { in_coop ethtool "$@"; }
recovers() { goes_on 3; }

# What is to be the same afterwards: settings of the interface, and what it has counted.
settle()
{
	tool -G coop rx 512 && tool -A coop autoneg off rx on tx off && tool -K coop gro off &&
		ip -n coop link set coop address 52:54:00:77:77:77 mtu 1600 allmulticast on &&
		ip -n coop link add link coop name coop.7 type vlan id 7 &&
		ip -n coop addr add 10.77.7.1/24 dev coop.7 && ip -n coop link set coop.7 up &&
		ip -n peer link set peer mtu 1600 &&
		ip -n peer link add link peer name peer.7 type vlan id 7 &&
		ip -n peer addr add 10.77.7.2/24 dev peer.7 && ip -n peer link set peer.7 up &&
		recovers
}
vlan_ok() { in_coop ping -q -c 1 -W 1 10.77.7.2 >/dev/null; }
settings()
{
	ip -n coop -o link show coop | sed 's/state.*link/link/'
	tool -g coop | sed -n '/Current/,$p'
	tool -a coop
	tool -k coop
}
# kept COMMAND...: and traffic goes on after it.
kept()
{
	local before after
	before=$(settings)
	"$@" && recovers && wait_for $LONG vlan_ok || return
	after=$(settings)
	[ "$before" = "$after" ] || { diff <(echo "$before") <(echo "$after") | sed 's/^/# /'; return 1; }
}

check "settings that are not the usual ones" settle

# Whether the device, of which the stack knows nothing now, is left alone.
away()
{
	! in_coop ping -q -c 1 -W 1 "$PEER_IP" >/dev/null || { echo "# it answers"; return 1; }
	! ip -n coop link set coop mtu 1500 2>/dev/null || { echo "# its MTU was changed"; return 1; }
	! tool -S coop >/dev/null 2>&1 || { echo "# it was asked for statistics"; return 1; }
}
asleep()
{
	insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" || return
	away
	local result=$?
	rmmod coop_sleep && return $result
}
check "the device sleeps, and wakes up" kept asleep
traffic() { in_peer ping -q -f -w "$1" "$COOP_IP" >/dev/null 2>&1; }
ten_times()
{
	local i
	traffic 60 &
	for i in {1..10}; do
		insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" && rmmod coop_sleep || return
	done
	kill $! && wait $!
	return 0
}
check "ten times, with traffic" kept ten_times
downed_asleep()
{
	insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" && ip -n coop link set coop down &&
		rmmod coop_sleep && ! carrier_of coop && ip -n coop link set coop up
}
check "the interface is set down meanwhile" kept downed_asleep
unbound_asleep()
{
	insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" && unbind_coop && rmmod coop_sleep &&
		bind_coop && adopt_coop && recovers
}

reset_bus()
{
	[ "$(<"$PCI/devices/$COOP_PCI/reset_method")" = bus ] || return
	echo 1 >"$PCI/devices/$COOP_PCI/reset"
}
check "somebody resets the bus" kept reset_bus
ten_resets()
{
	local i
	traffic 60 &
	for i in {1..10}; do reset_bus || return; done
	kill $! && wait $!
	return 0
}
check "ten times, with traffic" kept ten_resets

# An error that the bridge reports, of the kind that is not fatal: a completer has aborted. All that is
# behind the port is told.
inject()
{
	local bridge
	bridge=$(basename "$(dirname "$(readlink -f "$PCI/devices/$COOP_PCI")")")
	python3 - "$bridge" <<-'EOF'
		import re, struct, sys
		bus, dev, fn = (int(n, 16) for n in re.match(r"0000:(..):(..)\.(.)", sys.argv[1]).groups())
		with open("/dev/aer_inject", "wb", buffering=0) as to:
		    to.write(struct.pack("=3Bx7I", bus, dev, fn, 0x8000, 0, 0, 1, 2, 3, 0))
	EOF
}
error()
{
	modprobe aer_inject || return
	dmesg -C
	inject && wait_for $LONG sh -c "dmesg | grep -q 'device recovery'" || return
	dmesg | sed 's/^/# /'
	dmesg | grep -q 'device recovery successful' && dmesg -C
}
if modprobe -nq aer_inject; then
	check "an error on the bus" kept error
else
	ktap_test_skip "an error on the bus: no aer_inject in this kernel"
fi
check "the device is unbound while it sleeps" unbound_asleep
check "the kernel log is clean" dmesg_is_clean
ktap_finished
