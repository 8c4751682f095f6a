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

from edgecc.results import ProcessSample, Ratio

CONFIDENCE = 0.95


def latency_ratio(before: Sequence[ProcessSample], after: Sequence[ProcessSample]) -> Ratio | str:
    """The ratio of latencies after/before, or why there is none."""
    pairs = [(_median(a), _median(b)) for a, b in zip(before, after, strict=False)]
    if len(before) != len(after) or len(pairs) < 2:
        return f"at least 2 processes of each are needed; there are {len(before)} and {len(after)}"
    if not all(0 < a < math.inf and 0 < b < math.inf for a, b in pairs):
        return "a process has no latency that is a positive number"
    from scipy import stats  # a second to import, for measuring alone

    logs = [math.log(b / a) for a, b in pairs]
    mean = statistics.fmean(logs)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    margin = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return Ratio(value=math.exp(mean), low=math.exp(mean - margin), high=math.exp(mean + margin), processes=len(pairs))


def _median(process: ProcessSample) -> float:
    return statistics.median(process.latencies_s) if process.latencies_s else math.nan
