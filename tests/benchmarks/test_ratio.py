"""The interval of a ratio of latencies: it respects processes, and errs towards not telling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.benchmarks.ratio import (
    RATIO_METRICS,
    _null_of_signed_ranks,
    _null_of_u,
    latency_ratio,
    pairs_needed,
    ratio_in_turn,
    ratio_of,
)
from edgecc.benchmarks.statistics import percentile
from edgecc.results import ProcessSample, Ratio


def processes(medians: Sequence[float]) -> list[ProcessSample]:
    """Processes of three inferences each, with these medians."""
    return [
        ProcessSample(
            latencies_s=(0.9 * m, m, 5 * m), warmups=0, load_cold_s=0, load_warm_s=0, memory_peak_bytes=None
        )
        for m in medians
    ]  # fmt: skip


def ratio(before: Sequence[float], after: Sequence[float]) -> Ratio:
    found = latency_ratio(processes(before), processes(after))
    assert isinstance(found, Ratio)
    return found


def in_turn(before: Sequence[float], after: Sequence[float]) -> Ratio:
    found = ratio_in_turn("latency.p50", processes(before), processes(after))
    assert isinstance(found, Ratio)
    return found


def test_a_published_interval() -> None:
    """Permeability of the chorioamnion, Hollander and Wolfe, table 4.1: shift 0.305, interval -0.15 to 0.76."""
    early = [1.15, 0.88, 0.90, 0.74, 1.21]
    at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    found = ratio([math.exp(value) for value in early], [math.exp(value) for value in at_term])
    shifts = [math.log(value) for value in (found.value, found.low, found.high)]
    assert shifts == pytest.approx([0.305, -0.15, 0.76])


@pytest.mark.parametrize(
    ("count", "confidence", "critical"),
    [(4, 0.95, 0), (5, 0.95, 2), (6, 0.95, 5), (8, 0.95, 13), (10, 0.95, 23), (20, 0.95, 127), (10, 0.99, 16)],
)
def test_the_interval_ends_where_published_tables_say(count: int, confidence: float, critical: int) -> None:
    """Critical values of U for samples of equal size, from Mann and Whitney's table as textbooks print it."""
    before, after = [1.0] * count, [float(np.exp(index + 1)) for index in range(count)]
    found = ratio_of("latency.p50", processes(before), processes(after), confidence)
    assert isinstance(found, Ratio)
    shifts = sorted(math.log(value) for value in after for _ in before)
    assert math.log(found.low) == pytest.approx(shifts[critical])
    assert math.log(found.high) == pytest.approx(shifts[-critical - 1])


def test_the_distribution_of_u_is_that_of_every_order() -> None:
    orders = [set(chosen) for chosen in itertools.combinations(range(7), 3)]
    values = [sum(other < own for own in chosen for other in set(range(7)) - chosen) for chosen in orders]
    expected = np.bincount(values, minlength=13) / len(orders)
    np.testing.assert_allclose(_null_of_u(4, 3), expected)


def test_a_published_interval_of_pairs() -> None:
    """Depression scale before and after a drug, Hollander and Wolfe, table 3.1: shift -0.46, from -0.786 to -0.010."""
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    found = in_turn([math.exp(value) for value in before], [math.exp(value) for value in after])
    shifts = [math.log(value) for value in (found.value, found.low, found.high)]
    assert shifts == pytest.approx([-0.46, -0.786, -0.010])


@pytest.mark.parametrize(
    ("count", "confidence", "critical"),
    [
        (6, 0.95, 0),
        (7, 0.95, 2),
        (8, 0.95, 3),
        (10, 0.95, 8),
        (20, 0.95, 52),
        (25, 0.95, 89),
        (8, 0.99, 0),
        (10, 0.99, 3),
    ],
)
def test_the_interval_of_pairs_ends_where_published_tables_say(count: int, confidence: float, critical: int) -> None:
    """Critical values of Wilcoxon's signed-rank statistic, from Wilcoxon's table as textbooks print it."""
    steps = [float(index + 1) for index in range(count)]
    found = ratio_in_turn("latency.p50", processes([1.0] * count), processes(np.exp(steps).tolist()), confidence)
    assert isinstance(found, Ratio)
    averages = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(steps, 2))
    assert math.log(found.low) == pytest.approx(averages[critical])
    assert math.log(found.high) == pytest.approx(averages[-critical - 1])


def test_the_distribution_of_signed_ranks_is_that_of_every_sign() -> None:
    sums = [sum(ranks) for size in range(6) for ranks in itertools.combinations(range(1, 6), size)]
    np.testing.assert_allclose(_null_of_signed_ranks(5), np.bincount(sums) / 2**5)


def test_a_drift_that_both_share_does_not_widen_the_interval_of_pairs() -> None:
    random = np.random.default_rng(0)
    drift = np.exp(np.linspace(0, 0.3, 20))
    before, after = (scale * drift * np.exp(random.normal(0, 0.001, 20)) for scale in (1.0, 1.02))
    found, apart = in_turn(before, after), ratio(before, after)
    assert 1.015 < found.low < 1.02 < found.high < 1.025
    assert apart.high - apart.low > 20 * (found.high - found.low)


