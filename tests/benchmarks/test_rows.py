"""What a bench stores of a row: intervals beside estimates, and what disturbed it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgecc.benchmarks import statistics
from edgecc.benchmarks.intervals import latency_intervals, share_interval
from edgecc.benchmarks.plan import BenchPlan, Subject
from edgecc.benchmarks.rows import Attempt, RowMaker
from edgecc.results import Provenance, Row

from .conftest import ENVIRONMENT, FakeTarget

MakePlan = Callable[..., BenchPlan]
MakeProcess = Callable[..., Any]


@pytest.fixture
def make_row(make_plan: MakePlan, make_process: MakeProcess) -> Callable[..., Row]:
    """The row of an artifact whose processes took about 1, 1.01, ... ms, on a machine with so many cores."""

    def make(processes: int = 3, cores: int = 4, logs: tuple[str, ...] = (), **options: Any) -> Row:
        plan = make_plan("float32")
        [subject] = plan.subjects
        assert isinstance(subject, Subject)
        values = [[1e-3 * (1 + 0.01 * index + 1e-4 * (place % 5)) for place in range(30)] for index in range(processes)]
        attempt = Attempt(subject, [make_process(*each) for each in values], logs=list(logs), done=True)
        target = FakeTarget("gateway", lambda request: pytest.fail("nothing is to be measured"))
        changed = BenchPlan(**{**vars(plan), "target_options": {"gateway": options}})
        environment = ENVIRONMENT.model_copy(update={"cores": cores})
        return RowMaker(changed, target, environment, None).rows([attempt])[0]

    return make


def test_a_row_has_the_intervals_of_its_processes(make_row: Callable[..., Row]) -> None:
    row = make_row()
    for metric, (low, high) in latency_intervals(row.processes).items():
        if metric in row.estimates:  # of 90 values there is no p99
            assert (row.estimates[metric].low, row.estimates[metric].high) == (low, high)
            assert low < row.estimates[metric].value < high
    assert row.estimates["latency.min"].low is None
    assert "latency.p99" in row.unmeasured


def test_what_the_gate_works_out_again_differs_by_the_intervals_alone(make_row: Callable[..., Row]) -> None:
    row = make_row()
    for metric, answer in statistics.timings(row.processes, Provenance.MEASURED).items():
        if metric in row.estimates:
            assert row.estimates[metric].model_copy(update={"low": None, "high": None}) == answer


def test_two_processes_claim_nothing(make_row: Callable[..., Row]) -> None:
    assert {estimate.low for estimate in make_row(processes=2).estimates.values()} == {None}


def test_accuracy_has_wilsons_interval(make_results: Callable[..., Any]) -> None:
    accuracy = make_results(right=96).rows[1].estimates["accuracy"]
    assert (accuracy.low, accuracy.high) == share_interval(96, 100)


def test_one_core_is_a_warning_unless_the_target_is_pinned_to_it(make_row: Callable[..., Row]) -> None:
    assert make_row().warnings == ()
    [warning] = make_row(cores=1).warnings
    assert "only one core" in warning
    assert make_row(cores=1, pin=[1]).warnings == ()


def test_what_the_runner_logged_of_the_warm_up_is_a_warning(make_row: Callable[..., Row]) -> None:
    log = "warm-up: no two blocks in a row within 2% in 3 s"
    [warning] = make_row(logs=(log, "", log)).warnings
    assert warning.startswith("the warm-up of 2 of 3 processes never settled")
