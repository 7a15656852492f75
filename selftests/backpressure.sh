#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Full rings: invariants 2 (the message comes back), 3 (who waits for room is
# woken), 7 (and can be killed).
. "$(dirname "$0")/kernel/lib.sh"

run_groups room
