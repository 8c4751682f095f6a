"""Measuring, on a target that answers from a script."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan
from edgecc.errors import OutputError, TargetError, UserCodeError
from edgecc.metrics import METRICS
from edgecc.progress import Silent
from edgecc.project import MetricSection
from edgecc.results import Estimate, Failure, FailureKind
from edgecc.targets.wire import LatencyTask, OutputsTask, RunReply, RunRequest, RuntimeSettings

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


def test_settings_reach_every_process_and_what_ran_comes_back(
    make_plan: MakePlan, make_target: Make, reply: Reply
) -> None:
    def script(request: RunRequest) -> RunReply:
        return reply(request, SCORES).model_copy(update={"operators": {"xnnpack": 6, "builtin": 2}})

    target = make_target("gateway", script)
    target.settings = RuntimeSettings(num_threads=2, xnnpack=True)
    target.cold_caches = True
    (row,) = measure(make_plan("a", processes=2), [target]).rows
    assert {request.settings for request in target.requests} == {target.settings}
    assert [request.task.cold_caches for request in target.requests[:2]] == [True, True]
    assert row.num_threads == 2
    assert row.operators == {"xnnpack": 6, "builtin": 2}


def test_who_has_to_be_waited_for_is_said_before_the_wait(
    make_plan: MakePlan, make_target: Make, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target("lab", lambda request: reply(request, SCORES))
    notes: list[str] = []
    monkeypatch.setattr(target, "held_by", lambda: "alice@laptop has had the device since 17:03:12")
    environment = target.probe()
    monkeypatch.setattr(target, "probe", lambda: notes.append("probed") or environment)
    monkeypatch.setattr(Silent, "note", lambda self, text: notes.append(text))
    measure(make_plan("a", processes=1), [target], Silent())
    assert notes[:2] == ["lab: alice@laptop has had the device since 17:03:12; the two take turns", "probed"]


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


MINE = """
import numpy as np

def margin(outputs, y, inputs):
    print("on stderr")
    return float(np.abs(outputs[:, 0] - outputs[:, 1]).mean()) + len(inputs)

def raises(outputs, y):
    raise ValueError("no such thing")
