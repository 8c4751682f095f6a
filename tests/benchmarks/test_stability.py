"""Trouble is named where it was put in, with what to do, and clean measurements are passed over in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from edgecc.benchmarks import stability
from edgecc.benchmarks.stability import rise, timing_warnings, two_levels
from edgecc.results import ProcessSample
from edgecc.targets import runner

MakeProcess = Callable[..., ProcessSample]
Values = npt.NDArray[np.float64]
PROCESSES, INFERENCES = 5, 200
PLACE = np.arange(INFERENCES) / (INFERENCES - 1)
PROCESS = np.arange(PROCESSES)[:, None]


def clean(random: np.random.Generator, noise: float = 0.01) -> Values:
    """Seconds, shape (processes, inferences): lognormal, and one in 200 takes twice as long."""
    outliers = np.where(random.random((PROCESSES, INFERENCES)) < 0.005, 2.0, 1.0)
    between = np.exp(random.normal(0, 0.002, (PROCESSES, 1)))
    return 1e-5 * between * outliers * np.exp(random.normal(0, noise, (PROCESSES, INFERENCES)))


def warnings_of(make_process: MakeProcess, values: Values) -> list[str]:
    return timing_warnings([make_process(*row) for row in values.tolist()], values.shape[1])


@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_clean_measurements_are_passed_over_in_silence(make_process: MakeProcess, noise: float) -> None:
    random = np.random.default_rng(11)
    false = [found for _ in range(250) if (found := warnings_of(make_process, clean(random, noise)))]
    assert len(false) <= 2, false


@pytest.mark.parametrize(
    ("trouble", "named", "remedy"),
    [
        (1 + 0.1 * PLACE, "latencies rose while 5 of 5 processes ran, by 10 %", "cool it"),
        (1 + 0.1 * PROCESS / 4, "latencies rose from process to process, by 10 %", "cool it"),
        (np.where(PROCESS == 2, 1.3, 1.0), "process 3 of 5 was slow throughout", "raise `bench.processes`"),
        (np.where((PROCESS == 1) & (PLACE > 0.6), 1.15, 1.0), "1 of 5 processes ran at two levels", "fix the clock"),
        (np.where(PLACE * 200 % 2 < 1, 1.1, 1.0), "5 of 5 processes ran at two levels", "stop other work"),
    ],
)
def test_trouble_is_named_with_its_remedy(make_process: MakeProcess, trouble: Values, named: str, remedy: str) -> None:
    for seed in range(20):
        found = warnings_of(make_process, clean(np.random.default_rng(seed)) * trouble)
        rounded = [text.replace("9 %", "10 %").replace("11 %", "10 %") for text in found]
        [warning] = [text for text in rounded if named in text]
        assert remedy in warning


def test_a_process_is_slow_from_a_fifth_on(make_process: MakeProcess) -> None:
    processes = [make_process(*[0.001] * 5), make_process(*[0.00121] * 5), make_process(*[0.001] * 5)]
    [warning] = timing_warnings(processes, 5)
    assert warning.startswith("process 2 of 3 was slow throughout: median 1.21 ms, the others' 1.00 ms;")
    assert timing_warnings([make_process(*[0.001] * 5), make_process(*[0.0012] * 5)], 5) == []


def test_one_process_that_drifts_alone_is_no_throttling(make_process: MakeProcess) -> None:
    values = clean(np.random.default_rng(0)) * np.where(PROCESS == 1, 1 + 0.1 * PLACE, 1.0)
    assert not any("rose" in text for text in warnings_of(make_process, values))


def test_a_rise_is_measured_from_first_to_last() -> None:
    assert rise([1.0, 1.025, 1.05, 1.075, 1.1]) == pytest.approx(0.1)
    assert rise([1.0, 1.0, 1.0, 1.0, 1.4]) is None
    assert rise([1.1, 1.075, 1.05, 1.025, 1.0]) is None
    assert rise([1.0, 1.1, 1.2, 1.3]) is None  # four may well rise by chance
    assert rise([1.0, 1.1, 1.05, 1.2, 1.3]) is None  # and so may five that nearly do
    assert rise([0.001] * 20) is None
    assert rise([1 + 0.002 * place for place in range(20)]) is None  # surely, but by little


def test_a_rise_agrees_with_scipys_slope() -> None:
    values = 1 + np.linspace(0, 0.2, 20) + np.random.default_rng(6).normal(0, 0.02, 20)
    slope, first = stats.theilslopes(values)[:2]
    assert rise(values.tolist()) == pytest.approx(slope * 19 / first)


def test_levels_are_told_with_their_shares() -> None:
    random = np.random.default_rng(8)
    values = np.where(np.arange(300) % 4 == 0, 1.3e-3, 1e-3) * np.exp(random.normal(0, 0.01, 300))
    values[::60] *= 20  # single slow ones hide nothing
    levels = two_levels(values.tolist())
    assert levels is not None
    assert (levels.low_s, levels.high_s, levels.share_high) == pytest.approx((1e-3, 1.3e-3, 0.25), rel=0.01)


@pytest.mark.parametrize("draw", ["uniform", "exponential", "gumbel", "constant"])
def test_one_level_of_any_shape_is_one(draw: str) -> None:
    random = np.random.default_rng(9)
    for _ in range(50):
        wide = 0 if draw == "constant" else getattr(random, draw)(size=INFERENCES)
        assert two_levels((1 + 0.05 * (wide + np.full(INFERENCES, 2.0))).tolist()) is None


def test_a_short_process_or_one_with_a_zero_has_no_levels() -> None:
    assert two_levels([1.0, 2.0] * 19) is None
    assert two_levels([1.0, 2.0] * 20) is not None
    assert two_levels([0.0, 2.0] * 20) is None


def test_fewer_inferences_than_asked_are_named(make_process: MakeProcess) -> None:
    [warning] = timing_warnings([make_process(1.0, 1.0)], 3)
    assert warning == "process 1 of 1 timed 2 inferences; 3 were asked for"


def test_a_warm_up_that_never_settled_is_named(make_process: MakeProcess) -> None:
    assert stability._NOT_SETTLED in Path(runner.__file__).read_text()
    log = f"INFO: something\n{stability._NOT_SETTLED} within 2% in 3 s\n"
    [warning] = timing_warnings([make_process(1.0)] * 3, 1, ["", log, ""])
    assert warning.startswith("the warm-up of 1 of 3 processes never settled")
    assert "stop other work" in warning
