#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Each recipe of the cookbook does what it is for.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=selftests/kernel/lib.sh
. "$HERE/../../selftests/kernel/lib.sh"

# make test builds it; so does make EXT=examples/cookbook.
KO=$HERE/../../build/ext-$(uname -r)/cookbook/coop_cookbook.ko
[ -e "$KO" ] || skip_all "examples/cookbook is not built: make EXT=examples/cookbook"
recipes=()
for file in "$HERE"/*.rs; do
	name=$(basename "$file" .rs)
	[ "$name" = coop_cookbook ] || recipes+=("$name")
done
ktap_print_header
load || give_up "cannot load the modules of $MODULES"
ktap_set_plan $((${#recipes[@]} + 3))

check "the module loads" insmod "$KO"
works()
{
	dmesg | grep -q "coop_cookbook: $1: ok" && return
	dmesg | grep "coop_cookbook: $1" | sed 's/^/# /'
	return 1
}
for name in "${recipes[@]}"; do
	check "$name" works "$name"
done
goes() { rmmod coop_cookbook && unload && no_home_threads; }
check "it goes, and no home thread is left" goes
check "the kernel log is clean" dmesg_is_clean
ktap_finished
