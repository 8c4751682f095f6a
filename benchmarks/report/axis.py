"""An axis of a plot that is written by hand: where a value lies on it, and its round numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgecc.units import Unit, format_value

WIDE_RANGE = 8
"""Where the largest value is more than this many times the smallest, a logarithmic axis shows more."""
_MARGIN = 0.06
_MOST_TICKS = 8
_FEW_DECADES = 1000
_MOST_EXTRA_DIGITS = 12


@dataclass(frozen=True)
class Axis:
    """From values to the drawing's own coordinates, on one axis."""

    low: float
    high: float
    """The ends in the metric's base unit; of a logarithmic axis, their logarithms to base 10."""
    start: float
    end: float
    """Where they lie in the drawing."""
    unit: Unit
    is_logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], unit: Unit, ends: tuple[float, float], *, may_be_logarithmic: bool) -> Axis:
        """An axis that shows all of these values, at least one, with some room around them."""
        is_wide = min(values) > 0 and max(values) > WIDE_RANGE * min(values)
        is_logarithmic = may_be_logarithmic and is_wide
        low, high = (math.log10(end) if is_logarithmic else end for end in (min(values), max(values)))
        margin = _MARGIN * (high - low) or 0.05 * abs(high) or 1.0
        return cls(low - margin, high + margin, *ends, unit, is_logarithmic)

    def at(self, value: float) -> float:
        """Where a value lies in the drawing."""
        share = ((math.log10(value) if self.is_logarithmic else value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers: where each lies in the drawing, and how it is written."""
        values = self._round_numbers()
        return list(zip(map(self.at, values), _written(values, self.unit), strict=True))

    def _round_numbers(self) -> list[float]:
        from matplotlib.ticker import LogLocator, MaxNLocator

        if self.is_logarithmic:
            low, high = 10**self.low, 10**self.high
            found = LogLocator(subs=(1.0, 2.0, 5.0) if high < _FEW_DECADES * low else (1.0,)).tick_values(low, high)
        else:
            low, high = self.low, self.high
            found = MaxNLocator(_MOST_TICKS, steps=[1, 2, 5, 10]).tick_values(low, high)
        return [float(value) for value in found if low <= value <= high]


def _written(values: Sequence[float], unit: Unit) -> list[str]:
    """With as few digits as tell them apart."""
    for extra in range(_MOST_EXTRA_DIGITS):
        texts = [_tidy(format_value(value, unit, extra)) if value else "0" for value in values]
        if len(set(texts)) == len(texts):
            return texts
    return [repr(value) for value in values]


def _tidy(text: str) -> str:
    """Without zeros that say nothing: `20 kB` for `20.0 kB`."""
    return re.sub(r"\.(\d*?)0+(?= |$)", lambda digits: f".{digits[1]}" if digits[1] else "", text)
