#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 300
# Which frames are received, as an administrator changes it while the interface is
# up and frames pass; another hardware address; and a device that stops sending.
. "$(dirname "$0")/lib.sh"

wire 10

frames() { python3 -IS "$HERE/frames.py" "$@"; }

own=$(in_coop cat /sys/class/net/coop/address)
other=02:00:00:00:00:77
group=01:00:5e:01:02:03
many=() groups=()
for i in {10..39}; do
	many+=("02:00:00:00:00:$i")
	groups+=("01:00:5e:0$((i % 7)):$i:$i")
done

# add|del ADDRESS...: multicast groups, and addresses of the interface's own.
groups_are() { in_coop bash -c 'for i in "${@:2}"; do ip maddr "$1" "$i" dev coop; done' - "$@"; }
addresses_are() { printf "fdb $1 %s dev coop self\n" "${@:2}" | in_coop bridge -batch -; }

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

patient peer
# more ADDRESS...: frames to all of these arrive, and maybe others.
more()
{
	local got
	got=$(frames reach peer coop "$@") || return
	[ "$(wc -l <<<"$got")" = $# ]
}

check "nothing for others arrives" eventually arrive "$own"
groups_are add $group
check "a multicast group" eventually arrive "$own" $group
groups_are add "${groups[@]}"
check "more groups than the device compares exactly" eventually arrive "$own" $group "${groups[@]}"
groups_are del $group "${groups[@]}"
ip -n coop link set coop allmulticast on
check "all groups" eventually arrive "$own" $group "${groups[@]}"
ip -n coop link set coop allmulticast off
addresses_are add $other
# Where the device knows one address only, it takes all frames.
second() { if [ $ADDRESSES = 1 ]; then more $other; else arrive "$own" $other; fi; }
check "a second address" eventually second
addresses_are add "${many[@]}"
check "more addresses than the device compares" eventually more "${many[@]}"
addresses_are del $other "${many[@]}"
ip -n coop link set coop promisc on
check "everything" eventually arrive "$own" $other $group "${many[@]}" "${groups[@]}"
ip -n coop link set coop promisc off

change_address()
{
	local was=$own
	ip -n coop link set coop address $other || return
	own=$other other=$was
	eventually arrive "$own" && ip -n peer neigh flush all && goes_on 3 || return
	# It outlives a restart.
	ip -n coop link set coop down && ip -n coop link set coop up || return
	goes_on && eventually arrive "$own"
}
check "another hardware address, and nothing for the old one" change_address
check "the kernel log is clean" dmesg_is_clean

# poke FILE OFFSET HEX: writes a byte, of the device under test.
poke()
{
	printf '%b' "\\x$3" | dd of="$PCI/devices/$COOP_PCI/$1" bs=1 seek=$(($2)) conv=notrunc status=none
}
# Frames wait for the driver, which takes none.
stuck()
{
	local before
	before=$(handed)
	sleep 0.3
	[ "$(handed)" = "$before" ] && ! in_coop tc -s qdisc show dev coop | grep -q 'backlog 0b'
}
# Without access to memory the e1000 sends nothing of what it is given meanwhile, and never says that it
# has; the RTL8139 sends when its transmitter is on. The kernel complains of what follows.
hang()
{
	local before
	case $DRIVER in
	coop_e1000)
		poke config 4 03
		before=$(handed)
		wait_for $LONG handed_more_than "$before" && wait_for 3 stuck
		poke config 4 07
		;;
	coop_rtl8139) poke resource0 0x37 08 ;;
	esac
}
timed_out() { dmesg | grep -q 'coop: does not send any more: reset'; }
recovers()
{
	local before
	before=$(handed)
	python3 -IS "$HERE/frames.py" blast coop "$PEER_IP" &
	wait_for $LONG handed_more_than $((before + 100)) || { echo "# nobody sends"; return 1; }
	# If whoever sends stood still just then, with a frame in his hands, nothing is lost by that.
	for _ in 1 2 3; do
		hang
		wait_for 20 timed_out && break
	done
	timed_out || { echo "# nobody noticed"; return 1; }
	goes_on 5 || { echo "# no traffic afterwards"; return 1; }
	dmesg | grep -E 'NETDEV WATCHDOG|reset|link is' | sed 's/^/# /'
	kill %1
	dmesg -C
}
if is_c; then
	ktap_test_skip "a device that stops sending is reset"
else
	check "a device that stops sending is reset" recovers
fi
ktap_finished
