#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --timeout 200
# What no protocol of this kernel asks of a driver, but whoever may open a socket for raw frames, or
# polls himself: checksums far into a frame, more segments than a ring holds, polls of any size.
. "$(dirname "$0")/lib.sh"

wire 5

still
raw() { python3 -BEsS "$HERE/raw.py" "$@"; }

check "checksums left to the device, anywhere in a frame" raw sums coop peer

# arrive COUNT SIZE how
arrive()
{
	local got
	got=$(raw segments coop peer "$2" "$3") || { echo "$got"; return 1; }
	echo "# segments of $2 bytes, $3 the queue: $got"
	[ "$got" = "$1" ]
}
cut_up()
{
	# The stack cuts up itself what is too much for the device. (After a last segment that is full the
	# emulated device sends one more, which is empty.)
	arrive 60 1001 through && arrive 60 1001 past && arrive 234 257 through
}
check "a frame is cut into segments" cut_up
# Past the queue nobody does. What does not fit is dropped, and nothing else comes to harm.
too_many()
{
	local before size
	before=$(counter coop tx_dropped)
	for size in 8 128 512; do arrive 0 $size past || return; done
	echo "# $(($(counter coop tx_dropped) - before)) dropped"
	[ $(($(counter coop tx_dropped) - before)) = 3 ] && goes_on 5
}
if [ "$MODULE" = second_driver ]; then
	ktap_test_skip "more segments than the ring holds: this device cuts up nothing"
else
	check "more segments than the ring holds" too_many
fi

# The other NIC may send all of them, once it has heard of that, and is not to interrupt, either: as
# long as they have one line, each looks after what is the other's.
of_peer() { in_peer sh -c 'echo "$1" >"/sys/class/net/peer/$0"' "$@"; }
LIMIT=queues/tx-0/byte_queue_limits/limit_min
busy()
{
	local status
	of_peer $LIMIT 1000000 && goes_on 5 && of_peer gro_flush_timeout 1000000000000 &&
		of_peer napi_defer_hard_irqs 1000 || return
	in_coop python3 -BEsS "$HERE/raw.py" busy coop peer
	status=$?
	of_peer napi_defer_hard_irqs 0 && of_peer gro_flush_timeout 0 && of_peer $LIMIT 0 &&
		ip -n peer link set peer down && ip -n peer link set peer up && [ $status = 0 ] && goes_on 5
}
check "polls with a budget of more frames than usual" busy
check "the kernel log is clean" dmesg_is_clean
ktap_finished
