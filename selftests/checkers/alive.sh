#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=alive --timeout 60
# kernel: uml-debug
#
# Two mutexes the wrong way round: lockdep is alive.
. "$(dirname "$0")/lib.sh"

reported checkers.locks_the_wrong_way_round "possible circular locking dependency" coop_test_theirs
