#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 1 --timeout 180
# Nobody spins for what the same CPU has to do: invariants 3 and 5 on one CPU.
. "$(dirname "$0")/kernel/lib.sh"

run_groups sched calls inline inline_ends spin batch
