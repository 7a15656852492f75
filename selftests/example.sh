#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 60
# A driver outside the tree, built by one make call, works on the modules of
# this tree.
. "$(dirname "$0")/kernel/lib.sh"

ECHO=$SELFTESTS/../build/ext-$COOP_RELEASE/echo/coop_echo.ko
ktap_print_header
[ -e "$ECHO" ] || ktap_exit_fail_msg "$ECHO is not there: run make EXT=examples/echo"
ktap_set_plan 5

said() { dmesg | grep -q "coop_echo: $1"; }

check "it loads" eval "insmod $MODULES/coop_domain.ko && insmod $ECHO"
check "its coroutine answers" said "twice 21 is 42"
check "its coroutines share state" wait_for 5 said "hello after 3 calls"
check "it unloads, and the runtime after it" eval "rmmod coop_echo && rmmod coop_domain"
check "dmesg is clean" dmesg_is_clean
ktap_finished
