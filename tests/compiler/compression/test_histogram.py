from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp

from edgecc.compiler.compression.histogram import BINS, Histogram, histogram_of

VALUES = stnp.arrays(
    np.float32,
    st.integers(0, 40),
    elements=st.floats(-(2.0**100), 2.0**100, width=32)
    | st.floats(-1, 1, width=32)
    | st.sampled_from([0.0, 1e-45, -(2.0**-149), 0.5, -0.5, 3.0, 2.0**100]),
)


def _same(a: Histogram, b: Histogram) -> bool:
    return (a.exponent, a.first, a.zeros, a.low, a.high, a.counts.tolist()) == (
        b.exponent, b.first, b.zeros, b.low, b.high, b.counts.tolist(),
    )  # fmt: skip


@given(VALUES, st.lists(st.integers(0, 40), max_size=3))
def test_it_does_not_depend_on_how_the_values_came(values: npt.NDArray[np.float32], cuts: list[int]) -> None:
    merged = histogram_of(np.zeros(0, np.float32))
    for part in np.split(values, sorted(cuts)):
        merged = merged.merged(histogram_of(part))
    assert _same(merged, histogram_of(values))


@given(VALUES)
def test_every_value_is_in_its_bin(values: npt.NDArray[np.float32]) -> None:
    histogram = histogram_of(values)
    assert 1 <= len(histogram.counts) <= BINS
    assert histogram.zeros == (values == 0).sum()
    inner = values[values != 0].astype(np.float64)
    # numpy closes the last bin at both ends, so it is given one bin more.
    edges = np.append(histogram.edges, histogram.edges[-1] + histogram.width)
    assert np.histogram(inner, edges)[0][:-1].tolist() == histogram.counts.tolist()


@given(VALUES.filter(lambda values: bool((values != 0).any())))
def test_the_bins_are_as_fine_as_they_may_be(values: npt.NDArray[np.float32]) -> None:
    histogram = histogram_of(values)
    indices = np.floor(np.array([histogram.low, histogram.high]) / (histogram.width / 2))
    assert indices[1] - indices[0] + 1 > BINS


def test_magnitudes() -> None:
    histogram = histogram_of(np.array([-2.5, -0.5, 0.25, 0.5, 0.75, 2047.5], np.float32))
    assert histogram.width == 2.0
    assert histogram.first == -2
    assert histogram.magnitudes[:3].tolist() == [4, 1, 0]
    assert histogram.magnitudes.sum() == 6


@pytest.mark.parametrize("count", [0, 5])
def test_nothing_but_zeros(count: int) -> None:
    histogram = histogram_of(np.zeros(count, np.float32))
    assert (histogram.low, histogram.high, histogram.counts.sum(), histogram.zeros) == (0, 0, 0, count)
