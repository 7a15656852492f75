#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The part of throughput that runs in the guest: throughput.sh PAIRS SECONDS. Prints what
# alternate.py does, of two wires: on each an e1000 with one of both drivers at the near
# end and one with the C driver at the far end.
. "$(dirname "$0")/lib.sh"

die() { printf 'throughput: error: %s\n' "$*" >&2; exit 1; }

PAIRS=$1 SECS=$2 OURS=$DRIVER
# After so many pairs both drivers change places: no device and no slot is any driver's own.
EACH=10

nics=()
for dev in "$PCI"/devices/*; do
	[ "$(<"$dev/vendor") $(<"$dev/device")" != "$PCI_ID" ] || nics+=("${dev##*/}")
done
[ ${#nics[@]} = 4 ] || die "needs two wires with two NICs each"
# As drivers have them.
irq() { cat "$PCI/devices/$1/irq"; }
irqs() { for nic in "${nics[@]}"; do irq "$nic"; done | sort -u | wc -l; }

# has WIRE END DRIVER: that NIC gets that driver, that namespace, and that CPU for its interrupts.
has()
{
	local side=(near far) nic=${nics[2 * $1 + $2]}
	local ns=${side[$2]}$1 device=$PCI/devices/${nics[2 * $1 + $2]}
	[ ! -e "$device/driver" ] || echo "$nic" >"$device/driver/unbind"
	echo "$3" >"$device/driver_override"
	echo "$nic" >"$PCI/drivers/$3/bind" || return
	adopt "$nic" "$ns" "10.77.0.$(($2 + 1))" && echo $(($2 + 1)) >"/proc/irq/$(irq "$nic")/smp_affinity"
}
answers() { ip netns exec "near$1" ping -q -c 1 -W 1 10.77.0.2; }

for ns in near0 far0 near1 far1; do
	ip netns add $ns && ip -n $ns link set lo up || die "no network namespaces"
done
# It is not to start slowly each time.
for ns in near0 far0 near1 far1; do ip netns exec $ns sysctl -qw net.ipv4.tcp_slow_start_after_idle=0; done
load_driver && echo 0 >"$PCI/drivers_autoprobe" && modprobe "$C_DRIVER" || die "cannot load the drivers"
for wire in 0 1; do has $wire 1 "$C_DRIVER" || die "cannot bring the far ends up"; done

for ((pair = 1, round = 0; pair <= PAIRS; pair += EACH, round++)); do
	drivers=("$OURS" "$C_DRIVER")
	! ((round % 2)) || drivers=("$C_DRIVER" "$OURS")
	for wire in 0 1; do
		has $wire 0 "${drivers[wire]}" && wait_for $LONG answers $wire ||
			die "no traffic with ${drivers[wire]}"
	done
	# With a line shared, one driver would be called for the other's interrupts, too.
	[ "$(irqs)" = 4 ] || die "needs an interrupt line for each NIC"
	left=$((PAIRS - pair + 1))
	python3 -IS "$HERE/alternate.py" $pair $((left < EACH ? left : EACH)) "$SECS" "${drivers[@]}" || exit
done
