#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Bursts of messages: invariants 2, 3.
. "$(dirname "$0")/kernel/lib.sh"

run_groups batch
