#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 120
# Join handles, and aborting coroutines in every state: invariants 2, 6.
. "$(dirname "$0")/kernel/lib.sh"

run_groups abort join
