# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
# Two NICs on one wire, each in a network namespace of its own: "coop" has the
# NIC under test, "peer" has the other one, driven by the kernel's C driver.
# Sourced by the tests of this folder and run in a guest (scripts/guest --nics 1).

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=selftests/lib.sh
. "$HERE/../lib.sh"

# DRIVER=e1000 runs everything with the C driver on both sides; coop_rtl8139 and 8139cp
# have the other device under test (scripts/guest --nics 1 --nic-model rtl8139,e1000).
DRIVER=${DRIVER:-coop_e1000}
# The device; the module and what C driver it has; so many addresses of its own it knows.
case $DRIVER in
coop_e1000 | e1000) PCI_ID="0x8086 0x100e" MODULE=sample_driver C_DRIVER=e1000 ADDRESSES=15 ;;
coop_rtl8139 | 8139cp) PCI_ID="0x10ec 0x8139" MODULE=second_driver C_DRIVER=8139cp ADDRESSES=1 ;;
esac
# Whether it is the C driver that is under test, for comparison.
is_c() { [ "$DRIVER" = "$C_DRIVER" ]; }
COOP_IP=10.77.0.1
PEER_IP=10.77.0.2
PCI=/sys/bus/pci
# So long may take what is sure to happen: on a busy machine a virtual CPU does not run for seconds, and
# what the C driver at the other end loses by that it looks for every five seconds.
LONG=60

# (In the background they are written out: who is killed otherwise is the shell in between.)
in_coop() { ip netns exec coop "$@"; }
in_peer() { ip netns exec peer "$@"; }

# The PCI addresses of the two NICs.
find_nics()
{
	local dev id
	COOP_PCI="" PEER_PCI=""
	for dev in "$PCI"/devices/*; do
		id="$(<"$dev/vendor") $(<"$dev/device")"
		if [ -z "$COOP_PCI" ] && [ "$id" = "$PCI_ID" ]; then
			COOP_PCI=${dev##*/}
		elif [ -z "$PEER_PCI" ] && [ "$id" = "0x8086 0x100e" ]; then
			PEER_PCI=${dev##*/}
		fi
	done
	[ -n "$COOP_PCI" ] && [ -n "$PEER_PCI" ] ||
		skip_all "needs two NICs on one wire, the second one an e1000 (scripts/guest --nics 1)"
}

load_driver()
{
	is_c && return
	[ -d /sys/module/coop_domain ] || insmod "$MODULES/coop_domain.ko" || return
	[ -d "/sys/module/$MODULE" ] || insmod "$MODULES/$MODULE.ko"
}

# A reader of debugfs or the like may hold a module for a moment.
unload() { wait_for $LONG rmmod "$1" || rmmod "$1"; }
unload_driver() { is_c || unload "$MODULE"; }

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
	wait_for $LONG move_interface "$pci" "$ns" || return
	ip -n "$ns" addr add "$address/24" dev "$ns" || return
	ip -n "$ns" link set "$ns" up
}

