#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=own-lock --timeout 60
# kernel: uml-debug
#
# A domain whose coroutine takes what a caller of it holds.
. "$(dirname "$0")/lib.sh"

reported checkers.a_domain_that_takes_what_its_callers_hold "possible circular locking dependency" "\\(own-lock\\)" coop_test_ours
