#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Interrupts whose bottom half is a coroutine: invariants 2, 3, 6.
. "$(dirname "$0")/kernel/lib.sh"

run_groups irq
