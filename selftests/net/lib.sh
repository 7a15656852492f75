# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Two NICs on one wire, each in a network namespace of its own: "coop" has the
# NIC under test, "peer" has the other one, driven by the kernel's C driver.
# Sourced by the tests of this folder and run in a guest (scripts/guest --nics 1).

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

# DRIVER=e1000 runs everything with the C driver on both sides.
DRIVER=${DRIVER:-coop_e1000}
COOP_IP=10.77.0.1
PEER_IP=10.77.0.2
PCI=/sys/bus/pci

in_coop() { ip netns exec coop "$@"; }
in_peer() { ip netns exec peer "$@"; }

# The PCI addresses of the two NICs.
find_nics()
{
	local dev found=()
	for dev in "$PCI"/devices/*; do
		[ "$(<"$dev/vendor") $(<"$dev/device")" = "0x8086 0x100e" ] && found+=("${dev##*/}")
	done
	[ ${#found[@]} -ge 2 ] || skip_all "needs two e1000 NICs on one wire (scripts/guest --nics 1)"
	COOP_PCI=${found[0]} PEER_PCI=${found[1]}
}

load_driver()
{
	[ "$DRIVER" = coop_e1000 ] || return 0
	[ -d /sys/module/coop_domain ] || insmod "$MODULES/coop_domain.ko" || return
	[ -d /sys/module/sample_driver ] || insmod "$MODULES/sample_driver.ko"
}

unload_driver()
{
	[ "$DRIVER" = coop_e1000 ] || return 0
	rmmod sample_driver
}

# Where there is udev, it may give the interface another name in this very moment.
move_interface()
{
	local name
	name=$(ls "$PCI/devices/$1/net") && [ -n "$name" ] && ip link set "$name" netns "$2" name "$2"
}

# adopt PCI_ADDRESS NAMESPACE ADDRESS: put the interface into the namespace, up.
# A new interface is in the first namespace, under the name of its choice.
adopt()
{
	local pci=$1 ns=$2 address=$3
	wait_for 10 move_interface "$pci" "$ns" || return
	ip -n "$ns" addr add "$address/24" dev "$ns" || return
	ip -n "$ns" link set "$ns" up
}

carrier_of() { ip -n "$1" -o link show "$1" 2>/dev/null | grep -q LOWER_UP; }
adopt_coop() { adopt "$COOP_PCI" coop "$COOP_IP" && wait_for 10 carrier_of coop; }
bind_coop() { echo "$COOP_PCI" >"$PCI/drivers/$DRIVER/bind"; }
unbind_coop() { echo "$COOP_PCI" >"$PCI/drivers/$DRIVER/unbind"; }
ping_ok() { in_coop ping -q -c "${1:-1}" -i 0.05 -W 1 "$PEER_IP" >/dev/null 2>&1; }

# Bring both NICs up, each in its namespace.
setup_wire()
{
	[ "$(id -u)" = 0 ] || skip_all "must be root"
	find_nics
	dmesg -C
	trap teardown_wire EXIT
	ip netns add coop && ip netns add peer || return
	local ns
	for ns in coop peer; do
		ip -n "$ns" link set lo up
		# No frames but those of the test.
		ip netns exec "$ns" sh -c '
			for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 >"$f"; done'
	done
	local peer_driver=e1000
	if ! modprobe -nq e1000; then
		# As in cloud kernels. Who only wants traffic has our driver at both ends.
		[ -n "${ANY_PEER:-}" ] || skip_all "no C driver to talk to in this kernel"
		peer_driver=$DRIVER
	fi
	echo "$DRIVER" >"$PCI/devices/$COOP_PCI/driver_override"
	echo "$peer_driver" >"$PCI/devices/$PEER_PCI/driver_override"
	[ "$peer_driver" != e1000 ] || modprobe e1000 || return
	load_driver || return
	adopt "$PEER_PCI" peer "$PEER_IP" || return
	adopt_coop || return
	wait_for 10 carrier_of peer || return
	wait_for 10 ping_ok
}

# Leave the guest as it was, for the next test in it.
teardown_wire()
{
	local dev
	# shellcheck disable=SC2046
	kill $(jobs -p) 2>/dev/null
	wait
	ip netns del coop
	ip netns del peer
	for dev in "$COOP_PCI" "$PEER_PCI"; do
		[ -e "$PCI/devices/$dev" ] && echo >"$PCI/devices/$dev/driver_override"
	done
	[ -d /sys/module/sample_driver ] && rmmod sample_driver
	[ -d /sys/module/coop_domain ] && rmmod coop_domain
	rmmod e1000
} 2>/dev/null

# counter NAMESPACE NAME, as in ip -s link
counter()
{
	local name rb rp re rd tb tp te td x
	while read -r name rb rp re rd x x x x tb tp te td x; do
		[ "$name" = "$1:" ] || continue
		case $2 in
		rx_bytes) echo "$rb" ;;
		rx_packets) echo "$rp" ;;
		rx_errors) echo "$re" ;;
		rx_dropped) echo "$rd" ;;
		tx_bytes) echo "$tb" ;;
		tx_packets) echo "$tp" ;;
		tx_errors) echo "$te" ;;
		tx_dropped) echo "$td" ;;
		esac
	done < <(ip netns exec "$1" cat /proc/net/dev)
}
