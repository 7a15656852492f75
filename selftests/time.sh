#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 240
# Sleeps, time-outs, intervals; choosing among futures: invariants 2, 3, 6.
. "$(dirname "$0")/kernel/lib.sh"

run_groups time time_ends select select_outside
