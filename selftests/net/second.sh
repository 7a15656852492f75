#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --nics 1 --nic-model rtl8139,e1000 --append swiotlb=force --timeout 600
# The second driver (rtl8139/) passes what the first one does: tests beside this file, those that show
# most in little time. All of them:
#   scripts/guest --nics 1 --nic-model rtl8139,e1000 --append swiotlb=force --timeout 900 -- \
#       env PARTS="frames filters streams queues netpoll teardown chaos" bash selftests/net/second.sh
. "$(dirname "$0")/lib.sh"

PARTS=${PARTS:-frames teardown chaos}
export DRIVER=coop_rtl8139 PATIENCE=${PATIENCE:-0} CHAOS=${CHAOS:-10}

# part NAME: that script passes, or is not for this kernel.
part()
{
	local begin=$SECONDS status
	bash "$HERE/$1.sh" </dev/null 2>&1 | sed -u 's/^/  /'
	status=${PIPESTATUS[0]}
	echo "# $1.sh: $((SECONDS - begin)) s"
	[ "$status" = 0 ] || [ "$status" = "$KSFT_SKIP" ]
}

read -ra parts <<<"$PARTS"
ktap_print_header
ktap_set_plan ${#parts[@]}
for name in "${parts[@]}"; do
	check "$name.sh" part "$name"
done
ktap_finished
