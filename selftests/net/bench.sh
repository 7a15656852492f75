#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What a transaction, a packet and a KiB cost the whole guest, in instructions,
# with the sample driver and, in the same boot, with the C driver in its place;
# the C driver has the other end of the wire both times.
#
# Run in a guest with `--icount --nics 1`: a nanosecond there is an instruction.
# With one CPU only, because time in which either of two works counts for both.
# Prints lines `name value unit`; see load.py.
. "$(dirname "$0")/lib.sh"

# Of so many readings the median, for each figure, or for some: ONLY="tcp_rr ...".
REPEAT=${REPEAT:-5}

die() { printf 'bench: error: %s\n' "$*" >&2; exit 1; }

for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 0 >"$cpu"
done
setup_wire >&2 || die "cannot bring the NICs up"
python3 "$HERE/load.py" "" "$REPEAT" || die "no figures of the sample driver"
unbind_coop
DRIVER=e1000
echo e1000 >"$PCI/devices/$COOP_PCI/driver_override"
{ bind_coop && adopt_coop && wait_for 10 ping_ok; } || die "cannot bind the C driver"
python3 "$HERE/load.py" base. "$REPEAT" || die "no figures of the C driver"
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 1 >"$cpu"
done
exit 0
