#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=circle --timeout 60
# kernel: uml-debug
#
# Two domains whose callers hold what the other one's coroutine takes.
. "$(dirname "$0")/lib.sh"

reported checkers.domains_in_a_circle "possible circular locking dependency" "\\(circle-a\\)" "\\(circle-b\\)" coop_test_ours coop_test_theirs
