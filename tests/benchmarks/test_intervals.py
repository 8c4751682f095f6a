"""Intervals against how often they hold a value that is known, and against answers worked out another way."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgecc.benchmarks.intervals import latency_intervals, share_interval, with_intervals
from edgecc.benchmarks.statistics import timings
from edgecc.results import Estimate, ProcessSample, Provenance

MakeProcess = Callable[..., ProcessSample]
BETWEEN, WITHIN = 0.01, 0.01
"""Standard deviations of the logarithms, of processes and of inferences within them."""
LATENCIES = st.lists(st.floats(1e-7, 10), min_size=7, max_size=7)


def two_levels(random: np.random.Generator, processes: int, inferences: int) -> npt.NDArray[np.float64]:
    logs = random.normal(0, BETWEEN, (processes, 1)) + random.normal(0, WITHIN, (processes, inferences))
    return np.exp(logs)


def sampled(make_process: MakeProcess, values: npt.NDArray[np.float64]) -> list[ProcessSample]:
    return [make_process(*row) for row in values.tolist()]


def test_intervals_hold_the_truth_nearly_as_often_as_they_say(make_process: MakeProcess) -> None:
    total = math.hypot(BETWEEN, WITHIN)
    truth = {
        "latency.p50": 1.0,
        "latency.p90": math.exp(float(stats.norm.ppf(0.9)) * total),
        "latency.mean": math.exp(total**2 / 2),
    }
    random, rounds = np.random.default_rng(3), 100
    hits = dict.fromkeys(truth, 0)
    for _ in range(rounds):
        intervals = latency_intervals(sampled(make_process, two_levels(random, 8, 40)))
        for metric, value in truth.items():
            hits[metric] += intervals[metric][0] <= value <= intervals[metric][1]
    assert all(count >= 85 for count in hits.values()), hits
    assert hits["latency.p50"] < rounds or hits["latency.mean"] < rounds  # they are not merely wide


def test_an_interval_is_as_wide_as_the_processes_differ(make_process: MakeProcess) -> None:
    values = two_levels(np.random.default_rng(5), 10, 200)
    low, high = latency_intervals(sampled(make_process, values))["latency.mean"]
    students = stats.t.interval(0.95, 9, loc=values.mean(), scale=stats.sem(values.mean(axis=1)))
    assert low == pytest.approx(students[0], abs=0.003)
    assert high == pytest.approx(students[1], abs=0.003)
    assert high - low == pytest.approx(students[1] - students[0], rel=0.25)
    naive = stats.t.interval(0.95, values.size - 1, loc=values.mean(), scale=stats.sem(values.ravel()))
    assert high - low > 3 * (naive[1] - naive[0])


@pytest.mark.parametrize("counts", [(), (50,), (50, 50), (50, 50, 49), (0, 0, 0)])
def test_too_little_claims_nothing(make_process: MakeProcess, counts: tuple[int, ...]) -> None:
    assert latency_intervals([make_process(*[0.001] * count) for count in counts]) == {}


def test_three_processes_are_enough_and_a_minimum_has_none(make_process: MakeProcess) -> None:
    intervals = latency_intervals([make_process(0.001, 0.002)] * 3)
    assert set(intervals) == {"latency.p50", "latency.p90", "latency.p99", "latency.mean", "throughput"}
    low, high = intervals["latency.mean"]
    assert intervals["throughput"] == (1 / high, 1 / low)


def test_the_same_values_give_the_same_intervals(make_process: MakeProcess) -> None:
    processes = sampled(make_process, two_levels(np.random.default_rng(1), 4, 30))
    assert latency_intervals(processes) == latency_intervals(list(processes))


def test_redrawing_in_chunks_covers_every_resample(make_process: MakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    processes = sampled(make_process, two_levels(np.random.default_rng(2), 5, 50))
    whole = latency_intervals(processes)["latency.p50"]
    monkeypatch.setattr("edgecc.benchmarks.intervals._CHUNK_VALUES", 7 * 250)
    assert latency_intervals(processes)["latency.p50"] == pytest.approx(whole, rel=0.005)


@settings(deadline=None, max_examples=20)
@given(st.lists(LATENCIES, min_size=3, max_size=4))
def test_an_interval_holds_its_own_estimate(rows: list[list[float]]) -> None:
    processes = [
        ProcessSample(latencies_s=tuple(row), warmups=1, load_cold_s=1, load_warm_s=1, memory_peak_bytes=None)
        for row in rows
    ]
    answers = with_intervals(timings(processes, Provenance.MEASURED), processes)
    for metric in ("latency.p50", "latency.mean", "throughput"):
        estimate = answers[metric]
        assert isinstance(estimate, Estimate)
        assert estimate.low is not None
        assert estimate.high is not None
        assert min(map(min, rows)) * 0.999 <= (estimate.low if metric != "throughput" else 1 / estimate.high)
        assert estimate.low <= estimate.value <= estimate.high


def test_the_interval_of_a_batch_is_that_of_a_samples_share(make_process: MakeProcess) -> None:
    processes = sampled(make_process, two_levels(np.random.default_rng(5), 4, 30))
    batches = [process.model_copy(update={"batch_size": 8}) for process in processes]
    low, high = latency_intervals(processes)["latency.mean"]
    assert latency_intervals(batches)["latency.mean"] == pytest.approx((low / 8, high / 8))


def test_an_interval_changes_nothing_else(make_process: MakeProcess) -> None:
    processes = sampled(make_process, two_levels(np.random.default_rng(4), 3, 30))
    plain = timings(processes, Provenance.EMULATED) | {"accuracy": "no evaluation set"}
    answers = with_intervals(plain, processes)
    assert list(answers) == list(plain)
    for metric, answer in answers.items():
        without = answer if isinstance(answer, str) else answer.model_copy(update={"low": None, "high": None})
        assert without == plain[metric]
    assert answers["latency.p90"] != plain["latency.p90"]
    assert answers["latency.min"] == plain["latency.min"]
    assert statistics.median(v for p in processes for v in p.latencies_s) == plain["latency.p50"].value  # type: ignore[union-attr]


@pytest.mark.parametrize(("right", "samples"), [(81, 263), (15, 148), (0, 20), (29, 29), (970, 1000)])
def test_the_interval_of_a_share_is_wilsons(right: int, samples: int) -> None:
    """The ends are where the share would be just two standard errors of its own away: a quadratic's roots."""
    z2 = float(stats.norm.ppf(0.975)) ** 2
    p = right / samples
    roots = np.roots([1 + z2 / samples, -(2 * p + z2 / samples), p * p])
    assert share_interval(right, samples) == pytest.approx((max(0.0, roots.min()), min(1.0, roots.max())), abs=1e-9)


def test_the_interval_of_a_share_as_published() -> None:
    """Newcombe 1998, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17, table I."""
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert share_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert share_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert share_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_accuracy_and_agreement_get_theirs_from_samples_alone() -> None:
    answers = with_intervals(
        {
            "accuracy": Estimate(value=0.97, samples=1000),
            "agreement.top1": Estimate(value=1.0, samples=1000),
            "user.auc": Estimate(value=0.9, samples=1000),
        },
        [],
    )
    accuracy, agreement, own = answers.values()
    assert isinstance(accuracy, Estimate)
    assert (accuracy.low, accuracy.high) == share_interval(970, 1000)
    assert isinstance(agreement, Estimate)
    assert agreement.high == 1.0
    assert own == Estimate(value=0.9, samples=1000)
