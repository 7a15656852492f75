#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 480 --qemu -machine --qemu q35 --qemu -device --qemu pcie-root-port,id=root0,chassis=1,addr=10 --qemu -device --qemu pcie-pci-bridge,id=bridge,bus=root0 --qemu -netdev --qemu hubport,id=net0,hubid=1 --qemu -device --qemu e1000,netdev=net0,bus=bridge,addr=1,romfile=,mac=52:54:00:c0:09:01 --qemu -device --qemu pcie-pci-bridge,id=other,addr=11 --qemu -netdev --qemu hubport,id=net1,hubid=1 --qemu -device --qemu e1000,netdev=net1,bus=other,addr=1,romfile=,mac=52:54:00:c0:09:02
# A device that sleeps, alone or with the whole machine, is reset, or has had errors on its bus: it
# comes back as it was, in the midst of traffic, and as long as it is away nothing reaches it. Between it and the CPU are
# a PCI Express port and a bridge, which report errors and can reset what is behind them.
# DRIVER=e1000 does the same to the C driver.
. "$(dirname "$0")/lib.sh"

wire 16

tool() { in_coop ethtool "$@"; }
recovers() { goes_on 3; }

# What is to be the same afterwards: settings of the interface, and what it has counted.
# What there is for this driver.
options() { tool -G coop rx 512 && tool -A coop autoneg off rx on tx off && MTU=1600; }
case $DRIVER in *8139*) options() { MTU=1400; } ;; esac
settle()
{
	options && tool -K coop gro off &&
		ip -n coop link set coop address 52:54:00:77:77:77 mtu $MTU allmulticast on &&
		ip -n coop link add link coop name coop.7 type vlan id 7 &&
		ip -n coop addr add 10.77.7.1/24 dev coop.7 && ip -n coop link set coop.7 up &&
		ip -n peer link set peer mtu $MTU &&
		ip -n peer link add link peer name peer.7 type vlan id 7 &&
		ip -n peer addr add 10.77.7.2/24 dev peer.7 && ip -n peer link set peer.7 up &&
		recovers
}
vlan_ok() { answers 1 10.77.7.2; }
settings()
{
	# Not whether there is a link at this very moment.
	ip -n coop -o link show coop | sed 's/state.*link/link/; s/NO-CARRIER,//; s/,LOWER_UP//'
	tool -g coop | sed -n '/Current/,$p'
	tool -a coop
	tool -k coop
} 2>/dev/null
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
	! ip -n coop link set coop mtu 1300 2>/dev/null || { echo "# its MTU was changed"; return 1; }
	! tool -r coop >/dev/null 2>&1 || { echo "# its link was negotiated"; return 1; }
}
# while_there MODULE PARAMETER: it is away as long as that module is there.
while_there()
{
	insmod "$MODULES/$1.ko" device="$COOP_PCI" ${2:+"$2"} || return
	away
	local result=$?
	rmmod "$1" && return $result
}
check "the device sleeps, and wakes up" kept while_there coop_sleep
# As in a machine that sleeps and saves power: a reset of the bus is as good as none.
check "the device sleeps without power, and wakes up" kept while_there coop_sleep cold=1
# with_traffic COMMAND...: the other end asks all the while.
with_traffic()
{
	local ping result
	ip netns exec peer ping -q -f "$COOP_IP" >/dev/null 2>&1 &
	ping=$!
	"$@"
	result=$?
	kill $ping && wait $ping
	return $result
}
ten_times()
{
	local i
	for i in {1..10}; do
		insmod "$MODULES/$1.ko" device="$COOP_PCI" ${2:+"$2"} && rmmod "$1" || return
	done
}
check "ten times, with traffic" kept with_traffic ten_times coop_sleep cold=1
downed_asleep()
{
	insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" && ip -n coop link set coop down &&
		rmmod coop_sleep && ! carrier_of coop && ip -n coop link set coop up
}
if [ "$DRIVER" = e1000 ]; then
	# With the lock of all interfaces: it disables a second time the poll that it has disabled to sleep.
	ktap_test_skip "the interface is set down meanwhile: the C driver waits for ever"
