#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 90
# What may be done where; what a domain can be asked to be. Invariants 1, 6, 7.
. "$(dirname "$0")/kernel/lib.sh"

run_groups contexts builder
