"""The doctor: what the gate would say where the truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecc.benchmarks.doctor import LIMITS, SLOWDOWNS, Diagnosis, Recorder, diagnose, rate
from edgecc.benchmarks.replay import BLOCK, Recorded, _blocks, replay
from edgecc.benchmarks.report.doctor import diagnosis_sentences, diagnosis_table
from edgecc.errors import TargetError
from edgecc.progress import Silent
from edgecc.project import BenchSection
from edgecc.results import Failure, FailureKind, ProcessSample, Status
from edgecc.targets.wire import LatencyTask, RunReply, RunRequest

P50_S = 1e-3


@pytest.fixture
def examine(
    monkeypatch: pytest.MonkeyPatch, make_target: Any, make_plan: Any, make_process: Any
) -> Callable[..., Diagnosis]:
    """Diagnose a target whose processes differ by `noise`; each takes half a second of a clock that is no real one."""

    def examine(noise: float, *, time_s: float = 60.0, failure: Failure | None = None) -> Diagnosis:
        random = np.random.default_rng(0)
        clock = itertools.count(step=0.25)  # read at the start and at the end of each process
        monkeypatch.setattr("edgecc.benchmarks.doctor.time.monotonic", lambda: float(next(clock)))
        monkeypatch.setattr("edgecc.benchmarks.doctor.TRIALS", 40)

        def script(request: RunRequest) -> RunReply:
            assert isinstance(request.task, LatencyTask)
            if failure is not None:
                return RunReply(failure=failure)
            assert request.beside is not None
            own, beside = (
                make_process(*[P50_S * np.exp(random.normal(0, noise)) + spin_s] * 5)
                for spin_s in (request.task.spin_s, request.beside.spin_s)
            )
            return RunReply(process=own, beside=beside)

        target = make_target("gateway", script)
        subject = make_plan("a").subjects[0]
        return diagnose(target, subject, BenchSection(inferences=5), time_s=time_s, seed=0, progress=Silent())

    return examine


def said(diagnosis: Diagnosis, slowdown: float, limit: float) -> tuple[float, float]:
    [answers] = [each for each in diagnosis.answers if (each.slowdown, each.limit) == (slowdown, limit)]
    return answers.fail.value, answers.inconclusive.value


def test_a_quiet_target_can_be_held_to_one_percent(examine: Any) -> None:
    diagnosis = examine(0.001)
    assert said(diagnosis, 0.0, 0.01) == (0.0, 0.0)
    assert said(diagnosis, 0.02, 0.01) == (1.0, 0.0)
    assert diagnosis.honest_limit == 0.01
    assert [round(diagnosis.seen_slowdowns[f"{each:.0%}"].value, 2) for each in SLOWDOWNS] == [1.0, 1.02, 1.05, 1.1]


def test_a_noisy_one_cannot_and_the_doctor_says_so(examine: Any) -> None:
    diagnosis = examine(0.2)
    assert diagnosis.honest_limit is None
    assert "No max_regression is honest here" in diagnosis_sentences(diagnosis)[0]


def test_what_is_not_beyond_a_limit_is_not_replayed(examine: Any) -> None:
    cases = {(each.slowdown, each.limit) for each in examine(0.001).answers}
    assert cases == {
        (slowdown, limit) for limit in LIMITS for slowdown in SLOWDOWNS if slowdown in (0,) or slowdown > limit
    }


def test_too_short_a_time_is_an_error(examine: Any) -> None:
    with pytest.raises(TargetError, match="expected time for 12 processes of each kind; 5 s were enough for"):
        examine(0.001, time_s=5.0)


def test_an_artifact_that_does_not_run_is_an_error(examine: Any) -> None:
    with pytest.raises(TargetError, match=r"gateway: a\.tflite gave no numbers: no"):
        examine(0.001, failure=Failure(kind=FailureKind.REFUSED, message="no"))


def test_the_table_has_a_row_for_each_limit(examine: Any) -> None:
    table = diagnosis_table(examine(0.001))
    assert [str(cell) for cell in table.columns[0].cells] == ["1% *", "2%", "5%", "10%"]
    assert [str(cell) for cell in table.columns[3].cells] == ["100.0%", "-", "-", "-"]


def test_a_published_exact_interval() -> None:
    """Clopper and Pearson for 0 of 300 is 1 - 0.025^(1/300); for 10 of 20, 27.2 % to 72.8 %."""
    none, half = rate(0, 300), rate(10, 20)
    assert (none.low, none.high) == (0, pytest.approx(1 - 0.025 ** (1 / 300)))
    assert (half.low, half.high) == pytest.approx((0.272, 0.728), abs=5e-4)


def recorded(make_process: Callable[..., ProcessSample], before: Any, after: Any) -> list[Recorded]:
    pairs = zip(before, after, strict=True)
    return [Recorded(*(make_process(float(median)) for median in pair), 1.0) for pair in pairs]


@pytest.mark.parametrize(("slower", "status"), [(1.0, Status.PASS), (1.03, Status.FAIL)])
def test_a_replay_decides_as_a_bench_does(make_process: Any, slower: float, status: Status) -> None:
    random = np.random.default_rng(1)
    before, after = 1 + 0.002 * random.normal(size=(2, 40))
    recording = recorded(make_process, before, slower * after)
    said = [replay(recording, 0.01, time_limit_s=60, random=random) for _ in range(50)]
    assert said.count(status) >= 49


def test_a_replay_keeps_the_time(make_process: Any) -> None:
    recording = recorded(make_process, [1.0] * 20, [1.0] * 20)
    assert replay(recording, 0.01, time_limit_s=3, random=np.random.default_rng(0)) is Status.INCONCLUSIVE


def test_neighbours_in_time_are_drawn_together() -> None:
    """Drawn one by one, blocks of four would be as rare as chance has them."""
    drawn = _blocks(40, 40, np.random.default_rng(0))
    assert all(drawn[index + 1] == (drawn[index] + 1) % 40 for index in range(39) if index % BLOCK != BLOCK - 1)


def test_a_spell_that_slows_both_is_no_difference(make_process: Any) -> None:
    spell = [1.0] * 20 + [1.5] * 20
    recording, random = recorded(make_process, spell, spell), np.random.default_rng(0)
    said = [replay(recording, 0.01, time_limit_s=1000, random=random) for _ in range(50)]
    assert said == [Status.PASS] * 50


def test_either_may_begin(make_target: Any, make_plan: Any, make_process: Any) -> None:
    spins_s: list[tuple[float | None, float | None]] = []

    def script(request: RunRequest) -> RunReply:
        assert isinstance(request.task, LatencyTask)
        assert request.beside is not None
        spins_s.append((request.task.spin_s, request.beside.spin_s))
        return RunReply(process=make_process(1.0 + (request.task.spin_s or 0)), beside=make_process(1.0))

    recorder = Recorder(make_target("gateway", script), make_plan("a").subjects[0], BenchSection(), 0)
    recorded = [recorder.record(0.5, candidate_first=is_first) for is_first in (False, True)]
    assert spins_s == [(0.0, 0.5), (0.5, 0.0)]
    assert [each.baseline.latencies_s for each in recorded] == [(1.0,), (1.0,)]
    assert recorded[1].candidate.latencies_s == (1.5,)