else
	check "the interface is set down meanwhile" kept downed_asleep
fi
# A group that somebody joins while the device sleeps is received when it is awake.
GROUP=239.7.7.7 GROUP_MAC=01:00:5e:07:07:07
group_arrives() { [ "$(python3 -IS "$HERE/frames.py" reach peer coop $GROUP_MAC)" = "${1-$GROUP_MAC}" ]; }
joined_asleep()
{
	local result
	ip -n coop link set coop allmulticast off && eventually group_arrives "" &&
		insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" || return
	coproc MEMBER { in_coop python3 -IS -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(sys.argv[1]) + socket.inet_aton(sys.argv[2]))
print("joined", flush=True)
sys.stdin.read()' $GROUP $COOP_IP; }
	read -r _ <&"${MEMBER[0]}"
	rmmod coop_sleep && recovers && eventually group_arrives
	result=$?
	kill "$MEMBER_PID" && wait "$MEMBER_PID"
	ip -n coop link set coop allmulticast on && [ $result = 0 ]
} 2>/dev/null
check "a group is joined meanwhile" kept joined_asleep
unbound_asleep()
{
	insmod "$MODULES/coop_sleep.ko" device="$COOP_PCI" && unbind_coop && rmmod coop_sleep &&
		bind_coop && adopt_coop && recovers
}

# The whole machine, by the kernel's own test of that: all devices sleep but those on which the guest's
# file system is, with "mem" all CPUs but one as well, and after a second all wake up.
machine_sleeps()
{
	local result
	insmod "$MODULES/coop_awake.ko" || return
	echo 1 >/sys/module/suspend/parameters/pm_test_delay
	new_log || return
	echo "$2" >/sys/power/pm_test && echo "$1" >/sys/power/state
	result=$?
	echo none >/sys/power/pm_test
	rmmod coop_awake && [ $result = 0 ] && dmesg | grep -q 'PM: suspend exit'
}
if grep -qw platform /sys/power/pm_test; then
	check "the whole machine sleeps to idle" kept with_traffic machine_sleeps freeze platform
	check "the whole machine sleeps" kept with_traffic machine_sleeps mem core
else
	ktap_test_skip "the whole machine sleeps to idle: no test for that in this kernel"
	ktap_test_skip "the whole machine sleeps"
fi

reset_bus()
{
	[ "$(<"$PCI/devices/$COOP_PCI/reset_method")" = bus ] || return
	echo 1 >"$PCI/devices/$COOP_PCI/reset"
}
check "somebody resets the bus" kept reset_bus
ten_resets()
{
	local i
	for i in {1..10}; do reset_bus || return; done
}
check "ten times, with traffic" kept with_traffic ten_resets

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
	modprobe aer_inject && new_log || return
	inject && wait_for $LONG sh -c "dmesg | grep -q 'device recovery'" || return
	dmesg | sed 's/^/# /'
	dmesg | grep -q 'device recovery successful' && new_log
}
if modprobe -nq aer_inject; then
	check "an error on the bus" kept error
else
	ktap_test_skip "an error on the bus: no aer_inject in this kernel"
fi
check "an error that is fatal, and the slot is reset" kept while_there coop_error
check "ten times, with traffic" kept with_traffic ten_times coop_error
# The driver lets go; what is found there later is another device.
gone()
{
	local result
	insmod "$MODULES/coop_error.ko" device="$COOP_PCI" permanent=1 || return
	away && unbind_coop
	result=$?
	echo 1 >"$PCI/devices/$COOP_PCI/remove"
	rmmod coop_error && [ $result = 0 ] && plug_in && recovers
}
check "the device is unbound while it sleeps" unbound_asleep
check "an error for good, and another device in its place" gone
check "the kernel log is clean" dmesg_is_clean
ktap_finished
