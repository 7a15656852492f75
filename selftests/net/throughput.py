#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes ratios of what throughput.sh prints: lines `pair driver direction Mbit/s`.

The ratio of each pair is one sample; their mean (of logarithms, as ratios multiply) is
given with its 95 % confidence interval by Student's t. Exit status 1 if all of an
interval is below the bar.
"""
import math
import statistics
import sys

BAR = 0.97
# 97.5 % points of Student's t by degrees of freedom (Fisher and Yates, table III); those of
# fewer degrees are the wider ones.
T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306,
     9: 2.262, 10: 2.228, 11: 2.201, 12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131,
     17: 2.110, 19: 2.093, 24: 2.064, 29: 2.045, 39: 2.023, 59: 2.001}


def student(degrees):
    return T[max(known for known in T if known <= degrees)]


def interval(ratios):
    """The mean of ratios, and the ends of its confidence interval."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.mean(logs)
    half = student(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return [math.exp(mean + sign * half) for sign in (0, -1, 1)]


def main():
    rates = {}
    for line in sys.stdin:
        pair, driver, direction, rate = line.split()
        rates.setdefault((direction, int(pair)), {})[driver] = float(rate)
        print(line.rstrip(), file=sys.stderr, flush=True)
    low = False
    samples = {}
    for (direction, _), pair in sorted(rates.items()):
        base = [rate for driver, rate in pair.items() if not driver.startswith("coop")]
        ours = [rate for driver, rate in pair.items() if driver.startswith("coop")]
        if base and ours:
            samples.setdefault(direction, []).append((ours[0], base[0]))
    if not samples:
        sys.exit("throughput: error: no pairs")
    print("| direction | pairs | sample driver | C driver | ratio | 95 % confidence |")
    print("| --- | --- | --- | --- | --- | --- |")
    for direction, pairs in samples.items():
        mean, lower, upper = interval([ours / base for ours, base in pairs])
        ours, base = (statistics.median(side) for side in zip(*pairs))
        print(f"| {direction} | {len(pairs)} | {ours:.0f} Mbit/s | {base:.0f} Mbit/s | "
              f"{mean:.3f} | {lower:.3f} to {upper:.3f} |")
        low |= upper < BAR
    return 1 if low else 0


sys.exit(main())
