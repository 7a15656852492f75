#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The main job, shown: the sample driver has one NIC, the kernel's C driver the
# other one on the same wire, and real traffic passes. Run by `make run` in a
# guest with a pair of NICs; exit status 1 if something does not work.
# shellcheck disable=SC2034 # for lib.sh
ANY_PEER=1
. "$(dirname "$0")/lib.sh"

say() { printf '%s\n' "$*" >&2; }
row() { printf '  %-22s %s\n' "$@"; }

say "loading coop_domain.ko and sample_driver.ko, binding the NICs"
setup_wire || { say "demo: error: cannot bring the NICs up; the kernel says:"; dmesg | tail -n 20 >&2; exit 1; }
status=0

link()
{
	local speed
	speed=$(ip netns exec "$1" ethtool "$1" 2>/dev/null | awk '$1 == "Speed:" { print $2 }')
	if carrier_of "$1"; then
		echo "up${speed:+, $speed}"
	else
		echo down
		status=1
	fi
}

# iperf OPTION...: the rates, in Mbit/s
iperf()
{
	local report
	report=$(iperf_report "$@") || { echo "failed"; return 1; }
	python3 -c '
import json, sys
end = json.loads(sys.argv[1])["end"]
keys = [k for k in ("sum_received", "sum_received_bidir_reverse") if k in end]
print(" and ".join("%.1f" % (end[k]["bits_per_second"] / 1e6) for k in keys), "Mbit/s")' "$report"
}

say "ping"
# So many echoes that were asked for have not come. (ping itself does not wait for the last ones as long
# as a machine may be busy.)
missing()
{
	in_coop awk '$1 != "Icmp:" { next }
		!named++ { for (i = 2; i <= NF; i++) at[$i] = i; next }
		{ print $at["OutEchos"] - $at["InEchoReps"] }' /proc/net/snmp
}
none_more_missing() { [ "$(missing)" -le "$asked" ]; }
asked=$(missing)
ping=$(in_coop ping -q -c 50 -i 0.02 "$PEER_IP") || status=1
loss=0%
wait_for $LONG none_more_missing || { loss=$((($(missing) - asked) * 2))% status=1; }
rtt=$(awk -F'[=/]' '/^rtt/ { print $6 }' <<<"$ping")
say "iperf3: out"
tcp_out=$(iperf -t 3) || status=1
say "iperf3: in"
tcp_in=$(iperf -t 3 -R) || status=1
say "iperf3: both ways at once"
tcp_both=$(iperf -t 3 --bidir) || status=1
clean="clean"
dmesg_is_clean >&2 || { clean="NOT CLEAN"; status=1; }

printf '\nTwo e1000 NICs on one wire, stock kernel %s\n\n' "$(uname -r)"
printf '  %-6s %-12s %-12s %-19s %-14s %s\n' "" driver device address link packets
for side in coop peer; do
	pci=$COOP_PCI
	[ $side = peer ] && pci=$PEER_PCI
	driver=$(basename "$(readlink "$PCI/devices/$pci/driver")")
	address=$(ip -n $side -o link show $side | grep -o 'ether [0-9a-f:]*' | cut -c7-)
	printf '  %-6s %-12s %-12s %-19s %-14s %s\n' $side "$driver" "${pci#0000:}" "$address" \
		"$(link $side)" "$(counter $side tx_packets) out, $(counter $side rx_packets) in"
done
echo
row "loss (50 pings)" "$loss"
row "round trip" "${rtt:-?} ms on average"
row "TCP coop to peer" "$tcp_out"
row "TCP peer to coop" "$tcp_in"
row "TCP both at once" "$tcp_both"
row "kernel log" "$clean"

for stats in /sys/kernel/debug/coop_domain/e1000-*/stats; do
	[ -e "$stats" ] || continue
	printf '\nThe domain that drives it, coop/%s\n\n' "$(basename "$(dirname "$stats")")"
	while read -r name value; do
		row "${name//_/ }" "$value"
	done <"$stats"
done
exit $status
