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

# So many readings at a time, of each figure, or of some: ONLY="tcp_rr ...". Twice as many
# count for each driver: the median of them.
REPEAT=${REPEAT:-3}
# UNDER_TEST=e1000 holds the C driver against itself: what is not 1.000 then, is not
# the driver's.
UNDER_TEST=${UNDER_TEST:-coop_e1000}

die() { printf 'bench: error: %s\n' "$*" >&2; exit 1; }

# No address resolution in between: whether an address is thought to be good changes with
# time, and what sending costs with that.
settle() { goes_on && still; }

measure() { python3 "$HERE/load.py" measure "$1" "$REPEAT"; }

# Who comes first finds the kernel's caches of memory empty, and pays up to 4 % for each
# packet to have pages made and cleared. So there is a round of both that does not count;
# and of the others, those of the C driver come first and last.
rounds()
{
	DRIVER=e1000
	setup_wire >&2 && settle || die "cannot bring the NICs up"
	measure "" >/dev/null || die "no figures"
	use "$UNDER_TEST" && settle || die "cannot bind $UNDER_TEST"
	measure "" >/dev/null || die "no figures of $UNDER_TEST"
	use e1000 && settle || die "cannot bind the C driver"
	measure base. || die "no figures of the C driver"
	use "$UNDER_TEST" && settle || die "cannot bind $UNDER_TEST again"
	measure "" && measure "" || die "no figures of $UNDER_TEST"
	use e1000 && settle || die "cannot bind the C driver again"
	measure base. || die "no figures of the C driver"
}

for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 0 >"$cpu"
done
rounds | python3 "$HERE/load.py" median
[ "${PIPESTATUS[*]}" = "0 0" ] || exit 1
for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
	[ -e "$cpu" ] && echo 1 >"$cpu"
done
exit 0
