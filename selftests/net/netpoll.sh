#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 200
# Netconsole: the kernel sends its log through the driver, with interrupts off,
# while other frames are on their way.
. "$(dirname "$0")/lib.sh"

modprobe -n netconsole 2>/dev/null || skip_all "this kernel has no netconsole"
wire 4

# Netconsole knows the first namespace only.
to_first()
{
	ip -n coop link set coop netns 1 && ip addr add "$COOP_IP/24" dev coop && ip link set coop up
}
to_first || give_up "cannot move the interface"
wait_for $LONG ping -q -c 1 -i 0.05 -w 10 "$PEER_IP" || { nics; give_up "no traffic"; }
MAC=$(ip -n peer -o link show peer | sed 's/.*ether \([^ ]*\).*/\1/')
OUT=$(mktemp)
ip netns exec peer python3 -IS -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
s.bind(("", 6666))
print("ready", flush=True)
while True:
    print(s.recv(2000).decode(errors="replace"), end="", flush=True)
' >"$OUT" &
wait_for $LONG grep -q ready "$OUT"

loads() { modprobe netconsole "netconsole=6665@$COOP_IP/coop,6666@$PEER_IP/$MAC"; }
check "netconsole takes the interface" loads

# seen TAG COUNT: so many lines with the tag have come.
seen() { [ "$(grep -c "$1" "$OUT")" -ge "$2" ]; }
lines()
{
	local i
	for ((i = 0; i < $2; i++)); do
		echo "<4>$1 $i" >/dev/kmsg
	done
	wait_for $LONG seen "$1" "$2" && return
	echo "# $(grep -c "$1" "$OUT") of $2 lines have come"
	return 1
}
check "the log comes" lines quiet 100
# Beside other frames, some may be lost: UDP. Most are not.
busy()
{
	ping -q -f -s 1000 "$PEER_IP" >/dev/null 2>&1 &
	local ping=$! i status=0
	for ((i = 1; i <= 300; i++)); do
		echo "<4>busy $i" >/dev/kmsg
		# No more at once than the other end's ring takes, should it be looked after late.
		((i % 100)) || wait_for $LONG seen busy $((i * 5 / 6)) || status=1
	done
	kill $ping
	echo "# $(grep -c busy "$OUT") of 300 lines have come"
	return $status
}
check "the log comes amid other frames" busy
rmmod netconsole
rm -f "$OUT"
quiet() { dmesg_is_clean; }
check "the kernel log is clean" quiet
ktap_finished
