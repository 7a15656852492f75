#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=owner --timeout 60
# kernel: uml-debug
#
# A domain whose coroutine takes what somebody holds who ends it.
. "$(dirname "$0")/lib.sh"

reported checkers.an_owner_that_holds_what_its_domain_takes "possible circular locking dependency" "\\(end\\)" coop_test_ours