carrier_of() { ip -n "$1" -o link show "$1" 2>/dev/null | grep -q LOWER_UP; }
adopt_coop() { adopt "$COOP_PCI" coop "$COOP_IP" && wait_for $LONG carrier_of coop; }
bind_coop() { echo "$COOP_PCI" >"$PCI/drivers/$DRIVER/bind"; }
unbind_coop() { echo "$COOP_PCI" >"$PCI/drivers/$DRIVER/unbind"; }
# The driver lets go of the device, is unloaded if it is not the C driver, and has the device again.
drop_coop() { if is_c; then unbind_coop; else unload_driver; fi; }
take_coop() { if is_c; then bind_coop; else load_driver; fi && adopt_coop; }
# After the device was removed from the bus.
plug_in()
{
	# What is found again has no preference for a driver yet: none may take it.
	echo 0 >"$PCI/drivers_autoprobe"
	echo 1 >"$PCI/rescan"
	wait_for $LONG test -e "$PCI/devices/$COOP_PCI" || return
	echo "$DRIVER" >"$PCI/devices/$COOP_PCI/driver_override"
	echo 1 >"$PCI/drivers_autoprobe"
	bind_coop && adopt_coop
}
# use DRIVER: it gets the NIC under test, from whichever has it.
use()
{
	unbind_coop
	DRIVER=$1
	load_driver || return
	echo "$DRIVER" >"$PCI/devices/$COOP_PCI/driver_override"
	bind_coop && adopt_coop && goes_on
}
# answers COUNT ADDRESS: so many answers come, however late. Who is asked in vain is asked again.
answers() { in_coop ping -q -c "$1" -i 0.05 -w 10 "$2" >/dev/null 2>&1; }
ping_ok() { answers "${1:-1}" "$PEER_IP"; }
# Both have a link, and so many pings are answered.
# shellcheck disable=SC2120
goes_on() { wait_for $LONG ping_ok "${1:-1}"; }
# listens NAMESPACE PORT: somebody waits for connections there. (To try it would be one.)
listens() { ip netns exec "$1" grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$2") [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6; }

# iperf_report OPTION...: what iperf3 says, as JSON, from the side under test. The server is a new one
# each time: one that was used does not listen for a moment.
iperf_report()
{
	local server status
	ip netns exec peer iperf3 -s -1 >/dev/null 2>&1 &
	server=$!
	wait_for $LONG listens peer 5201 && in_coop timeout 90 iperf3 -c "$PEER_IP" -J "$@" 2>&1
	status=$?
	[ $status = 0 ] || kill $server
	wait $server
	return $status
}

# step COMMAND...: says so if it fails.
step() { "$@" || { echo "# after $SECONDS s: $* failed"; return 1; }; }

# Bring both NICs up, each in its namespace.
setup_wire()
{
	[ "$(id -u)" = 0 ] || skip_all "must be root"
	find_nics
	dmesg -C
	trap teardown_wire EXIT
	step ip netns add coop && step ip netns add peer || return
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
	[ "$peer_driver" != e1000 ] || step modprobe e1000 || return
	! is_c || step modprobe "$DRIVER" || return
	step load_driver || return
	step adopt "$PEER_PCI" peer "$PEER_IP" && step adopt_coop && step goes_on
}

# What there is to see of the NICs, wherever they are: up or not, whom they know, what they have counted.
nics()
{
	local ns name
	# shellcheck disable=SC2046
	for ns in "" coop peer; do
		for name in $(ip ${ns:+-n $ns} -br link | awk '$1 ~ /^(coop|peer|eth)/ { print $1 }'); do
			echo "# ${ns:-first namespace}:" $(ip ${ns:+-n $ns} -br link show "$name") \
				$(ip ${ns:+-n $ns} neigh show dev "$name")
			echo "# $name:" $(${ns:+ip netns exec $ns} ethtool -S "$name" |
				grep -E '[rt]x_(packets|errors|dropped|missed|no_buf).*: [1-9]')
		done
	done 2>&1
	grep -E 'coop|e1000|peer' /proc/interrupts | sed 's/^ */# /; s/  */ /g'
}

# wire COUNT: both NICs are up, for a plan of so many tests.
wire()
{
	setup_wire || { nics; give_up "cannot bring the NICs up"; }
	ktap_print_header
	ktap_set_plan "$1"
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
	for dev in "$MODULE" coop_domain e1000 8139cp; do
		[ ! -e "/sys/module/$dev/refcnt" ] || unload "$dev"
	done
} 2>/dev/null

# eventually COMMAND...: it succeeds, now or later. Shows what it said the last time.
eventually()
{
	local out tries=0 end=$((SECONDS + LONG)) status=1
	while [ $SECONDS -lt $end ] || [ $tries -lt 5 ]; do
		out=$("$@") && status=0 && break
		tries=$((tries + 1))
		sleep 0.1
	done
	[ -z "$out" ] || printf '%s\n' "$out"
	return $status
}

# still [PREFIX INTERFACE INTERFACE]: both ends know each other's address for good, until one of them
# goes down, so that nobody asks for it in the middle of a test that counts frames.
still()
{
	local prefix=${1:-10.77.0} coop=${2:-coop} peer=${3:-peer}
	ip -n coop neigh replace "$prefix.2" dev "$coop" nud permanent \
		lladdr "$(in_peer cat "/sys/class/net/$peer/address")" &&
		ip -n peer neigh replace "$prefix.1" dev "$peer" nud permanent \
			lladdr "$(in_coop cat "/sys/class/net/$coop/address")"
}

# counter NAMESPACE NAME: of the interface, as in ip -s -s link.
counter() { ip netns exec "$1" cat "/sys/class/net/$1/statistics/$2"; }

# In one reading: frames and bytes received, and sent.
counters() { ip netns exec "$1" awk -v n="$1:" '$1 == n { print $3, $2, $11, $10 }' /proc/net/dev; }

# So many frames the stack has given to the driver.
handed() { in_coop tc -s qdisc show dev coop | awk '$1 == "Sent" { sum += $4 } END { print sum + 0 }'; }
handed_more_than() { [ "$(handed)" -gt "$1" ]; }

# No frame is given up for having waited. fq_codel does that, where a CPU that stands still has its queue
# wait; but where others fill the queue, it is what lets a ping pass.
patient() { tc -n "$1" qdisc replace dev "$1" root pfifo; }

# Bytes that the interface has given to the device, and not counted yet.
in_flight() { ip netns exec "$1" cat "/sys/class/net/$1/queues/tx-0/byte_queue_limits/inflight"; }
all_counted()
{
	MARK="$(counters coop) $(counters peer)"
	sleep 0.1
	[ "$(in_flight coop)$(in_flight peer)" = 00 ] && [ "$MARK" = "$(counters coop) $(counters peer)" ]
}
# From here on `passed` counts: when what was sent before has been counted by everybody. Who answers a
# ping has counted what came before it: a poll counts first, and then hands up a single frame.
mark() { goes_on && wait_for $LONG all_counted; }
# passed rx|tx FRAMES BYTES: these, and the other end has counted as many. There may be more of both, of
# a protocol that looks after itself.
passed()
{
	local before now own bytes other more
	read -ra before <<<"$MARK"
	read -ra now <<<"$(counters coop) $(counters peer)"
	case $1 in
	rx) own=$((now[0] - before[0])) bytes=$((now[1] - before[1])) other=$((now[6] - before[6])) ;;
	tx) own=$((now[2] - before[2])) bytes=$((now[3] - before[3])) other=$((now[4] - before[4])) ;;
	esac
	more=$((own - $2))
	echo "# $1: $own frames of $bytes bytes; $other at the other end"
	[ $own = $other ] && [ $more -ge 0 ] && [ $more -le 50 ] &&
		[ $((bytes - $3)) -ge $((42 * more)) ] && [ $((bytes - $3)) -le $((1514 * more)) ]
}

