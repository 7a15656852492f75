#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 60
# A driver that was built outside the tree loads, works and goes. (Invariant 6:
# its domain goes with it.)
. "$(dirname "$0")/kernel/lib.sh"

# make test builds it; so does make EXT=examples/external.
KO=$SELFTESTS/../build/ext-$(uname -r)/external/coop_external.ko
[ -e "$KO" ] || skip_all "examples/external is not built: make EXT=examples/external"
ktap_print_header
load || give_up "cannot load the modules of $MODULES"
ktap_set_plan 5

works() { insmod "$KO" && dmesg | grep -q "coop_external: the sum of 1 to 100 is 5050"; }
check "it loads, and works" works
refuses() { ! rmmod coop_domain 2>/dev/null; }
check "coop_domain.ko stays as long as it is there" refuses
goes() { rmmod coop_external && unload && no_home_threads; }
check "it goes, with its home thread" goes
check "the kernel log is clean" dmesg_is_clean
TOP=$SELFTESTS/..
# The first piece of Rust in it, which is a whole driver; others are pieces.
shown() { awk '/^```rust$/ { on = 1; next } /^```$/ && on { exit } on' "$TOP/README.md"; }
is_shown() { diff <(sed -n '/^use /,$p' "$TOP/examples/external/coop_external.rs") <(shown); }
check "it is the driver that the README shows" is_shown
ktap_finished
