"""Instructions in a bench: counted once, and a counter that fails costs nothing but its own metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgecc.benchmarks.evidence import Unmeasured, _check_raw_values
from edgecc.benchmarks.measure import COUNTING_FACTOR, measure
from edgecc.benchmarks.statistics import counted_otherwise
from edgecc.results import Failure, FailureKind, Provenance, Row
from edgecc.targets.wire import InstructionsTask, LatencyTask, OutputsTask, RunReply, RunRequest

SCORES = [[1, 0], [0, 1], [1, 0], [0, 1]]
Count = Callable[..., tuple[Row, list[type]]]


@pytest.fixture
def count(make_plan: Any, make_target: Any, reply: Any) -> Count:
    """The row of one artifact on a target that answers so where it is to count, and the tasks it got."""

    def run(answer: RunReply, *, counts: bool = True) -> tuple[Row, list[type]]:
        def script(request: RunRequest) -> RunReply:
            return answer if isinstance(request.task, InstructionsTask) else reply(request, SCORES)

        target = make_target("host", script)
        if counts:
            target.abilities |= {"instructions"}
        row = measure(make_plan("a", processes=2), [target]).rows[0]
        return row, [type(request.task) for request in target.requests]

    return run


def test_the_smallest_count_is_the_value(count: Count) -> None:
    row, tasks = count(RunReply(instructions=(5100, 5000, 5050), instructions_counter="a counter"))
    assert tasks == [LatencyTask, LatencyTask, InstructionsTask, OutputsTask]
    estimate = row.estimates["instructions"]
    assert (estimate.value, estimate.samples, estimate.provenance) == (5000, 3, Provenance.EMULATED)
    assert row.estimates["latency.p50"].provenance is Provenance.MEASURED
    assert (row.instructions, row.instructions_counter) == ((5100, 5000, 5050), "a counter")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            RunReply(failure=Failure(kind=FailureKind.REFUSED, message="valgrind is not installed")),
            "refused: valgrind is not installed",
        ),
        (RunReply(), "the target answered without a count"),
    ],
)
def test_a_count_that_failed_is_unmeasured_and_the_rest_stands(answer: RunReply, reason: str, count: Count) -> None:
    row, _ = count(answer)
    assert row.unmeasured["instructions"] == reason
    assert row.failure is None
    assert {"latency.p50", "accuracy"} <= set(row.estimates)


def test_a_target_that_was_not_asked_to_count(count: Count) -> None:
    row, tasks = count(RunReply(), counts=False)
    assert InstructionsTask not in tasks
    assert 'instructions = "callgrind"' in row.unmeasured["instructions"]


def test_a_value_that_does_not_follow_from_the_counts_is_damage(count: Count) -> None:
    row, _ = count(RunReply(instructions=(5100, 5000)))
    estimate = row.estimates["instructions"]
    _check_raw_values(row, "instructions", estimate)
    with pytest.raises(Unmeasured, match="damaged"):
        _check_raw_values(row, "instructions", estimate.model_copy(update={"value": 4000.0}))
    with pytest.raises(Unmeasured, match="damaged"):
        _check_raw_values(row.model_copy(update={"instructions": ()}), "instructions", estimate)


def test_counting_gets_more_time(make_plan: Any, make_target: Any, reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = make_target("host", lambda request: reply(request, SCORES))
    target.abilities |= {"instructions"}
    limits: list[float] = []

    def run(request: RunRequest, *, timeout_s: float) -> RunReply:
        limits.append(timeout_s)
        return RunReply(instructions=(5,)) if isinstance(request.task, InstructionsTask) else reply(request, SCORES)

    monkeypatch.setattr(target, "run", run)
    measure(make_plan("a", processes=1), [target])
    assert limits[1] == COUNTING_FACTOR * limits[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"instructions_counter": "callgrind on another processor"},
        {"target_options": {"xnnpack": False}},
    ],
)
def test_counts_of_other_ways_to_compute_are_not_compared(changes: dict[str, Any], count: Count) -> None:
    row, _ = count(RunReply(instructions=(1000, 990)))
    assert counted_otherwise(row, row) is None
    reason = counted_otherwise(row, row.model_copy(update=changes))
    assert reason is not None
    assert "counted in other ways" in reason
