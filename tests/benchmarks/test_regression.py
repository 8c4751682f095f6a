"""Three answers to whether an artifact is worse than its baseline, each only where it is sure."""

from __future__ import annotations

import pytest

from edgecc.benchmarks.ratio import RATIO_METRICS
from edgecc.benchmarks.regression import LOOKS, SIDE_BY_SIDE, confidence_for, judge, worsening
from edgecc.results import Ratio, Status


def between(low: float, high: float) -> Ratio:
    return Ratio(value=(low * high) ** 0.5, low=low, high=high, processes=8)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (0.99, 1.005, Status.PASS),
        (0.5, 0.6, Status.PASS),
        (0.99, 1.01, Status.PASS),  # limits are inclusive
        (0.99, 1.011, Status.INCONCLUSIVE),
        (1.01, 1.02, Status.INCONCLUSIVE),
        (1.011, 1.02, Status.FAIL),
    ],
)
def test_the_whole_interval_must_lie_on_one_side(low: float, high: float, status: Status) -> None:
    assert judge("latency.p50", between(low, high), 0.01) is status


@pytest.mark.parametrize(
    ("low", "high", "status"), [(0.95, 0.98, Status.FAIL), (1.0, 1.2, Status.PASS), (0.98, 1.0, Status.INCONCLUSIVE)]
)
def test_less_throughput_is_worse(low: float, high: float, status: Status) -> None:
    assert judge("throughput", between(low, high), 0.01) is status
    turned = worsening("throughput", between(low, high))
    assert turned.low <= turned.value <= turned.high


def test_all_looks_at_all_budgets_share_the_error_rate() -> None:
    def one_sided(budgets: int, *, is_last: bool) -> float:
        return (1 - confidence_for(budgets, is_last=is_last)) / 2

    spent = [one_sided(1, is_last=count == max(LOOKS)) for count in LOOKS]
    assert sum(spent) == pytest.approx(0.05)
    assert one_sided(10, is_last=True) == pytest.approx(one_sided(1, is_last=True) / 10)
    assert confidence_for(0, is_last=False) == confidence_for(1, is_last=False)


def test_what_is_compared_in_turn_is_what_a_process_tells() -> None:
    assert SIDE_BY_SIDE == RATIO_METRICS
