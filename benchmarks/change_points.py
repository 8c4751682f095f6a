"""Where a line of measurements changed its level, told apart from noise.

Ranks, not values, are compared: a run that was slow by chance counts as one high rank, however slow it was, and what
the noise looks like does not matter. Within an interval the best split is the one with the largest standardized
Mann-Whitney statistic (Pettitt 1979, "A Non-Parametric Approach to the Change-Point Problem", Applied Statistics;
Hawkins and Deng 2010, "A Nonparametric Change-Point Control Chart", Journal of Quality Technology). The intervals are
those of seeded binary segmentation (Kovács, Bühlmann, Li and Munk 2023, Biometrika); of those whose statistic is over
the threshold the narrowest counts first (Baranowski, Chen and Fryzlewicz 2019, "Narrowest-over-threshold detection",
Journal of the Royal Statistical Society B). This takes O(n log² n), and the same answer comes every time.

The threshold keeps the chance of any change point in a line without a change at 0.2 %, whatever its noise, as long as
its runs do not depend on each other.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FALSE_ALARM_RATE = 0.002
"""Chance of a change point in a line of independent runs without one."""
MIN_RUNS = 12
"""With fewer, no order of the ranks is rare enough."""
# The statistic's quantile at 1 - FALSE_ALARM_RATE by the number of runs, rounded up, and for longer lines what its
# square exceeds 2 ln n by: benchmarks/studies/change_points.py.
_QUANTILES = {12: 2.88, 15: 3.07, 20: 3.25, 30: 3.57, 50: 3.80, 100: 4.21}
_EXCESS = 8.5
_SHRINK = 1 / math.sqrt(2)
"""Each layer of intervals over that before it, as the paper recommends."""


@dataclass(frozen=True)
class ChangePoint:
    """A change of level."""

    index: int
    """The first value after the change."""
    before: float
    """Median of the values since the change point before it."""
    after: float
    """Median of the values up to the next."""


def find_change_points(values: Sequence[float], *, exact: bool = False) -> list[ChangePoint]:
    """Where the level of a line changed.

    Args:
        values: (n,), in the order in which they were measured; finite.
        exact: the metric has no noise of its own, as a file's size has none. Where at least half of the values repeat
            the one before them, every other value is then a change.
    """
    line = np.asarray(values, np.float64)
    steps = np.flatnonzero(np.diff(line)) + 1
    is_quiet = exact and len(line) > 1 and 2 * len(steps) <= len(line) - 1
    return _with_levels(line, steps.tolist() if is_quiet else _splits(line))


def threshold(count: int) -> float:
    """What the statistic of a line of `count` values, at least MIN_RUNS, must reach."""
    if count >= max(_QUANTILES):
        return math.sqrt(2 * math.log(count) + _EXCESS)
    squares = np.square(list(_QUANTILES.values()))
    return math.sqrt(np.interp(math.log(count), np.log(list(_QUANTILES)), squares))


def largest_statistics(rows: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The best split of each row (k, n), as the number of values before it, and its statistic: (k,) each."""
    length = rows.shape[1]
    before = np.arange(1, length)
    # With ties the variance is smaller than this; so few different values cannot look like a change.
    deviation = np.sqrt(before * (length - before) * (length + 1) / 12)
    statistics = np.abs(np.cumsum(_centred_ranks(rows), axis=1)[:, :-1]) / deviation
    splits = statistics.argmax(axis=1)
    return splits + 1, statistics[np.arange(len(rows)), splits]


def seeded_intervals(count: int, shortest: float) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Layers of intervals over `count` values: the length of each layer's intervals, and where they start."""
    layer, length = 0, count
    while length >= max(2, shortest):
        intervals = 2 * math.ceil(round(_SHRINK**-layer, 9)) - 1
        yield length, np.unique(np.linspace(0, count - length, intervals).round().astype(np.int64))
        layer += 1
        length = math.ceil(count * _SHRINK**layer)


def _splits(line: Floats) -> list[int]:
    if len(line) < MIN_RUNS:
        return []
    limit = threshold(len(line))
    found: list[int] = []
    for start, stop, split in _candidates(line, limit):
        place = bisect_right(found, start)
        if place == len(found) or found[place] >= stop:
            insort(found, split)
    return _settled(line, found, limit)


def _candidates(line: Floats, limit: float) -> list[tuple[int, int, int]]:
    """Start, stop and best split of every interval over the threshold, the narrowest first."""
    found = []
    # The statistic of n values is at most sqrt(3 n / 4), where all of one half are above all of the other.
    for length, starts in seeded_intervals(len(line), 4 / 3 * limit**2):
        windows = np.lib.stride_tricks.sliding_window_view(line, length)[starts]
        splits, statistics = largest_statistics(windows)
        order = np.argsort(-statistics, kind="stable")
        chosen = order[statistics[order] >= limit]
        found += [(start, start + length, start + split) for start, split in
                  zip(starts[chosen].tolist(), splits[chosen].tolist(), strict=True)]  # fmt: skip
    return sorted(found, key=lambda each: each[1] - each[0])


def _settled(line: Floats, splits: list[int], limit: float) -> list[int]:
    """Each change point at its best place between its neighbours; those that are too weak there are dropped."""
    while splits:
        bounds = [0, *splits, len(line)]
        best = [_best_split(line, start, stop) for start, stop in zip(bounds, bounds[2:], strict=False)]
        weakest = min(range(len(best)), key=lambda index: best[index][1])
        if best[weakest][1] >= limit:
            spans = zip(bounds, (split for split, _ in best), bounds[2:], strict=False)
            return sorted({_placed(line, *span) for span in spans})
        del splits[weakest]
    return []


def _best_split(line: Floats, start: int, stop: int) -> tuple[int, float]:
    splits, statistics = largest_statistics(line[None, start:stop])
    return start + int(splits[0]), float(statistics[0])


def _placed(line: Floats, start: int, split: int, stop: int) -> int:
    """Where every value is on the side whose median it is nearest to, as far as that can be.

    The least sum of absolute deviations: ranks tell well that there is a change, not how far off a value near it is.
    """
    before, after = (np.median(part) for part in (line[start:split], line[split:stop]))
    further = np.cumsum(np.abs(line[start:stop] - before) - np.abs(line[start:stop] - after))
    return start + 1 + int(further[:-1].argmin())


def _centred_ranks(rows: Floats) -> Floats:
    """Ranks within each row, less their mean; equal values share theirs."""
    length = rows.shape[1]
    order = np.argsort(rows, axis=1)
    ordered = np.take_along_axis(rows, order, axis=1)
    is_first = np.ones(rows.shape, bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    is_last = np.ones(rows.shape, bool)
    is_last[:, :-1] = is_first[:, 1:]
    places = np.arange(length)
    first = np.maximum.accumulate(np.where(is_first, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(is_last, places, length - 1)[:, ::-1], axis=1)[:, ::-1]
    ranks: Floats = np.empty(rows.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    ranks -= (length - 1) / 2
    return ranks


def _with_levels(line: Floats, splits: list[int]) -> list[ChangePoint]:
    bounds = [0, *splits, len(line)] if splits else []
    levels = [float(np.median(line[start:stop])) for start, stop in pairwise(bounds)]
    return [ChangePoint(*each) for each in zip(splits, levels, levels[1:], strict=False)]
