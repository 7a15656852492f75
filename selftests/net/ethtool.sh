#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 500
# What ethtool shows and changes, with traffic going on: rings, interrupts, link, flow
# control, counters, registers, EEPROM, self test. The C driver on the other end of the
# wire shows what users expect, where it knows it.
. "$(dirname "$0")/lib.sh"

wire 21

frames() { python3 -IS "$HERE/frames.py" "$@"; }
tool() { in_coop ethtool "$@"; }

# same OPTION FILTER: both drivers show the same, of what the filter leaves.
same()
{
	diff <(tool ${1:+"$1"} coop | grep -v coop | sh -c "$2") \
		<(in_peer ethtool ${1:+"$1"} peer | grep -v peer | sh -c "$2") | sed 's/^/# /'
	[ "${PIPESTATUS[0]}" = 0 ]
}
# shows OPTION LINE: the option's output has that line.
shows()
{
	local out
	out=$(tool ${1:+"$1"} coop | tr -s ' \t' ' ')
	grep -qE "^ ?$2\$" <<<"$out" && return
	echo "# no line \"$2\" in:"
	sed 's/^/#   /' <<<"$out"
	return 1
}
refuses()
{
	local out
	out=$(tool "$@" 2>&1) && { echo "# ethtool $* was accepted"; return 1; }
	echo "# ethtool $*: $out"
}

check "driver and bus" shows -i "bus-info: $COOP_PCI"
check "what it can do, as the C driver does" same -i "grep supports"
# The C driver has no words for wake-on-LAN that the emulated device does not do, either.
check "link modes, as of the C driver" eventually same "" "grep -vE 'Wake-on|MDI-X|PHYAD'"

# The interface under load, from both sides or one.
blast()
{
	local side
	for side in "$@"; do
		case $side in
		coop) python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" & ;;
		peer) python3 -IS "$HERE/frames.py" blast peer "$COOP_IP" & ;;
		esac
	done
}
quiet()
{
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
} 2>/dev/null

# Counters of the device: each grows by what passes.
statistic() { ethtool_of "$1" -S | awk -v n="$2:" '$1 == n { print $2 }'; }
ethtool_of() { ip netns exec "$1" ethtool "$2" "$1"; }
counts()
{
	local name before=() i=0 grown wanted most
	local names=(rx_packets tx_packets rx_bytes tx_bytes)
	still
	for name in "${names[@]}"; do before+=("$(statistic coop "$name")"); done
	# 208 frames of 60 to 1 509 bytes each way; the device counts checksums, too.
	frames sizes coop peer 7 && frames sizes peer coop 7 || return
	for name in "${names[@]}"; do
		grown=$(($(statistic coop "$name") - before[i++]))
		# There may have been some frames besides.
		case $name in
		*packets) wanted=208 most=218 ;;
		*) wanted=$((163176 + 4 * 208)) most=$((wanted + 640)) ;;
		esac
		[ $grown -ge $wanted ] && [ $grown -le $most ] ||
			{ echo "# $name: $grown, not $wanted"; return 1; }
	done
}
check "statistics of the device" counts
names() { ethtool_of "$1" -S | awk -F: 'NR > 1 { print $1 }' | sort; }
no_others()
{
	# The C driver has some that are always zero.
	local more
	more=$(comm -23 <(names coop) <(names peer))
	[ -z "$more" ] || { echo "# unknown to the C driver: $more"; return 1; }
	[ "$(names coop | wc -l)" -ge 41 ]
}
check "statistics under the C driver's names" no_others

check "rings" shows -g "RX: 256"
rings()
{
	local n
	blast coop peer
	for n in 64:128 4096:4096 128:1024 1024:128 256:256; do
		tool -G coop rx "${n%:*}" tx "${n#*:}" || return
		shows -g "RX: ${n%:*}" && shows -g "TX: ${n#*:}" || return
		goes_on 3 || { echo "# no traffic with rings of $n"; return 1; }
	done
	quiet
	frames stream coop peer 2 && frames stream peer coop 2
}
check "rings changed under traffic" rings
stream_while_resized()
{
	local n stream
	frames stream coop peer 24 &
	stream=$!
	for n in 512 256 1024 256 4096 256; do
		tool -G coop rx $n tx $n || return
		sleep 0.2
	done
	wait $stream
}
check "a stream arrives whole while rings are changed" stream_while_resized
resized_down()
{
	ip -n coop link set coop down && tool -G coop rx 512 tx 512 && shows -g "RX: 512" &&
		ip -n coop link set coop up && goes_on &&
		tool -G coop rx 256 tx 256
}
check "rings changed while the interface is down" resized_down
wrong_lengths()
{
	refuses -G coop rx 8192 && refuses -G coop rx 32 && refuses -G coop tx 64 && shows -g "RX: 256" &&
		shows -g "TX: 256"
}
check "rings that are too long, or too short, are refused" wrong_lengths

# Pages that the pool has had from the kernel: those in the ring, and some that wait to be used
# again. Pages that do not come back from their frames are never given back, either.
pages() { in_coop python3 "$HERE/queues.py" coop | awk '$1 == "pool" { print $2 }'; }
pool()
{
	local pages
	# Of what the receiver has not read yet the kernel keeps so many bytes, and no more; and none of what
	# it has read, for the CPU that it came to.
	in_coop sysctl -qw net.ipv4.tcp_rmem="4096 131072 262144"
	sysctl -qw net.core.skb_defer_max=0
	frames stream peer coop 8 || return
	pages=$(pages)
	echo "# some 5 800 frames were received by $pages pages"
	[ "$pages" -ge 256 ] && [ "$pages" -le 1200 ] || return
	ip -n coop link set coop down && wait_for $LONG no_pages && ip -n coop link set coop up &&
		goes_on && [ "$(pages)" -ge 256 ]
}
no_pages() { [ -z "$(pages)" ]; }
check "buffers come from a page pool, and go back to it" pool

