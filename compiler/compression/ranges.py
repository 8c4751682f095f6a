"""Which range of real values a quantized activation should hold, chosen from a histogram of what it held.

A range always includes zero. What lies outside is clipped to its ends: a narrower range clips more and rounds less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecc.compiler.compression.histogram import Histogram
from edgecc.variant import Quantization, QuantizeSection

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class Grid:
    """The values a quantized activation can take."""

    levels: int
    symmetric: bool
    """Zero is in the middle, so that only half of the levels serve activations without negative values."""

    def levels_per_side(self, histogram: Histogram) -> int:
        """Levels on the side of zero that reaches further."""
        one_sided = histogram.low == 0 or histogram.high == 0
        return self.levels if one_sided and not self.symmetric else self.levels // 2


GRIDS = {
    Quantization.INT8: Grid(levels=2**8, symmetric=False),
    Quantization.INT16X8: Grid(levels=2**16, symmetric=True),
}


def choose_range(histogram: Histogram, section: QuantizeSection) -> Range:
    """The range (low, high), low <= 0 <= high, that the section's method chooses; (0, 0) for nothing but zeros."""
    grid = GRIDS[section.scheme]
    if section.calibration == "min_max" or not histogram.counts.any():
        return histogram.low, histogram.high
    if section.calibration == "mse":
        return least_squares(histogram, grid)
    if section.calibration == "percentile":
        return _within(histogram, percentile_threshold(histogram, section.percentile))
    return _within(histogram, entropy_threshold(histogram, grid.levels_per_side(histogram)))


def percentile_threshold(histogram: Histogram, percentile: float) -> float:
    """The least end of a bin that at least `percentile` percent of all values do not exceed in magnitude."""
    inside = histogram.zeros + np.cumsum(histogram.magnitudes)
    # A count is whole, so half of one forgives the rounding of the product.
    index = int(np.searchsorted(inside, percentile / 100 * inside[-1] - 1e-6))
    return (index + 1) * histogram.width


def entropy_threshold(histogram: Histogram, levels: int) -> float:
    """The threshold of magnitudes at which quantizing to `levels` levels loses the least information.

    It minimizes the Kullback-Leibler divergence of the quantized distribution from the clipped one (Migacz 2017,
    "8-bit inference with TensorRT", GTC). Where there are no more bins than levels, nothing is gained by clipping.
    """
    counts = histogram.magnitudes.astype(np.float64)
    candidates = range(min(levels, len(counts)), len(counts) + 1)
    divergences = [_divergence(counts, count, levels) for count in candidates]
    return candidates[int(np.argmin(divergences))] * histogram.width


def _divergence(counts: Floats, count: int, levels: int) -> float:
    """KL(P || Q) of the first `count` bins with the rest clipped into the last one (P), and in `levels` levels (Q)."""
    inside = counts[:count]
    clipped = inside.copy()
    clipped[-1] += counts[count:].sum()
    occupied = clipped > 0
    starts = np.unique(np.arange(levels) * count // levels)
    widths = np.diff(starts, append=count)
    sums, occupants = np.add.reduceat(inside, starts), np.add.reduceat(occupied.astype(np.float64), starts)
    quantized = np.repeat(sums / np.maximum(occupants, 1), widths)[occupied]
    if inside.sum() == 0 or (quantized == 0).any():
        return float("inf")
    p, q = clipped[occupied] / clipped.sum(), quantized / inside.sum()
    return float(np.sum(p * np.log(p / q)))


def least_squares(histogram: Histogram, grid: Grid) -> Range:
    """The range with the least expected squared error: that of what is clipped, and step^2 / 12 for what is rounded.

    The error of rounding is that of values spread evenly over a step (Banner et al. 2019, arXiv:1810.05723); zeros
    have none. All pairs of bin edges are compared.
    """
    if grid.symmetric:
        magnitudes = histogram.magnitudes
        thresholds = np.arange(1, len(magnitudes) + 1) * histogram.width
        inside = np.cumsum(magnitudes)
        steps = thresholds / (grid.levels // 2 - 1)
        errors = _clipped(magnitudes, histogram.width) + inside * steps**2 / 12
        return _within(histogram, float(thresholds[errors.argmin()]))
    return _least_squares_asymmetric(histogram, grid.levels)


def _least_squares_asymmetric(histogram: Histogram, levels: int) -> Range:
    width, zero = histogram.width, -histogram.first
    below, above = histogram.counts[:zero][::-1], histogram.counts[zero:]
    lows, highs = (np.arange(len(side) + 1) * width for side in (below, above))
    inside = np.add.outer(*(np.concatenate([[0], np.cumsum(side)]) for side in (below, above)))
    clipped = np.add.outer(
        *(np.concatenate([[_all_clipped(side, width)], _clipped(side, width)]) for side in (below, above))
    )
    errors = clipped + inside * (np.add.outer(lows, highs) / (levels - 1)) ** 2 / 12
    low, high = np.unravel_index(errors.argmin(), errors.shape)
    return max(float(-lows[low]), histogram.low), min(float(highs[high]), histogram.high)


def _clipped(counts: npt.NDArray[np.int64], width: float) -> Floats:
    """For each bin of magnitudes: the squared error where all beyond its end is clipped to that end."""
    centres = (np.arange(len(counts)) + 0.5) * width
    ends = centres + width / 2
    n, first, second = (_sum_after(counts * centres**power) for power in range(3))
    return np.asarray(second - 2 * ends * first + ends**2 * n).clip(min=0)


def _all_clipped(counts: npt.NDArray[np.int64], width: float) -> float:
    return float(np.sum(counts * ((np.arange(len(counts)) + 0.5) * width) ** 2))


def _sum_after(values: Floats) -> Floats:
    """For each element, the sum of those that follow it."""
    return np.concatenate([np.cumsum(values[::-1])[::-1][1:], [0.0]]) if len(values) else values


def _within(histogram: Histogram, threshold: float) -> Range:
    return max(-threshold, histogram.low), min(threshold, histogram.high)
