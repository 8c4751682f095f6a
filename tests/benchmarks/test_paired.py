"""Baseline and candidate side by side: until it is known, or the time is spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.paired import run_side_by_side
from edgecc.benchmarks.plan import PlannedPair, Subject
from edgecc.benchmarks.regression import LOOKS, judge
from edgecc.benchmarks.rows import Attempt
from edgecc.progress import Silent
from edgecc.results import Failure, FailureKind, PairedRun, ProcessSample, Status


def subject(digit: str) -> Subject:
    artifact = Artifact(path="demo.tflite", format=Format.TFLITE, sha256=digit * 64, size_bytes=100)
    return Subject("int8", Path(f"{digit}.tflite"), artifact)


class Machine:
    """Gives either artifact the next of its medians; every process takes a second."""

    def __init__(self, make_process: Any, baseline: Callable[[int], float], candidate: Callable[[int], float]) -> None:
        self.medians = {"b.tflite": baseline, "c.tflite": candidate}
        self.make_process = make_process
        self.order: list[str] = []
        self.fails_at: int | None = None
        self.alone: list[str] = []
        self.broken = ""

    def time_both(self, first: Attempt, second: Attempt) -> Failure | None:
        self.order.append(first.subject.path.name[0])
        if len(self.order) == self.fails_at:
            return Failure(kind=FailureKind.CRASHED, message="SIGSEGV")
        for attempt in (first, second):
            median = self.medians[attempt.subject.path.name](len(attempt.processes))
            attempt.processes.append(self.make_process(*[median] * 30))
        return None

    def time_once(self, attempt: Attempt) -> None:
        self.alone.append(attempt.subject.path.name[0])
        if attempt.subject.path.name[0] == self.broken:
            attempt.failure = Failure(kind=FailureKind.REFUSED, message="no such op")

    def clock(self) -> float:
        return float(len(self.order))


@pytest.fixture
def run(make_process: Callable[..., ProcessSample]) -> Callable[..., tuple[PairedRun, Machine]]:
    def run(
        baseline: Callable[[int], float],
        candidate: Callable[[int], float],
        *,
        limits: dict[str, float] | None = None,
        seconds: float = 1000,
        fails_at: int | None = None,
        broken: str = "",
    ) -> tuple[PairedRun, Machine]:
        machine = Machine(make_process, baseline, candidate)
        machine.fails_at, machine.broken = fails_at, broken
        pair = PlannedPair("host", subject("b"), subject("c"), limits or {"latency.p50": 0.01})
        with Silent().task("", None) as task:
            paired = run_side_by_side(
                pair, machine.time_both, machine.time_once, budgets=1, time_limit_s=seconds, environment=None,
                task=task, clock=machine.clock,
            )  # fmt: skip
        return paired, machine

    return run


def noisy(median: float, part: float) -> Callable[[int], float]:
    """Another value each time, about `part` away from the median."""
    values = median * np.exp(np.random.default_rng(0).normal(0, part, max(LOOKS)))
    return lambda index: float(values[index])


def test_each_begins_every_other_time(run: Any) -> None:
    _, machine = run(lambda _: 1.0, lambda _: 1.0)
    assert "".join(machine.order[:8]) == "bcbcbcbc"


@pytest.mark.parametrize(("slower", "status"), [(1.0, Status.PASS), (0.9, Status.PASS), (1.05, Status.FAIL)])
def test_it_stops_as_soon_as_it_is_known(run: Any, slower: float, status: Status) -> None:
    paired, machine = run(lambda _: 1.0, lambda _: slower)
    assert judge("latency.p50", paired.ratios["latency.p50"], 0.01) is status
    assert len(machine.order) == LOOKS[0]
    assert (len(paired.baseline_processes), len(paired.candidate_processes)) == (LOOKS[0], LOOKS[0])


def test_it_goes_on_while_one_budget_is_open(run: Any) -> None:
    paired, machine = run(lambda _: 1.0, noisy(1.01, 0.02), limits={"latency.p50": 0.01, "latency.min": 0.5})
    assert judge("latency.min", paired.ratios["latency.min"], 0.5) is Status.PASS
    assert judge("latency.p50", paired.ratios["latency.p50"], 0.01) is Status.INCONCLUSIVE
    assert len(machine.order) == max(LOOKS)


def test_the_time_is_kept(run: Any) -> None:
    paired, machine = run(lambda _: 1.0, noisy(1.01, 0.02), seconds=11)
    assert len(machine.order) == 11
    assert paired.ratios["latency.p50"].processes == 11
    assert paired.duration_s == 11


def test_too_little_time_for_any_interval_says_so(run: Any) -> None:
    paired, _ = run(lambda _: 1.0, lambda _: 1.0, seconds=3)
    assert paired.ratios == {}
    assert "needs 5 processes" in paired.unmeasured["latency.p50"]


@pytest.mark.parametrize(
    ("broken", "alone", "reason"),
    [
        ("b", "b", "the baseline gave no numbers: no such op"),
        ("c", "bc", "today's artifact gave no numbers: no such op"),
        ("", "bc", "the baseline and today's artifact run alone, and gave no numbers side by side: SIGSEGV"),
    ],
)
@pytest.mark.parametrize("fails_at", [1, 4])
def test_a_failure_leaves_everything_unmeasured_and_says_whose_it_is(
    fails_at: int, broken: str, alone: str, reason: str, run: Any
) -> None:
    paired, machine = run(lambda _: 1.0, lambda _: 1.0, fails_at=fails_at, broken=broken)
    assert paired.unmeasured == {"latency.p50": reason}
    assert paired.ratios == {}
    assert (len(machine.order), "".join(machine.alone)) == (fails_at, alone)


def test_what_is_not_told_is_not_waited_for(run: Any) -> None:
    paired, machine = run(lambda _: 1.0, lambda _: 1.0, limits={"latency.p99": 0.01, "latency.p50": 0.01})
    assert set(paired.ratios) == {"latency.p50"}
    assert paired.unmeasured == {"latency.p99": "needs 662 values of each, has 360 and 360"}
    assert len(machine.order) == LOOKS[0]
