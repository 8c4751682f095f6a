"""What the gate would have said of recorded processes: the very code that decides, fed from a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.paired import run_side_by_side
from edgecc.benchmarks.plan import PlannedPair, Subject
from edgecc.benchmarks.regression import LOOKS, judge
from edgecc.benchmarks.rows import Attempt
from edgecc.progress import Silent
from edgecc.results import ProcessSample, Status

BLOCK = 4
"""Processes that are drawn together, since neighbours in time are alike (the moving blocks of Künsch 1989, "The
Jackknife and the Bootstrap for General Stationary Observations")."""


@dataclass(frozen=True)
class Recorded:
    """One process, in which both artifacts ran side by side, as it was recorded."""

    baseline: ProcessSample
    candidate: ProcessSample
    duration_s: float
    """From its start to its end."""


def replay(
    recording: Sequence[Recorded],
    limit: float,
    *,
    time_limit_s: float,
    random: np.random.Generator,
    metric: str = "latency.p50",
) -> Status:
    """Draw recorded processes, and judge them as a bench would.

    Args:
        recording: in the order they ran.
        limit: by which part the candidate may be worse.
        time_limit_s: what a bench may take, by the durations that were recorded.
        random: where the blocks start.
        metric: what is judged.
    """
    drawn = (recording[index] for index in _blocks(len(recording), max(LOOKS), random))
    spent_s = 0.0

    def time_both(first: Attempt, second: Attempt) -> None:
        nonlocal spent_s
        recorded = next(drawn)
        for attempt in (first, second):
            is_baseline = attempt.subject is _BASELINE
            attempt.processes.append(recorded.baseline if is_baseline else recorded.candidate)
        spent_s += recorded.duration_s

    with Silent().task("", None) as task:
        paired = run_side_by_side(
            PlannedPair("recorded", _BASELINE, _CANDIDATE, {metric: limit}),
            time_both,
            _never_alone,
            budgets=1,
            time_limit_s=time_limit_s,
            environment=None,
            task=task,
            clock=lambda: spent_s,
        )
    ratio = paired.ratios.get(metric)
    return Status.INCONCLUSIVE if ratio is None else judge(metric, ratio, limit)


def _never_alone(_: Attempt) -> None:
    raise AssertionError("what was recorded did not fail")


def _blocks(recorded: int, needed: int, random: np.random.Generator) -> list[int]:
    starts = random.integers(0, recorded, -(-needed // BLOCK))
    return [int(start + step) % recorded for start in starts for step in range(BLOCK)]


def _subject(name: str) -> Subject:
    artifact = Artifact(path=name, format=Format.TFLITE, sha256="0" * 64, size_bytes=1)
    return Subject(name, Path(name), artifact)


_BASELINE, _CANDIDATE = _subject("baseline"), _subject("candidate")
