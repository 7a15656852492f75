#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --append swiotlb=2048,force --timeout 240
# No memory for rings. All that the NICs read and write goes through a pool of 4 MiB here,
# 2 048 pieces of 2 KiB, of which a receive ring takes one a descriptor: so the longest ring
# does not fit, and when the other NIC has taken all that there is, nothing does. What is
# asked for then fails, and nothing changes by that; what is given again is enough.
. "$(dirname "$0")/lib.sh"

wire 9

mapped() { cat /sys/kernel/debug/swiotlb/io_tlb_used; }
lengths() { in_coop ethtool -g coop | awk '/^(RX|TX):/ { n[NR > 6, $1] = $2 } END { print n[1, "RX:"], n[1, "TX:"] }'; }
frames() { python3 -IS "$HERE/frames.py" "$@"; }

# refused: rings as long as they can be are not to be had, for want of memory.
refused()
{
	local out
	out=$(in_coop ethtool -G coop rx 4096 tx 4096 2>&1) && { echo "# 4096 was accepted"; return 1; }
	echo "# ethtool -G: $out"
	[[ $out = *"Cannot allocate memory"* ]] && [ "$(lengths)" = "256 256" ]
}
# One or two frames come and go.
no_more_mapped()
{
	local now
	now=$(mapped)
	echo "# mapped before: $1, after: $now"
	[ "$now" -le $(($1 + 4)) ]
}
# Without a frame in between that would have mappings of its own.
leaves_nothing()
{
	local before
	before=$(mapped)
	for _ in {1..20}; do refused >/dev/null || { refused; return; }; done
	[ "$before" -ge 512 ] && eventually no_more_mapped "$before"
}
check "a ring that does not fit is refused, and the old ones stay" refused
check "traffic goes on" goes_on 10
check "nothing of it stays mapped" leaves_nothing
stream_meanwhile()
{
	local stream
	frames stream coop peer 16 &
	stream=$!
	while kill -0 $stream 2>/dev/null; do refused >/dev/null || return; done
	wait $stream
}
check "a stream arrives whole meanwhile" stream_meanwhile
refused_down()
{
	ip -n coop link set coop down && refused && ip -n coop link set coop up &&
		goes_on
}
check "refused while the interface is down, which goes up as before" refused_down

# The other NIC takes what there is.
hog() { in_peer ethtool -G peer rx 4096; } 2>/dev/null
let_go() { in_peer ethtool -G peer rx 256; }
no_open()
{
	local out before
	ip -n coop link set coop down || return
	hog
	before=$(mapped)
	for _ in {1..20}; do
		out=$(ip -n coop link set coop up 2>&1) && { echo "# it went up"; return 1; }
	done
	echo "# ip link set up: $out; mapped before: $before, after: $(mapped)"
	let_go
	before=$(mapped)
	# Nor does a reset start it.
	in_coop ethtool --reset coop all >/dev/null
	eventually no_more_mapped "$before" && ip -n coop link set coop up && goes_on
}
check "the interface does not go up without buffers, and does with them" no_open

# Up, but a reset finds no buffers: the device rests until there are some, for rings that are set then, or
# for what the stack's watchdog, which looks every few seconds, has done about a device that is silent.
no_reset()
{
	local out status
	insmod "$MODULES/coop_nomem.ko" function=coop_net_rx_alloc || return
	out=$(in_coop ethtool --reset coop all 2>&1)
	echo "# ethtool --reset: $out"
	refused && ! in_coop ping -q -c 1 -W 1 "$PEER_IP" >/dev/null
	status=$?
	rmmod coop_nomem
	[ $status = 0 ] && [[ $out = *"Cannot allocate memory"* ]]
}
after_reset()
{
	no_reset && in_coop ethtool -G coop rx 512 tx 512 && goes_on || return
	# It keeps what it was given.
	in_coop ethtool --reset coop all >/dev/null && goes_on || return
	in_coop ethtool -G coop rx 256 tx 256 && goes_on || return
	no_reset && goes_on || return
	! dmesg | grep -E "$SPLAT" | grep -v 'NETDEV WATCHDOG' || return
	# What the watchdog has said is as it has to be.
	dmesg -C
}
check "after a reset without memory new rings start the device, or the watchdog does" after_reset

# Up, but no frame can be mapped: each is given up, and counted.
dropped_since() { [ "$(counter coop tx_dropped)" -gt "$1" ]; }
no_frames()
{
	local sent dropped
	sent=$(counter coop tx_dropped)
	hog
	[ "$(mapped)" -gt 2000 ] || { echo "# only $(mapped) are mapped"; return 1; }
	python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	wait_for $LONG dropped_since "$sent"
	kill $!
	wait $!
	dropped=$(($(counter coop tx_dropped) - sent))
	echo "# $dropped frames were dropped"
	let_go
	[ $dropped -gt 0 ] && goes_on 5 && frames stream peer coop 4
} 2>/dev/null
check "frames are dropped while there is no memory to send them, and sent later" no_frames
check "the kernel log is clean" dmesg_is_clean
ktap_finished
