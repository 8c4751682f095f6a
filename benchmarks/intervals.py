"""How far the true value may be from an estimate: 95 % confidence intervals from raw values.

Latencies: values within one process are alike and most of the variance is between processes, so processes are drawn
with replacement, and then values within each (the two-level bootstrap of Davison and Hinkley 1997, "Bootstrap Methods
and their Application", section 3.8; for benchmarks Kalibera and Jones 2013, "Rigorous Benchmarking in Reasonable
Time", ISMM). An interval lies between two quantiles of the redrawn estimates. With few processes the plain 2.5 and
97.5 % are too narrow; these are moved out as Student's t is wider than the normal (the expanded percentile interval of
Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69:4).

Shares of samples, such as accuracy: Wilson's score interval (1927, JASA 22:158).

scipy takes a second to import, and is imported where an interval is made: when measuring, never in the gate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgecc.results import Estimate, ProcessSample

Interval = tuple[float, float]
Array = npt.NDArray[np.float64]
CONFIDENCE = 0.95
MIN_PROCESSES = 3
"""With fewer, nothing is known of the variance between processes."""
RESAMPLES = 1000
_CHUNK_VALUES = 1_000_000
"""How many redrawn values are held at once."""
_METRICS = ("latency.p50", "latency.p90", "latency.p99", "latency.mean")
_SHARES = ("accuracy", "agreement.top1")


def with_intervals(
    answers: Mapping[str, Estimate | str], processes: Sequence[ProcessSample]
) -> dict[str, Estimate | str]:
    """The answers, each estimate with the interval that these processes and its samples give it, where there is one."""
    intervals = latency_intervals(processes)
    for metric in _SHARES:
        if isinstance(estimate := answers.get(metric), Estimate):
            intervals[metric] = share_interval(round(estimate.value * estimate.samples), estimate.samples)
    return {name: _widened(answer, intervals.get(name)) for name, answer in answers.items()}


def latency_intervals(processes: Sequence[ProcessSample]) -> dict[str, Interval]:
    """Intervals in seconds, of `throughput` in 1/s, by metric; the same processes give the same ones.

    None with fewer than `MIN_PROCESSES` processes, or where these timed different numbers of inferences. None of
    `latency.min`: what is drawn again is never faster than the fastest, so the bootstrap fails for a minimum
    (Bickel and Freedman 1981, "Some Asymptotic Theory for the Bootstrap", Annals of Statistics 9:6).
    """
    counts = {len(process.latencies_s) for process in processes}
    if len(processes) < MIN_PROCESSES or len(counts) > 1 or 0 in counts:
        return {}
    values = np.array([[value / process.batch_size for value in process.latencies_s] for process in processes])
    redrawn = np.concatenate([_estimates(sample) for sample in _redrawn(values)], axis=1)
    tail = _tail(len(processes))
    ends = np.quantile(redrawn, [tail, 1 - tail], axis=1).T.tolist()
    intervals = {metric: (low, high) for metric, (low, high) in zip(_METRICS, ends, strict=True)}
    low, high = intervals["latency.mean"]
    return intervals | ({"throughput": (1 / high, 1 / low)} if low > 0 else {})


def share_interval(right: int, samples: int) -> Interval:
    """Wilson's interval of a share, given how many of at least one sample it counts."""
    from scipy import stats

    interval = stats.binomtest(right, samples).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def _widened(answer: Estimate | str, interval: Interval | None) -> Estimate | str:
    """The estimate with its interval, which rounding must not put beside the value."""
    if isinstance(answer, str) or interval is None:
        return answer
    low, high = interval
    return answer.model_copy(update={"low": min(low, answer.value), "high": max(high, answer.value)})


def _redrawn(values: Array) -> Iterator[Array]:
    """Resamples of (processes, inferences) values, a row each, in chunks."""
    random = np.random.default_rng(0)
    processes, inferences = values.shape
    size = max(1, _CHUNK_VALUES // values.size)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        picked = random.integers(processes, size=(count, processes, 1), dtype=np.int32)
        drawn = random.integers(inferences, size=(count, processes, inferences), dtype=np.int32)
        yield values[picked, drawn].reshape(count, -1)


def _estimates(samples: Array) -> Array:
    """Every one of `_METRICS` of every resample."""
    return np.vstack([np.percentile(samples, [50, 90, 99], axis=1), samples.mean(axis=1)])


def _tail(processes: int) -> float:
    """The share of redrawn estimates to leave out at either end: 2.5 % for many processes, less for few."""
    from scipy import stats

    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, processes - 1))
    return float(stats.norm.cdf(-quantile * math.sqrt(processes / (processes - 1))))
