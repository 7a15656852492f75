#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=bh --timeout 60
# kernel: uml-debug
#
# A coroutine that sleeps outside of an await, with bottom halves off.
. "$(dirname "$0")/lib.sh"

reported checkers.a_bh_coroutine_that_sleeps "sleeping function called from invalid context|Invalid wait context"
