#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 150
# Calls: invariants 2 (answered once, or a definite error), 7 (callers can go at
# any time). Answers: of one poll, they wake together.
. "$(dirname "$0")/kernel/lib.sh"

run_groups calls answers
