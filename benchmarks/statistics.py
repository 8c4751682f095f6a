"""From raw values to the metrics of `edgecc.metrics`.

Every function answers for the metrics it knows, by name: an Estimate, or the reason why there is none.

Percentiles are those of all the processes' values together, interpolated linearly between the two nearest order
statistics (Hyndman and Fan 1996, definition 7: the default of numpy and R). How many values a percentile needs
before it is reported is in `METRICS`.
"""

from __future__ import annotations

import gzip
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgecc.metrics import METRICS, Metric
from edgecc.results import Estimate, ProcessSample, Provenance, Row

Answers = dict[str, Estimate | str]
_PERCENTILES = {"latency.p50": 50, "latency.p90": 90, "latency.p99": 99}
_OF_BATCHES = frozenset({"latency.mean", "throughput", "load.cold", "load.warm", "memory.peak"})
"""What can be told of inferences that took several samples at once."""


def sizes(path: Path) -> Answers:
    """Bytes of the file, and after gzip -9 without a time stamp."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return dict.fromkeys(("size", "size.compressed"), f"the file cannot be read: {error.strerror}")
    return {
        "size": Estimate(value=len(content), samples=1),
        "size.compressed": Estimate(value=len(gzip.compress(content, 9, mtime=0)), samples=1),
    }


def timings(processes: Sequence[ProcessSample], provenance: Provenance) -> Answers:
    """Latency, throughput and load time of one artifact from all its processes; no processes, no times."""
    if not processes:
        return dict.fromkeys(
            (name for name, metric in METRICS.items() if metric.wall_clock), "the target tells no time"
        )
    answers = _latencies(processes)
    answers["load.cold"] = _median([process.load_cold_s for process in processes])
    answers["load.warm"] = _median([process.load_warm_s for process in processes])
    return _with_provenance(answers, provenance)


def memory(processes: Sequence[ProcessSample], provenance: Provenance) -> Answers:
    """The largest peak among the processes; no runtime here tells its arena."""
    peaks = [process.memory_peak_bytes for process in processes]
    known = [peak for peak in peaks if peak is not None]
    answers: Answers = {"memory.arena": "the runtime does not tell its arena"}
    if len(known) < len(peaks) or not known:
        answers["memory.peak"] = "the target does not tell the peak memory of a process"
    else:
        answers["memory.peak"] = Estimate(value=max(known), samples=len(known))
    return _with_provenance(answers, provenance)


def instructions(counts: Sequence[int] | str) -> Estimate | str:
    """The smallest count, since whatever else happens adds to it; or the reason why there is none.

    The counter's processor is not the target's own: the value is emulated, and no time.
    """
    if isinstance(counts, str):
        return counts
    return Estimate(value=min(counts), samples=len(counts), provenance=Provenance.EMULATED)


def counted_otherwise(before: Row, now: Row) -> str | None:
    """Why the instructions of two rows cannot be compared; None where they can."""
    ways = [
        (
            row.instructions_counter,
            row.environment and row.environment.python,
            _runtime_version(row),
            row.target_options,
        )
        for row in (before, now)
    ]
    return None if ways[0] == ways[1] else f"they were counted in other ways: {ways[0]} before, {ways[1]} now"


def _runtime_version(row: Row) -> str | None:
    return row.environment.runtimes.get(row.runtime) if row.environment else None


def score(value: float | str, samples: int) -> Estimate | str:
    """A score over `samples` samples, or the reason why there is none."""
    return value if isinstance(value, str) else Estimate(value=value, samples=samples)


def split(answers: Mapping[str, Estimate | str], metrics: Iterable[str]) -> tuple[dict[str, Estimate], dict[str, str]]:
    """The estimates, and the reasons of what is unmeasured, each in the order of `metrics`."""
    estimates, unmeasured = {}, {}
    for metric in metrics:
        answer = answers[metric]
        if isinstance(answer, Estimate):
            estimates[metric] = answer
        else:
            unmeasured[metric] = answer
    return estimates, unmeasured


def why_not_single(metric: str, processes: Iterable[ProcessSample]) -> str | None:
    """Why these processes do not tell a metric of single inferences; None where they do."""
    largest = max((process.batch_size for process in processes), default=1)
    if largest == 1 or metric in _OF_BATCHES:
        return None
    return f"a batch of {largest} was timed, not single inferences"


def _latencies(processes: Sequence[ProcessSample]) -> Answers:
    values = [value / process.batch_size for process in processes for value in process.latencies_s]
    metrics = [name for name in METRICS if name.startswith("latency.")]
    if not values or not all(0 < value < float("inf") for value in values):
        reason = "the target reported no latency, or one that is not a positive number"
        return dict.fromkeys([*metrics, "throughput"], reason)
    mean = statistics.fmean(values)
    found = {"latency.mean": mean, "latency.min": min(values), "throughput": 1 / mean}
    found |= {name: percentile(values, q) for name, q in _PERCENTILES.items()}
    answers = {name: _if_enough(METRICS[name], value, len(values)) for name, value in found.items()}
    answers["latency.compute"] = _compute(processes)
    return {name: why_not_single(name, processes) or answer for name, answer in answers.items()}


def _compute(processes: Sequence[ProcessSample]) -> Estimate | str:
    if any(len(process.computes_s) != len(process.latencies_s) for process in processes):
        return "the target does not time the computing apart from the copies"
    return _median([value for process in processes for value in process.computes_s])


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile by numpy's default definition, and for a few hundred values many times quicker."""
    ordered = sorted(values)
    below, part = divmod(q / 100 * (len(ordered) - 1), 1)
    low, high = ordered[int(below)], ordered[min(int(below) + 1, len(ordered) - 1)]
    return low + part * (high - low)


def _if_enough(metric: Metric, value: float, samples: int) -> Estimate | str:
    if samples < metric.min_samples:
        return f"needs {metric.min_samples} values, has {samples}"
    return Estimate(value=value, samples=samples)


def _median(values: Sequence[float]) -> Estimate:
    return Estimate(value=statistics.median(values), samples=len(values))


def _with_provenance(answers: Answers, provenance: Provenance) -> Answers:
    return {
        name: answer if isinstance(answer, str) else answer.model_copy(update={"provenance": provenance})
        for name, answer in answers.items()
    }