def test_neighbours_are_needed_to_tell_of_pairs() -> None:
    assert [pairs_needed(confidence) for confidence in (0.92, 0.95, 0.99, 0.9975)] == [5, 6, 8, 10]
    assert "needs 6 processes" in str(ratio_in_turn("latency.p50", processes([1.0] * 5), processes([1.0] * 5)))
    assert "there are 8 and 7" in str(ratio_in_turn("latency.p50", processes([1.0] * 8), processes([1.0] * 7)))


def test_one_slow_process_moves_it_little() -> None:
    usual = [1.0, 1.001, 1.002, 0.999, 0.998, 1.0005, 0.9995, 1.0015]
    found = ratio(usual, [1.4, *usual[1:]])
    assert found.value == pytest.approx(1, abs=0.002)
    assert found.high == pytest.approx(1, abs=0.005)


def test_many_values_in_few_processes_do_not_narrow_it(make_process: Callable[..., ProcessSample]) -> None:
    medians = ([1.0, 1.1, 1.0, 1.3], [1.05, 1.0, 1.2, 1.1])
    few, many = (
        latency_ratio(*([make_process(*[m] * count) for m in each] for each in medians)) for count in (1, 1000)
    )
    assert few == many


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([1.0] * 3, [2.0] * 3, "needs 4 processes of each artifact; there are 3 and 3"),
        ([], [], "needs 4 processes"),
        ([1, 0, 1, 1], [1, 1, 1, 1], "positive"),
    ],
)
def test_what_has_no_ratio_says_why(before: list[float], after: list[float], why: str) -> None:
    assert why in str(latency_ratio(processes(before), processes(after)))


def test_every_metric_of_a_process_has_its_ratio(make_process: Callable[..., ProcessSample]) -> None:
    before = [make_process(*(1.0, 2.0, 3.0) * 50, peak=100)] * 5
    after = [make_process(*(2.0, 4.0, 6.0) * 50, peak=150)] * 5
    found = {metric: ratio_of(metric, before, after) for metric in sorted(RATIO_METRICS)}
    values = {metric: round(ratio.value, 9) for metric, ratio in found.items() if isinstance(ratio, Ratio)}
    assert values == {
        "latency.p50": 2, "latency.p90": 2, "latency.p99": 2, "latency.mean": 2, "latency.min": 2, "throughput": 0.5,
        "load.cold": 1, "load.warm": 1, "memory.peak": 1.5,
    }  # fmt: skip
    assert ratio_of("latency.p99", before[:4], after) == "needs 662 values of each, has 600 and 750"
    untold = [make_process(1.0, peak=None)] * 5
    assert ratio_of("memory.peak", before, untold) == "a process does not tell its memory.peak"
    assert ratio_of("latency.compute", before, after) == "a process does not tell its latency.compute"


def test_the_computing_has_a_ratio_of_its_own(make_process: Callable[..., ProcessSample]) -> None:
    before, after = (
        [make_process(4.0, 4.0, 4.0).model_copy(update={"computes_s": values})] * 5
        for values in [(1.0, 2.0, 3.0), (1.0, 1.0, 3.0)]
    )
    found = ratio_of("latency.compute", before, after)
    assert isinstance(found, Ratio)
    assert found.value == pytest.approx(0.5)


def test_batches_are_compared_by_means_alone(make_process: Callable[..., ProcessSample]) -> None:
    single = [make_process(1.0, 3.0)] * 5
    batches = [make_process(8.0, 16.0).model_copy(update={"batch_size": 4})] * 5
    mean = ratio_of("latency.mean", single, batches)
    assert isinstance(mean, Ratio)
    assert mean.value == pytest.approx(1.5)
    assert ratio_of("latency.p50", single, batches) == "a batch of 4 was timed, not single inferences"


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=300), st.floats(0, 100))
def test_a_percentile_is_numpys(values: list[float], q: float) -> None:
    assert percentile(values, q) == pytest.approx(float(np.percentile(values, q)), rel=1e-9)


positive = st.lists(st.floats(1e-6, 10), min_size=4, max_size=8)


@given(positive, st.permutations(range(8)))
def test_turned_round_it_is_the_inverse(before: list[float], order: list[int]) -> None:
    after = [1.5 * before[index] for index in order if index < len(before)]
    one, other = ratio(before, after), ratio(after, before)
    assert one.low <= one.value <= one.high
    assert (other.value, other.low, other.high) == pytest.approx((1 / one.value, 1 / one.high, 1 / one.low))


@pytest.mark.parametrize("slow", [0.0, 0.1])
@pytest.mark.parametrize("measured", [ratio, in_turn])
def test_equal_artifacts_are_called_different_in_one_bench_of_twenty_at_most(
    measured: Callable[..., Ratio], slow: float
) -> None:
    """Medians of fresh processes agree within 0.5 %; one process in ten may be 5 to 40 % slow throughout."""
    random = np.random.default_rng(0)

    def medians() -> np.ndarray:
        return np.exp(random.normal(0, 0.005, 7)) * np.where(random.random(7) < slow, random.uniform(1.05, 1.4, 7), 1)

    trials = [measured(medians(), medians()) for _ in range(600)]
    assert np.mean([trial.low > 1 or trial.high < 1 for trial in trials]) < 0.08
    assert np.mean([measured(medians(), 1.3 * medians()).low > 1 for _ in range(200)]) > (0.6 if slow else 0.95)
