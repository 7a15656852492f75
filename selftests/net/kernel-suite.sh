#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The part of kernel-suite that runs in the guest: kernel-suite.sh FOLDER TEST.py...
. "$(dirname "$0")/lib.sh"

die() { printf 'kernel-suite: error: %s\n' "$*" >&2; exit 1; }

suite=$1
shift
cp -a "$suite/root/." /
cp -a "$suite/src" /tmp/src
cd /tmp/src/tools/testing/selftests/drivers/net || die "no tests in $suite"
mount -t configfs configfs /sys/kernel/config
modprobe -a configfs netconsole 8021q pppoe
cp "$HERE/kernel-suite-bpftrace" /usr/local/bin/bpftrace
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing

# The tests have the device in the first namespace.
to_first()
{
	# Tests that take it down expect the addresses to be there when it is up again.
	ip -n coop link set coop netns 1 && echo 1 >/proc/sys/net/ipv6/conf/coop/keep_addr_on_down &&
		ip addr add "$COOP_IP/24" dev coop &&
		ip -6 addr add 2001:db8:77::1/64 dev coop nodad && ip link set coop up &&
		wait_for $LONG carrier_ok && wait_for $LONG ping -q -c 1 -W 1 "$PEER_IP"
}
carrier_ok() { ip -o link show coop | grep -q LOWER_UP; }

# The limits for slow machines: as an emulated one is.
run()
{
	local test
	for test in "$@"; do
		echo "@@ $DRIVER $test"
		dmesg -C
		(cd "$(dirname "$test")" && NETIF=coop LOCAL_V4=$COOP_IP REMOTE_V4=$PEER_IP \
			LOCAL_V6=2001:db8:77::1 REMOTE_V6=2001:db8:77::2 \
			REMOTE_TYPE=netns REMOTE_ARGS=peer KSFT_MACHINE_SLOW=yes \
			timeout "${LIMIT:-2400}" python3 "./${test##*/}") 2>&1
		echo "@@ status $?"
		dmesg_is_clean
		# As the next one expects it.
		ip link set coop mtu 1500 up
		ip -n peer link set peer mtu 1500 up
		wait_for $LONG carrier_ok
		wait_for $LONG ping -q -c 1 -W 1 "$PEER_IP"
	done
}

setup_wire >&2 || die "cannot bring the NICs up"
ip netns exec peer sh -c 'echo 0 >/proc/sys/net/ipv6/conf/peer/disable_ipv6'
ip -n peer -6 addr add 2001:db8:77::2/64 dev peer nodad
to_first || die "cannot move the interface"
run "$@"
if [ "$DRIVER" != e1000 ]; then
	unbind_coop
	DRIVER=e1000
	echo "$DRIVER" >"$PCI/devices/$COOP_PCI/driver_override"
	{ bind_coop && adopt_coop && to_first; } || die "cannot bind the C driver"
	run "$@"
fi
exit 0
