#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 180
# Calls that the caller runs itself: invariants 1, 2, 3, 5, 6, 7.
. "$(dirname "$0")/kernel/lib.sh"

run_groups inline inline_ends
