"""How much faster or slower one artifact is than another, with an interval that respects processes.

Values within one process are alike, and most of the variance is between processes (Georges, Buytaert and Eeckhout 2007,
"Statistically Rigorous Java Performance Evaluation", OOPSLA; Kalibera and Jones 2013, "Rigorous Benchmarking in
Reasonable Time", ISMM). So each process counts once, by its median; and because the artifacts' processes run in turn,
the i-th of one is paired with the i-th of the other, so that a machine that drifts drifts for both. The interval is
Student's t (1908) on the logarithms of the pairs' ratios. With the few processes there are it is wide, and a process
that is slow throughout makes it wider: it errs towards not telling.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgecc.results import LatencyRatio, ProcessSample

CONFIDENCE = 0.95


def latency_ratio(before: Sequence[ProcessSample], after: Sequence[ProcessSample]) -> LatencyRatio | str:
    """The ratio of latencies after/before, or why there is none."""
    pairs = [(_median(a), _median(b)) for a, b in zip(before, after, strict=False)]
    if len(before) != len(after) or len(pairs) < 2:
        return f"at least 2 processes of each are needed; there are {len(before)} and {len(after)}"
    if not all(0 < a < math.inf and 0 < b < math.inf for a, b in pairs):
        return "a process has no latency that is a positive number"
    logs = [math.log(b / a) for a, b in pairs]
    mean = statistics.fmean(logs)
    margin = t_quantile((1 + CONFIDENCE) / 2, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return LatencyRatio(
        value=math.exp(mean), low=math.exp(mean - margin), high=math.exp(mean + margin), processes=len(pairs)
    )


def _median(process: ProcessSample) -> float:
    return statistics.median(process.latencies_s) if process.latencies_s else math.nan


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile, for a probability of at least 1/2, of Student's t distribution with so many degrees of freedom."""
    low, high = 0.0, 1.0
    while _t_below(high, degrees) < probability:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, degrees) < probability else (low, middle)
    return high


def _t_below(t: float, degrees: int) -> float:
    """P(T <= t) for t >= 0: the finite series of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine, cosine if degrees > 1 else 0.0) if odd else (1.0, 1.0)
    for k in range(2 + odd, degrees - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2
