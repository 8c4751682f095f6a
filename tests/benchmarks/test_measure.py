"""Measuring, on a target that answers from a script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan
from edgecc.errors import TargetError
from edgecc.metrics import METRICS
from edgecc.results import Failure, FailureKind
from edgecc.targets.wire import LatencyTask, OutputsTask, RunReply, RunRequest

SCORES = [[1, 0], [0, 1], [1, 0], [1, 0]]
"""Classes 0, 1, 0, 0, where the labels are 0, 1, 0, 1."""
MakePlan = Callable[..., BenchPlan]
Make = Callable[..., Any]
Reply = Callable[..., RunReply]


def test_processes_are_interleaved_over_the_artifacts(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    target = make_target("gateway", lambda request: reply(request, SCORES))
    measure(make_plan("a", "b", "c", processes=3), [target])
    assert target.order == ["a", "b", "c", "c", "b", "a", "a", "b", "c"]


def test_outputs_come_last_once_for_each_artifact(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    target = make_target("gateway", lambda request: reply(request, SCORES))
    measure(make_plan("a", "b", processes=2), [target])
    assert [type(request.task) for request in target.requests] == [LatencyTask] * 4 + [OutputsTask] * 2


def test_rows_hold_raw_values_predictions_and_scores(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        is_other = Path(request.artifact_path).stem == "int8"
        return reply(request, [[0, 1], *SCORES[1:]] if is_other else SCORES)

    results = measure(make_plan("float32", "int8"), [make_target("gateway", script)])
    reference, other = results.rows
    assert reference.predictions == (0, 1, 0, 0)
    assert reference.estimates["accuracy"].value == 0.75
    assert reference.estimates["agreement.top1"].value == 1
    assert other.estimates["accuracy"].value == 0.5
    assert other.estimates["agreement.top1"].value == 0.75
    assert [len(process.latencies_s) for process in other.processes] == [30, 30, 30]
    assert other.estimates["latency.p90"].samples == 90
    assert other.unmeasured["latency.p99"] == "needs 662 values, has 90"
    assert results.evaluation_samples == 4
    for row in results.rows:
        assert {*row.estimates, *row.unmeasured} == set(METRICS)


def test_samples_reach_the_target_as_they_are(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    seen = []

    def script(request: RunRequest) -> RunReply:
        assert request.inputs_path is not None
        seen.append(np.load(request.inputs_path).shape)
        return reply(request, SCORES)

    measure(make_plan("a", processes=1), [make_target("gateway", script)])
    assert seen == [(4, 2), (4, 2)]


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failing_row_does_not_stop_the_rest(
    make_plan: MakePlan, make_target: Make, reply: Reply, kind: FailureKind
) -> None:
    def script(request: RunRequest) -> RunReply:
        if Path(request.artifact_path).stem == "b":
            return RunReply(failure=Failure(kind=kind, message="died"))
        return reply(request, SCORES)

    target = make_target("gateway", script)
    a, b, c = measure(make_plan("a", "b", "c"), [target]).rows
    assert b.failure == Failure(kind=kind, message="died")
    assert target.order.count("b") == 1
    assert a.failure is None
    assert c.failure is None
    assert "accuracy" in a.estimates
    assert "accuracy" in c.estimates


def test_no_number_comes_from_the_processes_that_survived(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        if len(target.requests) == 3:
            return RunReply(failure=Failure(kind=FailureKind.TIMED_OUT, message="60 s"))
        return reply(request, SCORES)

    target = make_target("gateway", script)
    [row] = measure(make_plan("a"), [target]).rows
    assert len(row.processes) == 2
    assert set(row.estimates) == {"size", "size.compressed"}
    assert row.unmeasured["latency.p50"] == "timed out: 60 s"


def test_a_target_that_does_not_answer_leaves_the_others(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    dead = make_target("pi", lambda request: reply(request, SCORES), lost="no route to host")
    alive = make_target("gateway", lambda request: reply(request, SCORES))
    rows = measure(make_plan("a", "b"), [dead, alive]).rows
    assert [(row.target, row.variant) for row in rows] == [
        ("pi", "a"), ("pi", "b"), ("gateway", "a"), ("gateway", "b"),
    ]  # fmt: skip
    for row in rows[:2]:
        assert row.failure == Failure(kind=FailureKind.TARGET_LOST, message="no route to host")
        assert row.environment is None
        assert "size" in row.estimates
    assert all(row.failure is None for row in rows[2:])


def test_a_target_lost_midway_keeps_what_was_finished(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        if isinstance(request.task, OutputsTask) and Path(request.artifact_path).stem == "b":
            raise TargetError("cable pulled")
        return reply(request, SCORES)

    a, b, c = measure(make_plan("a", "b", "c"), [make_target("gateway", script)]).rows
    assert a.failure is None
    assert "accuracy" in a.estimates
    for row in (b, c):
        assert row.failure is not None
        assert row.failure.kind is FailureKind.TARGET_LOST
        assert "latency.p50" not in row.estimates
        assert len(row.processes) == 3


def test_outputs_for_other_samples_are_a_failure(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    target = make_target("gateway", lambda request: reply(request, SCORES[:3]))
    [row] = measure(make_plan("a"), [target]).rows
    assert row.failure is not None
    assert row.failure.message == "expected 4 outputs, one a sample; got 3"


def test_outputs_that_were_not_written_are_a_failure(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        return reply(request, SCORES) if isinstance(request.task, LatencyTask) else RunReply()

    a, b = measure(make_plan("a", "b"), [make_target("gateway", script)]).rows
    assert a.failure is not None
    assert b.failure is not None
    assert "no outputs" in a.failure.message


def test_an_answer_without_timings_is_a_failure(make_plan: MakePlan, make_target: Make) -> None:
    [row] = measure(make_plan("a"), [make_target("gateway", lambda request: RunReply())]).rows
    assert row.failure is not None
    assert "without timings" in row.failure.message


def test_a_regression_model_is_measured_without_accuracy(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    target = make_target("gateway", lambda request: reply(request, SCORES))
    [row] = measure(make_plan("a", y=(0.5, 1.5, 2.5, 3.5)), [target]).rows
    assert row.failure is None
    assert "integer labels" in row.unmeasured["accuracy"]
    assert "latency.p50" in row.estimates


def test_the_cause_of_missing_agreement_is_the_reference(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        if Path(request.artifact_path).stem == "float32":
            return RunReply(failure=Failure(kind=FailureKind.REFUSED, message="unknown operator"))
        return reply(request, SCORES)

    _, other = measure(make_plan("float32", "int8"), [make_target("gateway", script)]).rows
    assert other.unmeasured["agreement.top1"] == "the reference float32 (tflite) failed here: unknown operator"
    assert "accuracy" in other.estimates
