"""A histogram that grows with what it sees, and is the same whatever the order in which it sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 2048
"""At most so many in all, and never much fewer than half of them."""
_EXPONENT_OF_NOTHING = -1200
"""Below that of every float: any histogram is coarser."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values in bins of width 2^`exponent`, each from a multiple of the width to the next one.

    `counts[i]` counts the bin from (`first` + i) * width on. The bins always reach zero. Zeros themselves are counted
    apart: every quantized type holds zero exactly, so they say nothing about the range it should have.
    """

    exponent: int
    first: int
    counts: npt.NDArray[np.int64]
    zeros: int
    low: float
    """The least value, or 0."""
    high: float
    """The greatest value, or 0."""

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self.exponent)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Where bins begin and end; one more than there are bins."""
        return np.arange(self.first, self.first + len(self.counts) + 1, dtype=np.float64) * self.width

    @property
    def magnitudes(self) -> npt.NDArray[np.int64]:
        """Counts of absolute values, from zero on."""
        negative, positive = self.counts[: -self.first][::-1], self.counts[-self.first :]
        folded = np.zeros(max(len(negative), len(positive)), np.int64)
        folded[: len(negative)] += negative
        folded[: len(positive)] += positive
        return folded

    def merged(self, other: Histogram) -> Histogram:
        """The histogram of the values of both: exactly what `histogram_of` gives for all of them together."""
        low, high = min(self.low, other.low), max(self.high, other.high)
        exponent = _exponent(low, high)
        first, count = _span(low, high, exponent)
        counts = np.zeros(count, np.int64)
        for part in (self, other):
            counts += part._counted(exponent, first, count)
        return Histogram(exponent, first, counts, self.zeros + other.zeros, low, high)

    def _counted(self, exponent: int, first: int, count: int) -> npt.NDArray[np.int64]:
        shift = min(exponent - self.exponent, 62)
        indices = np.arange(self.first, self.first + len(self.counts), dtype=np.int64) >> shift
        counts = np.zeros(count, np.int64)
        np.add.at(counts, indices - first, self.counts)
        return counts


def histogram_of(values: npt.NDArray[Any]) -> Histogram:
    """The histogram of finite values, of any shape."""
    inner = values[values != 0].astype(np.float64)
    low, high = min(inner.min(initial=0.0), 0.0), max(inner.max(initial=0.0), 0.0)
    exponent = _exponent(low, high)
    first, count = _span(low, high, exponent)
    indices = np.floor(np.ldexp(inner, -exponent)).astype(np.int64)
    counts = np.bincount(indices - first, minlength=count).astype(np.int64)
    return Histogram(exponent, first, counts, int(values.size - inner.size), float(low), float(high))


def _exponent(low: float, high: float) -> int:
    """The least with which BINS bins reach from `low` to `high`. It never falls when the range grows."""
    if low == high:
        return _EXPONENT_OF_NOTHING
    exponent = math.frexp((high - low) / BINS)[1] - 1
    while _span(low, high, exponent)[1] > BINS:
        exponent += 1
    return exponent


def _span(low: float, high: float, exponent: int) -> tuple[int, int]:
    first, last = (math.floor(math.ldexp(value, -exponent)) for value in (low, high))
    return first, last - first + 1
