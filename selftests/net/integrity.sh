#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 700
# What is sent arrives: much of it by TCP, both ways at once, every byte compared: with the
# device's checksums, the same in long frames, and with the kernel's checksums; and numbered datagrams
# by UDP, of which none may come twice, late or not as sent, nor get lost as long as they fit into
# the rings. Invariant 2.
#
# MIB of it in all, 2 GiB as long as nobody asks for more. For 10 GiB:
#   scripts/guest --nics 1 --timeout 1800 -- env MIB=10240 bash selftests/net/integrity.sh
. "$(dirname "$0")/lib.sh"

MIB=${MIB:-2048}

wire 9

frames() { python3 -IS "$HERE/frames.py" "$@"; }

# both_ways MIB: so much, half of it each way.
both_ways()
{
	local out in begin=${EPOCHREALTIME/./}
	frames stream coop peer $(($1 / 2)) &
	out=$!
	frames stream peer coop $(($1 / 2))
	in=$?
	wait $out && [ $in = 0 ] || return
	echo "# $1 MiB in $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
}
mtu() { ip -n coop link set coop mtu "$1" && ip -n peer link set peer mtu "$1" && goes_on; }
jumbo() { mtu 9000 && both_ways $((MIB * 3 / 8)) && mtu 1500; }
# A fourth of what the others have: nobody cuts up long segments for the CPU then.
software()
{
	in_coop ethtool -K coop rx off tx off >/dev/null && both_ways $((MIB / 8)) &&
		in_coop ethtool -K coop rx on tx on sg on tso on >/dev/null
}
# checksums NAMESPACE: how many were wrong, as the kernel has seen them.
checksums()
{
	ip netns exec "$1" awk '$1 == "Tcp:" || $1 == "Udp:" {
		if ($2 !~ /[0-9]/) split($0, name); else for (i in name) if (name[i] == "InCsumErrors") sum += $i
	} END { print sum + 0 }' /proc/net/snmp
}
no_wrong_checksum()
{
	echo "# checksums that were wrong: $(checksums coop) in coop, $(checksums peer) in peer"
	[ "$(checksums coop)$(checksums peer)" = 00 ]
}

check "streams both ways, checksums by the device" both_ways $((MIB / 2))
check "streams both ways, in frames of 9 000 bytes" jumbo
check "streams both ways, checksums by the kernel" software
check "no checksum was wrong" no_wrong_checksum
still
patient coop
patient peer
check "datagrams out, in bursts" frames sequence coop peer 20000 100
check "datagrams in, in bursts" frames sequence peer coop 20000 100
# Those that are too much are lost.
flood() { frames sequence coop peer 20000 0 && frames sequence peer coop 20000 0; }
check "datagrams both ways, as fast as can be" flood
# That this notices what goes wrong.
notices()
{
	local out
	ip netns exec peer tc qdisc replace dev peer root netem limit 10000 \
		delay 20ms reorder 5% loss 2% duplicate 2% corrupt 1% || return
	out=$(frames sequence peer coop 4000 100) && { echo "# nothing was noticed: $out"; return 1; }
	ip netns exec peer tc qdisc del dev peer root
	echo "$out"
	! grep -qE " 0 (lost|twice|out of order)" <<<"$out"
}
if modprobe -q sch_netem; then
	check "losses, doubles and disorder are noticed" notices
else
	ktap_test_skip "losses, doubles and disorder are noticed"
fi
check "the kernel log is clean" dmesg_is_clean
ktap_finished
