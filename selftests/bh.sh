#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 4 --timeout 300
# Domains with bottom halves off, run by whoever sends: invariants 1, 2, 3, 5, 6.
. "$(dirname "$0")/kernel/lib.sh"

run_groups bh bh_load
