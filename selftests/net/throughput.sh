#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The part of throughput that runs in the guest: throughput.sh PAIRS SECONDS. Prints lines
# `pair driver direction Mbit/s`.
. "$(dirname "$0")/lib.sh"

die() { printf 'throughput: error: %s\n' "$*" >&2; exit 1; }

# rate OPTION...: of a stream, as its receiver saw it.
rate()
{
	in_coop timeout $((SECS * 4 + 20)) iperf3 -c "$PEER_IP" -t "$SECS" -O 1 -J "$@" |
		python3 -c 'import json, sys
print(json.load(sys.stdin)["end"]["sum_received"]["bits_per_second"] / 1e6)'
}

# measure PAIR DRIVER
measure()
{
	local out in
	use "$2" || die "cannot bind $2"
	out=$(rate) && in=$(rate -R) || die "no traffic with $2"
	echo "$1 $2 out $out"
	echo "$1 $2 in $in"
}

PAIRS=$1 SECS=$2 OURS=$DRIVER
setup_wire >&2 || die "cannot bring the NICs up"
in_peer iperf3 -s -D >/dev/null 2>&1
wait_for 5 in_coop bash -c "</dev/tcp/$PEER_IP/5201"
for ((pair = 1; pair <= PAIRS; pair++)); do
	if ((pair % 2)); then
		measure $pair "$OURS" && measure $pair "$C_DRIVER"
	else
		measure $pair "$C_DRIVER" && measure $pair "$OURS"
	fi
done
exit 0
