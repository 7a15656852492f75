#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 400
# What an administrator changes while the interface is up and frames pass: which
# frames are received, address, MTU, offloads; and a device that stops sending.
. "$(dirname "$0")/lib.sh"

setup_wire || ktap_exit_fail_msg "cannot bring the NICs up"
ktap_print_header
ktap_set_plan 17

# Isolated and without site-packages it starts in half the time, fifty times.
frames() { python3 -IS "$HERE/frames.py" "$@"; }

own=$(in_coop cat /sys/class/net/coop/address)
other=02:00:00:00:00:77
group=01:00:5e:01:02:03
many=() groups=()
for i in {10..39}; do
	many+=("02:00:00:00:00:$i")
	groups+=("01:00:5e:0$((i % 7)):$i:$i")
done

# arrive ADDRESS...: frames to all that are asked for arrive, and no others do.
arrive()
{
	local got
	got=$(frames reach peer coop "$own" "$other" "$group" "${many[@]}" "${groups[@]}") || return
	[ "$(sort <<<"$got")" = "$(printf '%s\n' "$@" | sort)" ] && return
	echo "# arrived: ${got//$'\n'/ }"
	echo "# wanted:  $*"
	return 1
}

check "nothing for others arrives" arrive "$own"
ip -n coop maddr add $group dev coop
check "a multicast group" arrive "$own" $group
for i in "${groups[@]}"; do ip -n coop maddr add "$i" dev coop; done
check "more groups than the device compares exactly" arrive "$own" $group "${groups[@]}"
for i in $group "${groups[@]}"; do ip -n coop maddr del "$i" dev coop; done
ip -n coop link set coop allmulticast on
check "all groups" arrive "$own" $group "${groups[@]}"
ip -n coop link set coop allmulticast off
in_coop bridge fdb add $other dev coop self
check "a second address" arrive "$own" $other
for i in "${many[@]}"; do in_coop bridge fdb add "$i" dev coop self; done
more_addresses()
{
	# Some, or the device could not; all of these, in any case.
	local got
	got=$(frames reach peer coop "${many[@]}") || return
	[ "$(wc -l <<<"$got")" = ${#many[@]} ]
}
check "more addresses than the device compares" more_addresses
for i in $other "${many[@]}"; do in_coop bridge fdb del "$i" dev coop self; done
ip -n coop link set coop promisc on
check "everything" arrive "$own" $other $group "${many[@]}" "${groups[@]}"
ip -n coop link set coop promisc off

change_address()
{
	local was=$own
	ip -n coop link set coop address $other || return
	own=$other other=$was
	arrive "$own" && ip -n peer neigh flush all && ping_ok 3 || return
	# It outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	wait_for 10 carrier_of coop && arrive "$own" && wait_for 5 ping_ok
}
check "another hardware address, and nothing for the old one" change_address

# MTUs: what fits passes in one piece, both ways.
mtus()
{
	local mtu
	for mtu in 9000 16110 2000 576 1500; do
		ip -n coop link set coop mtu $mtu && ip -n peer link set peer mtu $mtu || return
		wait_for 10 carrier_of peer && wait_for 5 ping_ok || return
		in_coop ping -q -c 3 -i 0.05 -W 2 -M "do" -s $((mtu - 28)) "$PEER_IP" >/dev/null ||
			{ echo "# MTU $mtu: no answer"; return 1; }
		frames stream coop peer 1 && frames stream peer coop 1 ||
			{ echo "# MTU $mtu"; return 1; }
	done
	! ip -n coop link set coop mtu 16111 2>/dev/null
}
check "MTUs from 576 to 16110" mtus

# packets: how many the interface has sent, and how many came to the other end.
packets() { echo "$(counter coop tx_packets) $(counter peer rx_packets)"; }

# What the interface counts as sent is what comes, about: the other end may lose some,
# and where the last segment is full, the emulated device sends one more that is empty.
segments()
{
	local sent came sent_then came_then
	read -r sent_then came_then < <(packets)
	frames stream coop peer 16 || return
	sleep 0.2
	read -r sent came < <(packets)
	sent=$((sent - sent_then)) came=$((came - came_then))
	echo "# $sent packets sent, $came came"
	[ $sent -ge 11500 ] && [ $came -ge $((sent * 9 / 10)) ] &&
		[ $came -le $((sent * 11 / 10)) ]
}
check "the device cuts a stream into segments, and all are counted" segments

offloads()
{
	local offload state
	for offload in tso sg tx; do
		for state in off on; do
			in_coop ethtool -K coop $offload $state >/dev/null &&
				frames stream coop peer 1 || { echo "# $offload $state"; return 1; }
		done
	done
	in_coop ethtool -K coop sg on tx on tso on >/dev/null
}
check "a stream with each offload off, and on again" offloads

# VLANs, with tags put in and taken out by the device, and by the kernel.
modprobe 8021q
for side in coop peer; do
	ip -n $side link add link $side name vlan7 type vlan id 7
	ip -n $side link set vlan7 up
done
ip -n coop addr add 10.78.0.1/24 dev vlan7
ip -n peer addr add 10.78.0.2/24 dev vlan7
vlan_ok() { in_coop ping -q -c 2 -i 0.05 -W 2 -M "do" -s 1472 10.78.0.2 >/dev/null; }
vlans()
{
	local state
	for state in off on; do
		in_coop ethtool -K coop rxvlan $state >/dev/null || return
		in_coop ethtool -k coop | grep -q "tx-vlan-offload: $state" || return
		wait_for 5 vlan_ok || { echo "# no answer with rxvlan $state"; return 1; }
		frames stream coop peer 2 10.78.0.2 && frames stream peer coop 2 10.78.0.1 || return
	done
}
check "a VLAN, with the offload off and on" vlans

# knows NAMESPACE INTERFACE ADDRESS NAMESPACE INTERFACE: the one need not ask who the
# other is, now or again: that would be a frame that nobody has counted on.
knows()
{
	local lladdr
	lladdr=$(ip netns exec "$4" cat "/sys/class/net/$5/address" 2>/dev/null) || return 0
	ip -n "$1" neigh replace "$3" lladdr "$lladdr" dev "$2" nud permanent
}
received() { counter coop rx_packets; }
has_received() { [ "$(received)" -ge "$1" ]; }
# What was under way before, the last words of a stream, say, has come.
quiet()
{
	local before
	before=$(received)
	sleep 0.5
	[ "$(received)" = "$before" ]
}
# grows BY COMMAND...: the interface has received that many frames more.
grows()
{
	local by=$1 before
	shift
	knows peer peer "$COOP_IP" coop coop
	knows coop coop "$PEER_IP" peer peer
	knows peer vlan7 10.78.0.1 coop vlan7
	knows coop vlan7 10.78.0.2 peer vlan7
	wait_for 10 quiet || { echo "# there is always something coming"; return 1; }
	before=$(received)
	"$@"
	wait_for 5 has_received $((before + by))
	sleep 0.5
	before=$(($(received) - before))
	[ $before = "$by" ] || { echo "# $*: $before frames came, not $by"; return 1; }
}
vlan_filter()
{
	grows 10 frames tagged peer coop 7 && grows 0 frames tagged peer coop 8 || return
	ip -n coop link set coop promisc on
	grows 10 frames tagged peer coop 8 || return
	ip -n coop link set coop promisc off
	# It outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	wait_for 10 carrier_of coop && wait_for 5 ping_ok && wait_for 5 vlan_ok || return
	grows 10 frames tagged peer coop 7 && grows 0 frames tagged peer coop 8
}
check "frames of VLANs that nobody wants are dropped" vlan_filter
ip -n coop link del vlan7
ip -n peer link del vlan7
checksum_kept()
{
	local before
	in_coop ethtool -K coop rx-fcs on >/dev/null || return
	wait_for 10 quiet || return
	before=$(counter coop rx_bytes)
	grows 10 frames long peer coop 200 || return
	before=$(($(counter coop rx_bytes) - before))
	in_coop ethtool -K coop rx-fcs off >/dev/null
	[ $before = 2040 ] || { echo "# $before bytes, not 10 x 204"; return 1; }
}
check "Ethernet's checksum is kept on demand" checksum_kept
# What is too long for Ethernet is an error that one can send.
bad_kept()
{
	ip -n peer link set peer mtu 2000 && wait_for 10 carrier_of peer && wait_for 5 ping_ok || return
	grows 0 frames long peer coop 1800 || return
	in_coop ethtool -K coop rx-all on >/dev/null || return
	grows 10 frames long peer coop 1800 || return
	in_coop ethtool -K coop rx-all off >/dev/null
	ip -n peer link set peer mtu 1500 && wait_for 10 carrier_of peer && wait_for 5 ping_ok
}
check "frames with errors are kept on demand" bad_kept

check "the kernel log is clean" dmesg_is_clean

# Without access to memory the device sends nothing: the kernel complains of that.
bus_master()
{
	local config=$PCI/devices/$COOP_PCI/config
	printf '%b' "\\x$1" | dd of="$config" bs=1 seek=4 conv=notrunc status=none
}
timed_out() { dmesg | grep -q 'coop: does not send any more: reset'; }
sends()
{
	local before
	before=$(counter coop tx_packets)
	sleep 0.5
	[ "$(counter coop tx_packets)" -gt $((before + 100)) ]
}
recovers()
{
	[ "$DRIVER" = coop_e1000 ] || return 0
	python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	wait_for 20 sends || { echo "# nothing to send"; return 1; }
	bus_master 03
	# Its queue is full by then, and stopped.
	sleep 1
	bus_master 07
	wait_for 20 timed_out || { echo "# nobody noticed"; return 1; }
	wait_for 10 carrier_of coop
	wait_for 10 ping_ok 5 || { echo "# no traffic afterwards"; return 1; }
	dmesg | grep -E 'NETDEV WATCHDOG|reset|link is' | sed 's/^/# /'
	kill %1
	dmesg -C
}
check "a device that stops sending is reset" recovers
ktap_finished
