#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 240
# Invariant 6: domains that end with everything in flight, hundreds of them.
. "$(dirname "$0")/kernel/lib.sh"

run_groups teardown
