"""How much larger a metric of one artifact is than that of another, with an interval that respects processes.

Values within one process are alike, and most of the variance is between processes (Georges, Buytaert and Eeckhout 2007,
"Statistically Rigorous Java Performance Evaluation", OOPSLA; Kalibera and Jones 2013, "Rigorous Benchmarking in
Reasonable Time", ISMM). So each process counts once, by its own percentile, mean or peak.

One process in ten is slow throughout, by 5 to 40 %, and an average drowns in that. So the ratio is one of the two
estimates of Hodges and Lehmann (1963, "Estimates of Location Based on Rank Tests"), on logarithms, with the exact
distribution of the test it belongs to (Hollander, Wolfe and Chicken 2014, "Nonparametric Statistical Methods"). Neither
needs a distribution of the values:

- of artifacts measured apart, the median over all pairs of one process of each, and the interval of the Mann-Whitney
  test (4.2 and 4.3): the processes of both must have run under the same conditions;
- of artifacts measured side by side or in turn, the median over all averages of two of the ratios of neighbours, and
  the interval of Wilcoxon's signed-rank test (3.2 and 3.3): only the two neighbours must have. A processor that changes
  its clock between one pair and the next changes nothing.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from edgecc.benchmarks.statistics import percentile, why_not_single
from edgecc.metrics import METRICS
from edgecc.results import ProcessSample, Ratio

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CONFIDENCE = 0.95


def _percentile(q: float) -> Callable[[ProcessSample], float | None]:
    return lambda process: percentile(process.latencies_s, q) if process.latencies_s else None


def _mean(process: ProcessSample) -> float | None:
    return statistics.fmean(process.latencies_s) / process.batch_size if process.latencies_s else None


_VALUES: Mapping[str, Callable[[ProcessSample], float | None]] = {
    "latency.p50": _percentile(50),
    "latency.p90": _percentile(90),
    "latency.p99": _percentile(99),
    "latency.mean": _mean,
    "latency.min": _percentile(0),
    "latency.compute": lambda process: statistics.median(process.computes_s) if process.computes_s else None,
    "throughput": lambda process: None if (mean := _mean(process)) is None or mean == 0 else 1 / mean,
    "load.cold": lambda process: process.load_cold_s,
    "load.warm": lambda process: process.load_warm_s,
    "memory.peak": lambda process: process.memory_peak_bytes,
}
"""What one process has to say of a metric."""

RATIO_METRICS = frozenset(_VALUES)


def ratio_of(
    metric: str, before: Sequence[ProcessSample], after: Sequence[ProcessSample], confidence: float = CONFIDENCE
) -> Ratio | str:
    """The ratio after/before of one of `RATIO_METRICS`, or why there is none."""
    left_out = _left_out(_null_of_u(len(before), len(after)), confidence)
    if left_out == 0:
        return _too_few(processes_needed(confidence), before, after)
    logs = _logarithms(metric, before, after)
    if isinstance(logs, str):
        return logs
    return _ratio(sorted(new - old for new in logs[1] for old in logs[0]), left_out, before, after, confidence)


def ratio_in_turn(
    metric: str, before: Sequence[ProcessSample], after: Sequence[ProcessSample], confidence: float = CONFIDENCE
) -> Ratio | str:
    """The same of processes in turn or side by side, the i-th of `after` with the i-th of `before`."""
    left_out = _left_out(_null_of_signed_ranks(len(before)), confidence) if len(before) == len(after) else 0
    if left_out == 0:
        return _too_few(pairs_needed(confidence), before, after)
    logs = _logarithms(metric, before, after)
    if isinstance(logs, str):
        return logs
    steps = [new - old for old, new in zip(*logs, strict=True)]
    averages = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(steps, 2))
    return _ratio(averages, left_out, before, after, confidence)


def latency_ratio(before: Sequence[ProcessSample], after: Sequence[ProcessSample]) -> Ratio | str:
    """The ratio of median latencies after/before at 95 %, or why there is none."""
    return ratio_of("latency.p50", before, after)


def processes_needed(confidence: float) -> int:
    """How many of each artifact it takes before there is an interval at all."""
    return next(count for count in itertools.count(1) if _left_out(_null_of_u(count, count), confidence))


def pairs_needed(confidence: float) -> int:
    """How many of each artifact it takes in turn."""
    return next(count for count in itertools.count(1) if _left_out(_null_of_signed_ranks(count), confidence))


def _too_few(needed: int, before: Sequence[ProcessSample], after: Sequence[ProcessSample]) -> str:
    return f"an interval needs {needed} processes of each artifact; there are {len(before)} and {len(after)}"


def _logarithms(
    metric: str, before: Sequence[ProcessSample], after: Sequence[ProcessSample]
) -> tuple[list[float], list[float]] | str:
    """Of what each process has to say of a metric, or why they cannot be compared."""
    if reason := why_not_single(metric, [*before, *after]):
        return reason
    counts = [sum(len(process.latencies_s) for process in processes) for processes in (before, after)]
    if min(counts) < METRICS[metric].min_samples:
        return f"needs {METRICS[metric].min_samples} values of each, has {counts[0]} and {counts[1]}"
    values = [[_VALUES[metric](process) for process in processes] for processes in (before, after)]
    known = [[value for value in side if value is not None] for side in values]
    if [len(side) for side in known] != [len(side) for side in values]:
        return f"a process does not tell its {metric}"
    if not all(0 < value < math.inf for side in known for value in side):
        return f"a process has a {metric} that is not a positive number"
    return [math.log(value) for value in known[0]], [math.log(value) for value in known[1]]


def _ratio(
    shifts: Sequence[float],
    left_out: int,
    before: Sequence[ProcessSample],
    after: Sequence[ProcessSample],
    confidence: float,
) -> Ratio:
    return Ratio(
        value=math.exp(statistics.median(shifts)),
        low=math.exp(shifts[left_out - 1]),
        high=math.exp(shifts[-left_out]),
        processes=min(len(before), len(after)),
        confidence=confidence,
    )


def _left_out(null: npt.NDArray[np.float64], confidence: float) -> int:
    """Which of the sorted shifts, counted from either end, ends the interval; 0 where none is far enough out."""
    tail = null.cumsum()
    return int(tail.searchsorted((1 - confidence) / 2 * (1 + 1e-9), side="right"))


@lru_cache(maxsize=256)
def _null_of_u(before: int, after: int) -> npt.NDArray[np.float64]:
    """The probability of every value 0 ... before * after of Mann and Whitney's U where both are alike.

    Their recurrence (1947, "On a Test of Whether one of Two Random Variables is Stochastically Larger than the Other").
    """
    import numpy as np  # not for the gate, unless it judges what was measured side by side

    column = [np.ones(1) for _ in range(before + 1)]
    for m in range(1, after + 1):
        column[0] = np.ones(1)
        for n in range(1, before + 1):
            both = np.zeros(n * m + 1)
            both[m:] += n / (n + m) * column[n - 1]  # the largest of all is one of the first
            both[: n * (m - 1) + 1] += m / (n + m) * column[n]
            column[n] = both
    return column[before]


@lru_cache(maxsize=256)
def _null_of_signed_ranks(pairs: int) -> npt.NDArray[np.float64]:
    """The probability of every value 0 ... pairs * (pairs + 1) / 2 of Wilcoxon's statistic where both are alike.

    Each rank is counted or not, as a coin falls (Wilcoxon 1945, "Individual Comparisons by Ranking Methods").
    """
    import numpy as np

    null = np.ones(1)
    for rank in range(1, pairs + 1):
        larger = np.zeros(len(null) + rank)
        larger[: len(null)] += null / 2
        larger[rank:] += null / 2
        null = larger
    return null
