#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 300
# Invariant 2: ten million messages from all contexts, in order, none lost, none
# twice.
. "$(dirname "$0")/kernel/lib.sh"

run_groups delivery
