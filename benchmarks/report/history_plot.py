"""A metric over runs as SVG that stands inside a page: written by hand, since thousands of points must take no time."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgecc.units import Unit

Floats = npt.NDArray[np.float64]

# Readable on white and on near-black alike.
PALETTE = ("#2f7ed8", "#d9730d", "#1a9e77", "#c2468f", "#8c6bd6", "#a8841a", "#17a2b8", "#8a8a8a")
MOST_DRAWN = 600
"""Points of one line that a drawing of this width can show."""
_WIDTH, _HEIGHT = 720.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 72.0, 12.0, 20.0, 30.0
_MARK_GAP = 14.0
_SCALES = {
    Unit.SECONDS: (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)),
    Unit.BYTES: (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)),
    Unit.FRACTION: (("%", 0.01),),
    Unit.PER_SECOND: (("/s", 1.0),),
    Unit.COUNT: (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)),
    Unit.NUMBER: (("", 1.0),),
}


@dataclass(frozen=True)
class Mark:
    """A change point: before which place on the axis of runs, its name, and what a pointer on it is told."""

    place: int
    name: str
    title: str


@dataclass(frozen=True)
class Curve:
    """The values of one environment, at their places on the axis of runs: (n,) each; NaN where there is no interval."""

    places: Floats
    values: Floats
    lows: Floats
    highs: Floats
    marks: Sequence[Mark]


@dataclass(frozen=True)
class _Frame:
    """From runs and values to the drawing's own coordinates."""

    first: float
    last: float
    lowest: float
    highest: float

    def x(self, place: Floats | float) -> Floats:
        share = (np.asarray(place, np.float64) - self.first) / max(self.last - self.first, 1.0)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: Floats | float) -> Floats:
        share = (np.asarray(value, np.float64) - self.lowest) / (self.highest - self.lowest)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def draw_history(
    curves: Sequence[Curve], unit: Unit, dates: Sequence[str], name: str, title: str, description: str
) -> str:
    """An SVG element whose ids start with `name`.

    Args:
        curves: at least one, each with at least one value.
        unit: of the values.
        dates: of every place on the axis of runs.
        name: unique in the page.
        title: what a screen reader calls it.
        description: what a screen reader says in place of the drawing.
    """
    drawn = [_thinned(curve) for curve in curves]
    frame = _frame(drawn, len(dates))
    parts = [*_y_axis(frame, unit), *_x_axis(frame, dates)]
    for index, curve in enumerate(drawn):
        parts += _curve(frame, curve, PALETTE[index % len(PALETTE)])
    parts += _marks(frame, [mark for curve in curves for mark in curve.marks])
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-labelledby="{name}-title {name}-desc" '
        'font-size="11" fill="currentColor" stroke="none">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def values_a_point(count: int) -> int:
    """Of how many values in a row only the lowest and the highest are drawn; 1 where all are."""
    return 1 if count <= MOST_DRAWN else math.ceil(2 * count / MOST_DRAWN)


def _thinned(curve: Curve) -> Curve:
    """The lowest and the highest of every few values in a row, so that no single one is lost to the eye."""
    size = values_a_point(len(curve.values))
    if size == 1:
        return curve
    starts = range(0, len(curve.values), size)
    ends = [(start + curve.values[start : start + size].argmin(), start + curve.values[start : start + size].argmax())
            for start in starts]  # fmt: skip
    kept = np.unique(np.asarray(ends))
    group = kept // size
    lows = np.fmin.reduceat(curve.lows, starts)[group]
    highs = np.fmax.reduceat(curve.highs, starts)[group]
    return Curve(curve.places[kept], curve.values[kept], lows, highs, curve.marks)


def _frame(curves: Sequence[Curve], places: int) -> _Frame:
    all_values = np.concatenate([part for curve in curves for part in (curve.values, curve.lows, curve.highs)])
    lowest, highest = float(np.nanmin(all_values)), float(np.nanmax(all_values))
    margin = 0.06 * (highest - lowest) or 0.05 * abs(highest) or 1.0
    return _Frame(-0.5, places - 0.5, lowest - margin, highest + margin)


def _curve(frame: _Frame, curve: Curve, colour: str) -> Iterator[str]:
    has_interval = ~(np.isnan(curve.lows) | np.isnan(curve.highs))
    if has_interval.any():
        x, low, high = (part[has_interval] for part in (curve.places, curve.lows, curve.highs))
        outline = _path(frame, np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
        yield f'<polygon points="{outline}" fill="{colour}" fill-opacity="0.18"/>'
    yield (
        f'<polyline points="{_path(frame, curve.places, curve.values)}" fill="none" stroke="{colour}" '
        'stroke-width="1.4"/>'
    )
    if len(curve.values) <= 60:
        points = zip(frame.x(curve.places).tolist(), frame.y(curve.values).tolist(), strict=True)
        yield "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in points)


def _path(frame: _Frame, places: Floats, values: Floats) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(frame.x(places).tolist(), frame.y(values).tolist(), strict=True))


def _marks(frame: _Frame, marks: Sequence[Mark]) -> Iterator[str]:
    free = -math.inf
    for mark in sorted(marks, key=lambda each: each.place):
        x = float(frame.x(mark.place - 0.5))
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
        label = ""
        if x >= free:
            free = x + _MARK_GAP
            label = (
                f'<text x="{x:.1f}" y="{_TOP - 6}" text-anchor="middle" stroke="none">{html.escape(mark.name)}</text>'
            )
        yield (
            f'<g stroke="currentColor" stroke-dasharray="4 3"><title>{html.escape(mark.title)}</title>{line}{label}</g>'
        )


def _y_axis(frame: _Frame, unit: Unit) -> Iterator[str]:
    size = max(abs(frame.lowest), abs(frame.highest))
    suffix, scale = next((each for each in _SCALES[unit] if size >= each[1]), _SCALES[unit][-1])
    step = _step((frame.highest - frame.lowest) / scale)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    lowest, highest = frame.lowest / scale / step, frame.highest / scale / step
    for tick in (index * step for index in range(math.ceil(lowest), math.floor(highest) + 1)):
        y = float(frame.y(tick * scale))
        yield (
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            'stroke-opacity="0.18"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:,.{digits}f} {suffix}</text>'
        )


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten, which fits four to ten times into a span."""
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= rough * (1 + 1e-9))


def _x_axis(frame: _Frame, dates: Sequence[str]) -> Iterator[str]:
    places = np.unique(np.linspace(0, len(dates) - 1, min(5, len(dates))).round().astype(int)).tolist()
    shown = [place for before, place in pairwise([None, *places]) if before is None or dates[before] != dates[place]]
    for place in shown:
        x = float(frame.x(place))
        anchor = "end" if place == places[-1] and len(places) > 1 else "start" if place == 0 else "middle"
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{html.escape(dates[place])}</text>'