channels()
{
	shows -l "Combined:.*1" && tool -I -a coop | grep -q "rx_pause_frames: 0"
}
check "channels, and pause frames" channels

coalesce()
{
	local n
	for n in 0 1 4 10 10000 50 3; do
		tool -C coop rx-usecs $n && shows -c "rx-usecs: $n" && goes_on || return
	done
	refuses -C coop rx-usecs 5 && refuses -C coop rx-usecs 20000
}
check "interrupts coalesced" coalesce

negotiates()
{
	tool -r coop && goes_on || return
	tool -s coop advertise 0x20 && wait_for $LONG carrier_of coop || return
	eventually shows "" "Advertised link modes: 1000baseT/Full" || return
	tool -s coop speed 100 duplex half autoneg off && eventually shows "" "Speed: 100Mb/s" || return
	refuses -s coop speed 1000 duplex half autoneg off
	tool -s coop autoneg on advertise 0x2f && goes_on
}
check "the link is negotiated anew, and forced" negotiates
# transceiver REGISTER [VALUE]: while no driver has the device, what is in there, or is to be.
transceiver()
{
	python3 -IS -c '
import mmap, struct, sys, time
with open(sys.argv[1], "r+b") as bar:
    at = mmap.mmap(bar.fileno(), 4096)
word = 1 << 21 | int(sys.argv[2]) << 16
word |= 1 << 26 | int(sys.argv[3], 0) if len(sys.argv) > 3 else 1 << 27
at[0x20:0x24] = struct.pack("<I", word)
while True:
    word, = struct.unpack("<I", at[0x20:0x24])
    if word >> 28 & 1:
        break
    time.sleep(0.01)
print(word & 0xFFFF)' "$PCI/devices/$COOP_PCI/resource0" "$@"
}
# Another driver, as the C one when its interface goes down, has switched it off, or set it up in its way:
# it is as the settings say when the interface goes up.
claimed()
{
	local is
	unbind_coop && transceiver 0 0x1940 >/dev/null && [ "$(transceiver 0)" = $((0x1940)) ] &&
		transceiver 4 0x01 >/dev/null && bind_coop && adopt_coop && goes_on && unbind_coop || return
	is="$(transceiver 0) $(transceiver 4)"
	bind_coop && adopt_coop && goes_on || return
	echo "# control and offer of the transceiver: $is"
	[ "$is" = "$((0x1000)) $((0xde1))" ]
}
check "a transceiver that was switched off" claimed
# The words that ethtool tells, in one line.
words() { ip netns exec "$1" ethtool -d "$1" raw on | od -An -v -tx4 -w1024; }
pause()
{
	local rx tx control
	for rx in off on; do
		for tx in off on; do
			tool -A coop autoneg off rx $rx tx $tx || return
			shows -a "RX: $rx" && shows -a "TX: $tx" || return
			# Of CTRL, bits 27 and 28.
			read -r control _ < <(words coop)
			echo "# rx $rx, tx $tx: $((0x$control >> 27 & 3))"
			case $rx$tx$((0x$control >> 27 & 3)) in
			offoff0 | onoff1 | offon2 | onon3) ;;
			*) echo "# the device does something else"; return 1 ;;
			esac
		done
	done
	tool -A coop autoneg on && goes_on
}
check "flow control" pause
# Of the registers those that no traffic changes.
registers()
{
	local n ours theirs
	read -ra ours < <(words coop) && read -ra theirs < <(words peer)
	# Not those of the rings, and what the C driver sets in the transceiver: 17 and 20.
	for n in 1 3 6 8 11 {12..16} 18 19 {21..31}; do
		[ -n "${ours[n]}" ] && [ "${ours[n]}" = "${theirs[n]}" ] ||
			{ echo "# word $n: ${ours[n]}, not ${theirs[n]}"; return 1; }
	done
}
check "registers, as the C driver tells them" eventually registers
eeprom()
{
	# The hardware address is in there, and a checksum over all that.
	same -e "sed -n '4,9p'" || return
	[ "$(tool -e coop raw on length 6 | od -An -tx1 | tr -d ' \n')" = \
		"$(in_coop cat /sys/class/net/coop/address | tr -d :)" ]
}
check "EEPROM" eeprom
self_test()
{
	local out
	blast coop
	# The emulation may be late with what the offline test waits for.
	for _ in 1 2 3; do
		out=$(tool -t coop online && tool -t coop offline) && break
		sed 's/^/# /' <<<"$out"
	done
	quiet
	[ "$(grep -c 'PASS' <<<"$out")" = 2 ] && goes_on 3
}
check "self test, after which traffic goes on" self_test
changes() { in_coop cat /sys/class/net/coop/carrier_changes; }
changed() { [ "$(changes)" -ge "$1" ]; }
told() { dmesg | grep -qi 'coop.* link is up'; }
# The link goes away and comes back, for half a second, in which on a busy machine nobody may look.
blinks()
{
	local before
	before=$(changes)
	tool -r coop && wait_for 3 changed $((before + 2))
}
again() { wait_for $LONG blinks; }
messages()
{
	tool -s coop msglvl link off && shows "" ".*drv probe" || return
	new_log && again && goes_on || return
	! dmesg | grep -qi 'coop.* link is' || { echo "# it is told all the same"; return 1; }
	tool -s coop msglvl link on && again && wait_for $LONG told || { echo "# it is not told"; return 1; }
	timeout 60 ip netns exec coop ethtool -p coop 1
}
check "message level, and a light that blinks" messages
check "the kernel log is clean" dmesg_is_clean
ktap_finished
