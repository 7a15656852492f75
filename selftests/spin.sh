#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Home threads that spin before they sleep: invariants 3, 5.
. "$(dirname "$0")/kernel/lib.sh"

run_groups spin
