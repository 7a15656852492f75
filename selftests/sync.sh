#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# What coroutines of a domain wait for from each other: invariants 1, 2, 3, 5, 6.
. "$(dirname "$0")/kernel/lib.sh"

run_groups sync