# From here on dmesg_is_clean looks; before, there was nothing to find.
new_log() { dmesg_is_clean && dmesg -C; }

# What is in use while the driver is not there: in KiB what slabs, vmalloc and per-CPU memory hold, then
# mappings for DMA (where all of them are through swiotlb).
in_use()
{
	local cache
	sync
	echo 3 >/proc/sys/vm/drop_caches
	for cache in /sys/kernel/slab/*/shrink; do
		echo 1 >"$cache"
	done 2>/dev/null
	awk '/^(SUnreclaim|VmallocUsed|Percpu|KernelStack):/ { kib += $2 } END { printf "%d ", kib }' \
		/proc/meminfo
	cat /sys/kernel/debug/swiotlb/io_tlb_used 2>/dev/null || echo 0
}
# The same, once it does not get less any more: RCU and workers take their time.
in_use_at_last()
{
	local kib mapped least=""
	for _ in {1..30}; do
		read -r kib mapped < <(in_use)
		[ -n "$least" ] && [ "$kib" -ge $((least - 32)) ] && break
		least=$kib
		sleep 1
	done
	echo "$kib $mapped"
}
# no_more KIB MAPPED: as much is in use as then. The other NIC's ring alone has 256 mappings, so that a
# 0 would prove nothing; and one or two of its frames come and go.
no_more()
{
	local kib mapped
	read -r kib mapped < <(in_use)
	echo "# before: $1 KiB, $2 mapped; after: $kib KiB, $mapped mapped"
	[ "$2" -gt 0 ] && [ "$mapped" -le $(($2 + 4)) ] && [ $((kib - $1)) -lt 1024 ]
}
