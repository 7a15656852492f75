#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 180
# Priorities of coroutines and messages, slices, inherited priorities, the share of
# a busy domain, groups.
# SATURATION=60: the busy domain beside another thread for a minute instead of
# three seconds.
. "$(dirname "$0")/kernel/lib.sh"

minute=0
[ "${SATURATION:-3}" -lt 60 ] || minute=1
begin $((1 + minute)) priority levels share group
run_tests priority levels share group
[ "$minute" = 0 ] || check "a minute of saturation" kernel_test saturation.sixty_seconds
check "the modules can be unloaded" unload
ktap_finished
