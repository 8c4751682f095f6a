from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from onnxruntime.quantization.calibrate import HistogramCollector
from scipy.stats import entropy

from edgecc.compiler.compression.histogram import Histogram, histogram_of
from edgecc.compiler.compression.ranges import GRIDS, choose_range, entropy_threshold, percentile_threshold
from edgecc.variant import Quantization, QuantizeSection

Floats = npt.NDArray[np.float32]
RANDOM = np.random.default_rng(0)
SHAPES: dict[str, Callable[[int], Any]] = {
    "normal": lambda size: RANDOM.normal(0, 1, size),
    "laplace": lambda size: RANDOM.laplace(0, 0.3, size),
    "student": lambda size: RANDOM.standard_t(3, size),
    "skewed": lambda size: RANDOM.gamma(2, 1, size) - 0.5,
    "uniform": lambda size: RANDOM.uniform(-2, 5, size),
    "relu": lambda size: np.maximum(RANDOM.normal(-0.5, 1, size), 0),
    "negative": lambda size: -RANDOM.exponential(2, size),
    "outlier": lambda size: np.append(RANDOM.normal(0, 1, size - 1), 40.0),
}
VALUES = {name: draw(50_000).astype(np.float32) for name, draw in SHAPES.items()}


def _chosen(values: Floats, scheme: str = "int8", **keys: Any) -> tuple[float, float]:
    return choose_range(histogram_of(values), QuantizeSection(scheme=Quantization(scheme), **keys))


def _quantized(values: Floats, low: float, high: float, levels: int) -> npt.NDArray[np.float64]:
    """Values rounded to a grid of which zero is a point, as a runtime does it."""
    scale = (high - low) / (levels - 1)
    zero_point = round(-low / scale)
    return np.asarray(scale * (np.clip(np.round(values / scale) + zero_point, 0, levels - 1) - zero_point))


def _squared_error(values: Floats, low: float, high: float, levels: int) -> float:
    return float(np.mean((values - _quantized(values, low, high, levels)) ** 2))


@settings(deadline=None)
@given(
    stnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["min_max", "percentile", "entropy", "mse"]),
    st.sampled_from(["int8", "int16x8"]),
)
def test_a_range_includes_zero_and_never_exceeds_the_values(values: Floats, calibration: str, scheme: str) -> None:
    low, high = _chosen(values, scheme, calibration=calibration)
    assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    assert (low < high) == bool((values != 0).any())


def test_min_max_is_exact() -> None:
    values = np.array([-1.2345678, 3.3333333], np.float32)
    assert _chosen(values) == (values[0], values[1])
    assert _chosen(values[1:]) == (0, values[1])


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
def test_percentile_keeps_that_share_inside(name: str, percentile: float) -> None:
    values = VALUES[name]
    histogram = histogram_of(values)
    threshold = percentile_threshold(histogram, percentile)
    exact = np.sort(np.abs(values))[round(percentile / 100 * len(values)) - 1]
    assert exact <= threshold <= exact + histogram.width

    low, high = _chosen(values, calibration="percentile", percentile=percentile)
    assert np.mean((values >= low) & (values <= high)) >= percentile / 100 - 1e-12


def test_the_hundredth_percentile_is_min_max() -> None:
    for values in VALUES.values():
        assert _chosen(values, calibration="percentile", percentile=100.0) == _chosen(values)


@pytest.mark.parametrize("name", VALUES)
def test_mse_is_as_good_as_any_range_of_a_grid(name: str) -> None:
    """Against quantizing for real, with every range of a grid."""
    values = VALUES[name]
    low, high = _chosen(values, calibration="mse")
    shares = np.linspace(0.02, 1, 40)
    lows = [0.0] if values.min() >= 0 else values.min() * shares
    highs = [0.0] if values.max() <= 0 else values.max() * shares
    best = min(_squared_error(values, *pair, 256) for pair in itertools.product(lows, highs))
    assert _squared_error(values, low, high, 256) <= 1.01 * best


@pytest.mark.parametrize("name", VALUES)
def test_mse_of_a_symmetric_grid(name: str) -> None:
    values = VALUES[name]
    low, high = _chosen(values, "int16x8", calibration="mse")
    limit = np.abs(values).max()
    best = min(_squared_error(values, -t, t, 65535) for t in limit * np.linspace(0.02, 1, 50))
    threshold = max(-low, high)
    assert _squared_error(values, -threshold, threshold, 65535) <= 1.01 * best


def test_mse_cuts_off_an_outlier_for_int8_and_not_for_int16() -> None:
    values = np.append(RANDOM.normal(0, 1, 1_000_000), 40.0).astype(np.float32)
    assert _chosen(values, calibration="mse")[1] < 20
    assert _chosen(values, "int16x8", calibration="mse")[1] > 39


def _reference_divergences(magnitudes: npt.NDArray[np.int64], levels: int) -> list[float]:
    """Migacz's procedure, step by step."""
    divergences = []
    for count in range(levels, len(magnitudes) + 1):
        p = magnitudes[:count].astype(float)
        p[-1] += magnitudes[count:].sum()
        q = np.zeros(count)
        level_of = np.array([next(k for k in range(levels) if j < (k + 1) * count // levels) for j in range(count)])
        for level in range(levels):
            members = np.flatnonzero(level_of == level)
            occupied = members[p[members] > 0]
            if len(occupied):
                q[occupied] = magnitudes[members].sum() / len(occupied)
        divergences.append(float(entropy(p, q)))
    return divergences


@pytest.mark.parametrize("levels", [4, 9])
def test_entropy_is_migaczs_procedure(levels: int) -> None:
    for _ in range(20):
        counts = np.concatenate([RANDOM.integers(0, 50, 20), RANDOM.integers(0, 3, 30), [1]])
        histogram = Histogram(exponent=-2, first=0, counts=counts, zeros=0, low=0.0, high=12.75)
        best = int(np.argmin(_reference_divergences(counts, levels)))
        assert entropy_threshold(histogram, levels) == (levels + best) / 4


@pytest.mark.parametrize("name", ["normal", "laplace", "student", "outlier"])
def test_entropy_agrees_with_onnx_runtime(name: str) -> None:
    """On the same values and with bins as wide; there, the last level takes all bins that are left over."""
    values = VALUES[name]
    bins = 2 * math.ceil(np.abs(values).max() / histogram_of(values).width) + 1
    collector = HistogramCollector(
        "entropy", symmetric=False, num_bins=bins, num_quantized_bins=255, percentile=0, scenario="same"
    )
    collector.collect_value({"x": values})
    low, high = collector.get_entropy_threshold(collector.histogram_dict["x"], 255)
    ours = entropy_threshold(histogram_of(values), 128)
    assert ours == pytest.approx(max(-low, high), rel=0.15)


def test_entropy_cuts_off_an_outlier() -> None:
    low, high = _chosen(VALUES["outlier"], calibration="entropy")
    assert -6 < low < -2
    assert 2 < high < 6


def test_entropy_clips_nothing_where_the_levels_are_finer_than_the_bins() -> None:
    for values in VALUES.values():
        assert _chosen(values, "int16x8", calibration="entropy") == _chosen(values)


def test_levels_on_a_side() -> None:
    grid = GRIDS[Quantization.INT8]
    assert grid.levels_per_side(histogram_of(VALUES["relu"])) == 256
    assert grid.levels_per_side(histogram_of(VALUES["normal"])) == 128
    assert GRIDS[Quantization.INT16X8].levels_per_side(histogram_of(VALUES["relu"])) == 2**15
