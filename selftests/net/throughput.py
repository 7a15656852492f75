#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes ratios of what throughput.sh prints: lines `pair direction driver Mbit/s`.

The ratio of each pair is one sample. The interval is Wilcoxon's: it takes no bell curve for
granted, and a turn in which the machine did something else does no harm (the estimate is that
of Hodges and Lehmann; see Hollander, Wolfe and Chicken, Nonparametric Statistical Methods,
3.2 and 3.3). Exit status 1 if all of an interval is below the bar.
"""
import math
import statistics
import sys

BAR = 0.97


def interval(ratios):
    """The typical ratio, and the ends of its 95 % confidence interval."""
    logs = [math.log(ratio) for ratio in ratios]
    n = len(logs)
    means = sorted((logs[i] + logs[j]) / 2 for i in range(n) for j in range(i + 1))
    end = int(n * (n + 1) / 4 - 1.96 * math.sqrt(n * (n + 1) * (2 * n + 1) / 24))
    return [math.exp(x) for x in (statistics.median(means), means[end - 1], means[-end])]


def main():
    rates = {}
    for line in sys.stdin:
        pair, direction, driver, rate = line.split()
        sides = rates.setdefault(direction, {}).setdefault(int(pair), ([], []))
        sides[not driver.startswith("coop")].append(float(rate))
        print(line.rstrip(), file=sys.stderr, flush=True)
    # Of a run that ended early the last pair may not be whole.
    samples = {
        direction: [[statistics.mean(side) for side in pair] for pair in pairs.values() if all(pair)]
        for direction, pairs in rates.items()
    }
    if not samples or min(map(len, samples.values())) < 6:
        sys.exit("throughput: error: not even six pairs")
    samples["both"] = [
        [math.sqrt(one * other) for one, other in zip(*pair)] for pair in zip(*samples.values())
    ]
    low = False
    print("| direction | pairs | sample driver | C driver | ratio | 95 % confidence | at least "
          f"{BAR} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for direction, pairs in samples.items():
        mean, lower, upper = interval([ours / base for ours, base in pairs])
        ours, base = (statistics.median(side) for side in zip(*pairs))
        verdict = "shown" if lower >= BAR else "refuted" if upper < BAR else "open"
        print(f"| {direction} | {len(pairs)} | {ours:.0f} Mbit/s | {base:.0f} Mbit/s | "
              f"{mean:.3f} | {lower:.3f} to {upper:.3f} | {verdict} |")
        low |= upper < BAR
    return 1 if low else 0


sys.exit(main())
