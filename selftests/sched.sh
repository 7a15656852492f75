#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 90
# In which order coroutines run: invariants 3 (no lost wake-up), 5 (fairness).
. "$(dirname "$0")/kernel/lib.sh"

run_groups sched
