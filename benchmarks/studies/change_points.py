"""The thresholds of benchmarks/change_points.py: quantiles of the largest statistic over all intervals of pure noise.

Ranks do not depend on what the noise looks like, so one simulation holds for all. Takes a quarter of an hour.
"""

from __future__ import annotations

import math

import numpy as np

from edgecc.benchmarks.change_points import FALSE_ALARM_RATE, largest_statistics, seeded_intervals

SERIES = {12: 40_000, 15: 40_000, 20: 40_000, 30: 40_000, 50: 40_000, 100: 20_000, 300: 10_000, 1000: 4000, 3000: 2000,
          10_000: 800}  # fmt: skip
"""How many series of each length."""


def largest(count: int, random: np.random.Generator) -> float:
    """The largest statistic in one series of noise."""
    line = random.permutation(count).astype(np.float64)
    layers = seeded_intervals(count, 8)
    windows = (np.lib.stride_tricks.sliding_window_view(line, length)[starts] for length, starts in layers)
    return max(float(largest_statistics(rows)[1].max()) for rows in windows)


def main() -> None:
    """Print the quantile of each length, and what it squared exceeds 2 ln n by."""
    random = np.random.default_rng(0)
    for count, series in SERIES.items():
        found = [largest(count, random) for _ in range(series)]
        quantile = float(np.quantile(found, 1 - FALSE_ALARM_RATE))
        print(f"{count:6,}: {quantile:.3f}   {quantile**2 - 2 * math.log(count):+.2f}", flush=True)


if __name__ == "__main__":
    main()
