#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 4 --timeout 240
# Invariant 1: between two awaits of a coroutine no other coroutine of its
# domain runs; here with four CPUs.
. "$(dirname "$0")/kernel/lib.sh"

run_groups atomicity