"""


def test_the_users_metrics_are_scored_on_real_outputs(
    make_plan: MakePlan, make_target: Make, reply: Reply, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    sections = {name: MetricSection(function=f"mine:{name}") for name in ("margin", "raises")}
    plan = dataclasses.replace(make_plan("a", "b"), metrics=sections, project_dir=tmp_path)

    def script(request: RunRequest) -> RunReply:
        if Path(request.artifact_path).stem == "b":
            return RunReply(failure=Failure(kind=FailureKind.CRASHED, message="died"))
        answer = reply(request, SCORES)
        half = answer.outputs[0].model_copy(update={"scale": (0.5,), "zero_point": (0,)})
        return answer.model_copy(update={"outputs": (half,)})

    results = measure(plan, [make_target("gateway", script)])
    a, b = results.rows
    assert a.estimates["user.margin"] == Estimate(value=4.5, samples=4)
    assert "mine:raises raised ValueError: no such thing" in a.unmeasured["user.raises"]
    assert b.unmeasured["user.margin"] == "crashed: died"
    assert results.metrics == {"margin": "higher", "raises": "higher"}
    for row in results.rows:
        assert {*row.estimates, *row.unmeasured} == {*METRICS, "user.margin", "user.raises"}
    assert capsys.readouterr().out == ""


def test_a_metric_that_is_not_there_stops_before_anything_is_measured(
    make_plan: MakePlan, make_target: Make, reply: Reply, tmp_path: Path
) -> None:
    target = make_target("gateway", lambda request: reply(request, SCORES))
    sections = {"auc": MetricSection(function="no_such:auc")}
    with pytest.raises(UserCodeError, match="no_such"):
        measure(dataclasses.replace(make_plan("a"), metrics=sections, project_dir=tmp_path), [target])
    assert target.requests == []


def test_several_inputs_reach_the_target_by_name(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    plan = make_plan("a", processes=1)
    assert plan.evaluation is not None
    samples = {"x.left": np.arange(80.0).reshape(40, 2), "x.right": np.arange(40.0).reshape(40, 1)}
    np.savez(plan.evaluation, **samples, y=np.zeros(40, np.int64))
    seen = []

    def script(request: RunRequest) -> RunReply:
        assert request.inputs_path is not None
        with np.load(request.inputs_path) as members:
            seen.append({name: len(members[name]) for name in members.files})
            np.testing.assert_array_equal(members["right"], samples["x.right"][: len(members["right"])])
        return reply(request, [[1, 0]] * 40)

    [row] = measure(plan, [make_target("gateway", script)]).rows
    assert seen == [{"left": 32, "right": 32}, {"left": 40, "right": 40}]
    assert row.estimates["accuracy"].value == 1


def test_several_outputs_have_no_accuracy(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    def script(request: RunRequest) -> RunReply:
        answer = reply(request, SCORES)
        if isinstance(request.task, OutputsTask):
            np.savez(str(request.outputs_path) + ".npz", **{"0": np.asarray(SCORES), "1": np.zeros((4, 7))})
            Path(str(request.outputs_path) + ".npz").rename(str(request.outputs_path))
        return answer.model_copy(update={"outputs": answer.outputs * 2})

    [row] = measure(make_plan("a"), [make_target("gateway", script)]).rows
    assert row.failure is None
    assert row.unmeasured["accuracy"] == "a model with one output is needed; this one has 2"
    assert "latency.p50" in row.estimates


def test_labels_that_are_not_classes_give_no_accuracy(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    plan = make_plan("a")
    assert plan.evaluation is not None
    np.savez(plan.evaluation, x=np.zeros((4, 2)), y=np.array([0, 1, 0, 1]), task="other")
    [row] = measure(plan, [make_target("gateway", lambda request: reply(request, SCORES))]).rows
    assert {row.unmeasured[name] for name in ("accuracy", "agreement.top1")} == {"the labels are not classes"}


# Several targets


def test_targets_of_one_device_take_turns_and_others_run_beside(
    make_plan: MakePlan, make_target: Make, reply: Reply
) -> None:
    """The board answers only once the first of this machine's targets is under way, and the other way round."""
    barrier = threading.Barrier(2, timeout=30)
    here = threading.Lock()

    def on_this_machine(request: RunRequest) -> RunReply:
        assert here.acquire(blocking=False)
        time.sleep(0.001)
        here.release()
        return reply(request, SCORES)

    def meet(request: RunRequest) -> RunReply:
        if not met:
            barrier.wait()
            met.append(True)
        return reply(request, SCORES)

    met: list[bool] = []
    targets = [make_target(name, on_this_machine) for name in ("host", "container")]
    board = make_target("board", meet)
    board.device = "pi@board"
    first = targets[0]._script
    waited: list[bool] = []

    def wait_for_the_board(request: RunRequest) -> RunReply:
        if not waited:
            waited.append(True)
            barrier.wait()
        return first(request)

    targets[0]._script = wait_for_the_board
    results = measure(make_plan("float32", "int8"), [*targets, board])
    assert [row.target for row in results.rows] == ["host", "host", "container", "container", "board", "board"]
    assert all(row.failure is None for row in results.rows)


def test_an_error_on_one_device_stops_the_others(make_plan: MakePlan, make_target: Make, reply: Reply) -> None:
    started = threading.Event()

    def fail(request: RunRequest) -> RunReply:
        started.wait(30)
        raise OutputError("the disk is full")

    def go_on(request: RunRequest) -> RunReply:
        started.set()
        time.sleep(0.002)
        return reply(request, SCORES)

    board = make_target("board", go_on)
    board.device = "pi@board"
    with pytest.raises(OutputError, match="disk is full"):
        measure(make_plan("float32", processes=2000), [make_target("host", fail), board])
    assert len(board.requests) < 2000


def test_nobody_is_warned_of_noise_in_times_that_are_nobodys(
    make_plan: MakePlan, make_target: Make, reply: Reply
) -> None:
    latencies_s = iter([1.0, 1.0, 9.0] * 2)
    measured = []
    for emulated in (False, True):
        target = make_target("pi", lambda request: reply(request, SCORES, next(latencies_s, 1.0)))
        target.emulated = emulated
        measured += measure(make_plan("float32"), [target]).rows
    assert [any("slow throughout" in warning for warning in row.warnings) for row in measured] == [True, False]


def test_what_a_target_cannot_do_is_unmeasured_and_never_tried(
    make_plan: MakePlan, make_target: Make, reply: Reply
) -> None:
    target = make_target("counter", lambda request: RunReply(instructions=(1000, 990), instructions_counter="clock"))
    target.abilities = frozenset({"instructions"})
    row = measure(make_plan("float32"), [target]).rows[0]
    assert [request.task.kind for request in target.requests] == ["instructions"]
    assert row.failure is None
    assert row.estimates["instructions"].value == 990
    assert row.unmeasured["latency.p50"] == "the target tells no time"
    assert row.unmeasured["accuracy"] == "the target runs no evaluation set"
    assert "memory.peak" in row.unmeasured
