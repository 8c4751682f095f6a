"""The interval of a ratio of latencies: it respects processes, and errs towards not telling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.benchmarks.ratio import latency_ratio
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


def test_an_interval_worked_out_by_hand() -> None:
    # Logarithms of the ratios: 0.1, 0.2, 0.3; mean 0.2, standard deviation 0.1, t(2) = 4.3027.
    found = ratio([1, 2, 4], [math.exp(0.1), 2 * math.exp(0.2), 4 * math.exp(0.3)])
    margin = 4.3027 * 0.1 / math.sqrt(3)
    assert found.value == pytest.approx(math.exp(0.2))
    assert (found.low, found.high) == pytest.approx((math.exp(0.2 - margin), math.exp(0.2 + margin)), rel=1e-4)
    assert found.visible == pytest.approx(math.exp(margin) - 1, rel=1e-4)
    assert found.processes == 3


def test_a_machine_that_drifts_for_both_does_not_widen_it() -> None:
    found = ratio([1.0, 1.2, 1.5, 1.9, 2.6], [1.3, 1.56, 1.95, 2.47, 3.38])
    assert (found.low, found.high) == pytest.approx((1.3, 1.3))


def test_many_values_in_few_processes_do_not_narrow_it(make_process: Callable[..., ProcessSample]) -> None:
    medians = ([1.0, 1.1, 1.0], [1.05, 1.0, 1.2])
    few, many = (
        latency_ratio(*([make_process(*[m] * count) for m in each] for each in medians)) for count in (1, 1000)
    )
    assert few == many


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([1.0], [2.0], "at least 2"),
        ([1.0, 1.0], [1.0], "2 and 1"),
        ([], [], "at least 2"),
        ([1, 0], [1, 1], "positive"),
    ],
)
def test_what_has_no_ratio_says_why(before: list[float], after: list[float], why: str) -> None:
    assert why in str(latency_ratio(processes(before), processes(after)))


positive = st.lists(st.floats(1e-6, 10), min_size=2, max_size=8)


@given(positive, st.permutations(range(8)))
def test_turned_round_it_is_the_inverse(before: list[float], order: list[int]) -> None:
    after = [1.5 * before[index] for index in order if index < len(before)]
    one, other = ratio(before, after), ratio(after, before)
    assert one.low <= one.value <= one.high
    assert (other.value, other.low, other.high) == pytest.approx((1 / one.value, 1 / one.high, 1 / one.low))


@pytest.mark.parametrize("slow", [0.0, 0.1])
def test_equal_artifacts_are_called_different_in_one_bench_of_twenty_at_most(slow: float) -> None:
    """Medians of fresh processes agree within 0.5 %; one process in ten may be 5 to 40 % slow throughout."""
    random = np.random.default_rng(0)

    def medians() -> np.ndarray:
        return np.exp(random.normal(0, 0.005, 5)) * np.where(random.random(5) < slow, random.uniform(1.05, 1.4, 5), 1)

    trials = [ratio(medians(), medians()) for _ in range(600)]
    assert np.mean([trial.low > 1 or trial.high < 1 for trial in trials]) < 0.08
    assert np.mean([ratio(medians(), 1.3 * medians()).low > 1 for _ in range(200)]) > 0.9
