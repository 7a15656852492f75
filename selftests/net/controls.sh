#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 400
# What an administrator changes while the interface is up and frames pass: MTU,
# offloads, VLANs.
. "$(dirname "$0")/lib.sh"

wire 8

# Isolated and without site-packages it starts in half the time, fifty times.
frames() { python3 -IS "$HERE/frames.py" "$@"; }

in_one_piece() { in_coop ping -q -c 3 -i 0.05 -w 10 -M "do" -s "$1" "$2"; }
# MTUs: what fits passes in one piece, both ways.
mtus()
{
	local mtu
	for mtu in 9000 16110 2000 576 1500; do
		ip -n coop link set coop mtu $mtu && ip -n peer link set peer mtu $mtu || return
		goes_on && wait_for $LONG in_one_piece $((mtu - 28)) "$PEER_IP" ||
			{ echo "# MTU $mtu: no answer"; return 1; }
		frames stream coop peer 1 && frames stream peer coop 1 ||
			{ echo "# MTU $mtu"; return 1; }
	done
	! ip -n coop link set coop mtu 16111 2>/dev/null
}
check "MTUs from 576 to 16110" mtus

# What the interface counts as sent since `mark` is what comes: 16 MiB, up to 1 448 bytes in a segment.
# Where the last segment is full, the emulated device sends one more that has but headers, of 66 bytes.
counted()
{
	local before now sent came bytes
	read -ra before <<<"$MARK"
	read -ra now <<<"$(counters coop) $(counters peer)"
	sent=$((now[2] - before[2])) came=$((now[4] - before[4]))
	bytes=$((now[5] - before[5] - (now[3] - before[3])))
	echo "# $sent packets sent, $came came, with $bytes bytes more"
	[ $sent -ge 11587 ] && [ $came -ge $sent ] && [ $bytes = $((66 * (came - sent))) ]
}
segments()
{
	# Not more on its way than the other end's ring takes: nothing gets lost, however late that is.
	in_peer sysctl -qw net.ipv4.tcp_rmem="4096 131072 131072"
	still && mark && frames stream coop peer 16 && eventually counted
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
vlan_ok() { wait_for $LONG in_one_piece 1472 10.78.0.2; }
vlans()
{
	local state
	for state in off on; do
		in_coop ethtool -K coop rxvlan $state >/dev/null || return
		in_coop ethtool -k coop | grep -q "tx-vlan-offload: $state" || return
		vlan_ok || { echo "# no answer with rxvlan $state"; return 1; }
		frames stream coop peer 2 10.78.0.2 && frames stream peer coop 2 10.78.0.1 || return
	done
}
check "a VLAN, with the offload off and on" vlans

patient peer
# arrive LENGTHS COMMAND...: frames of these lengths, and no others.
arrive()
{
	local wanted=$1 got
	shift
	got=$(frames "$@") || { echo "$got"; return 1; }
	[ "$got" = "$wanted" ] || { echo "# $*: frames of '$got' bytes arrived, not '$wanted'"; return 1; }
}
# ten LENGTH
ten() { echo "$1 $1 $1 $1 $1 $1 $1 $1 $1 $1"; }
vlan_filter()
{
	eventually arrive "$(ten 200)" tagged peer coop 7 && eventually arrive "" tagged peer coop 8 || return
	# The kernel does not wait until the driver has done this.
	ip -n coop link set coop promisc on
	eventually arrive "$(ten 200)" tagged peer coop 8 || return
	ip -n coop link set coop promisc off
	eventually arrive "" tagged peer coop 8 || return
	# It outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	goes_on && vlan_ok || return
	eventually arrive "$(ten 200)" tagged peer coop 7 && eventually arrive "" tagged peer coop 8
}
check "frames of VLANs that nobody wants are dropped" vlan_filter
ip -n coop link del vlan7
ip -n peer link del vlan7
checksum_kept()
{
	in_coop ethtool -K coop rx-fcs on >/dev/null && eventually arrive "$(ten 204)" long peer coop 200 &&
		in_coop ethtool -K coop rx-fcs off >/dev/null &&
		eventually arrive "$(ten 200)" long peer coop 200
}
check "Ethernet's checksum is kept on demand" checksum_kept
# What is too long for Ethernet is an error that one can send.
more_length_errors() { [ "$(counter coop rx_length_errors)" -ge "$1" ]; }
bad_kept()
{
	local before
	before=$(counter coop rx_length_errors)
	ip -n peer link set peer mtu 2000 && goes_on && eventually arrive "" long peer coop 1800 &&
		wait_for $LONG more_length_errors $((before + 10)) &&
		in_coop ethtool -K coop rx-all on >/dev/null &&
		eventually arrive "$(ten 1800)" long peer coop 1800 &&
		in_coop ethtool -K coop rx-all off >/dev/null && eventually arrive "" long peer coop 1800 &&
		ip -n peer link set peer mtu 1500 && goes_on
}
check "frames with errors are kept on demand" bad_kept

check "the kernel log is clean" dmesg_is_clean

ktap_finished
