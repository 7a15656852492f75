#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --append coop.checkers=sender --timeout 60
# kernel: uml-debug
#
# A domain whose coroutine takes what somebody holds who sends to it, and may wait for room.
. "$(dirname "$0")/lib.sh"

reported checkers.a_sender_that_holds_what_the_receiver_takes "possible circular locking dependency" "\\(full\\)" coop_test_ours
