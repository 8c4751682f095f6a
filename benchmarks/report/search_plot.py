"""Recipes by what they cost and how good they are, as SVG that stands inside a page whose styles it uses."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgecc.benchmarks.report.axis import Axis
from edgecc.benchmarks.report.history_plot import PALETTE
from edgecc.metrics import Better
from edgecc.units import Unit

_WIDTH, _HEIGHT = 640.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 72.0, 16.0, 26.0, 44.0
_LINE = 14.0
"""From one line of words to the next."""
_RING, _DOT, _TICK = 8.0, 4.2, 10.0


@dataclass(frozen=True)
class Bound:
    """A budget: what lies beyond it is not allowed."""

    value: float
    words: str


@dataclass(frozen=True)
class Side:
    """What an axis shows."""

    name: str
    unit: Unit
    better: Better
    bounds: Sequence[Bound]
    """The smallest first."""


@dataclass(frozen=True)
class Dot:
    """One recipe."""

    x: float
    y: float | None
    """None where it was not trained: then it is a tick on the axis of the cost."""
    colour: int
    """Its place in the palette."""
    is_full: bool
    """Trained in full, and drawn filled."""
    on_front: bool
    name: str
    """Empty but for those that are marked: they have a ring, and their name beside it."""
    title: str
    """What a pointer on it is told."""


@dataclass(frozen=True)
class _Frame:
    across: Axis
    up: Axis

    @property
    def top(self) -> float:
        return self.up.end

    @property
    def bottom(self) -> float:
        return self.up.start


def draw_search(dots: Sequence[Dot], across: Side, up: Side, name: str, title: str, description: str) -> str:
    """An SVG element whose ids start with `name`.

    Args:
        dots: at least one, and at least one of them with a `y`.
        across: what the values of `x` are.
        up: what the values of `y` are.
        name: unique in the page.
        title: what a screen reader calls it.
        description: what a screen reader says in place of the drawing.
    """
    frame = _frame(dots, across, up)
    parts = [
        *_forbidden(frame, across, up), *_across(frame, across), *_up(frame, up), *_bound_lines(frame, across, up),
        *_bound_words(frame, across, up), *_ticks(frame, dots), *_front(frame, dots, across, up), *_dots(frame, dots),
        *_names(frame, dots),
    ]  # fmt: skip
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-labelledby="{name}-title {name}-desc" '
        'font-size="11" fill="currentColor" stroke="none">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _frame(dots: Sequence[Dot], across: Side, up: Side) -> _Frame:
    xs = [*(dot.x for dot in dots), *(bound.value for bound in across.bounds)]
    ys = [*(dot.y for dot in dots if dot.y is not None), *(bound.value for bound in up.bounds)]
    top = _TOP + _LINE * len(across.bounds)
    return _Frame(
        Axis.over(xs, across.unit, (_LEFT, _WIDTH - _RIGHT), may_be_logarithmic=True),
        Axis.over(ys, up.unit, (_HEIGHT - _BOTTOM, top), may_be_logarithmic=False),
    )


def _forbidden(frame: _Frame, across: Side, up: Side) -> Iterator[str]:
    for bound in across.bounds:
        x = frame.across.at(bound.value)
        left, right = (x, frame.across.end) if across.better == "lower" else (frame.across.start, x)
        yield _shade(left, right, frame.top, frame.bottom)
    for bound in up.bounds:
        y = frame.up.at(bound.value)
        top, bottom = (frame.top, y) if up.better == "lower" else (y, frame.bottom)
        yield _shade(frame.across.start, frame.across.end, top, bottom)


def _shade(left: float, right: float, top: float, bottom: float) -> str:
    return (
        f'<rect class="forbidden" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}"/>'
    )


def _across(frame: _Frame, side: Side) -> Iterator[str]:
    for x, text in frame.across.ticks():
        yield _line(x, x, frame.top, frame.bottom, 'stroke="currentColor" stroke-opacity="0.12"')
        yield _text(x, frame.bottom + 15, text, "middle")
    scale = ", logarithmic" if frame.across.is_logarithmic else ""
    yield _text(frame.across.start, _HEIGHT - 8, f"{_with_direction(side)}{scale}", "start")


def _up(frame: _Frame, side: Side) -> Iterator[str]:
    for y, text in frame.up.ticks():
        yield _line(_LEFT, frame.across.end, y, y, 'stroke="currentColor" stroke-opacity="0.18"')
        yield _text(_LEFT - 6, y + 4, text, "end")
    yield _text(4, 12, _with_direction(side), "start")


def _with_direction(side: Side) -> str:
    return f"{side.name} ({'less' if side.better == 'lower' else 'more'} is better)"


def _bound_lines(frame: _Frame, across: Side, up: Side) -> Iterator[str]:
    for index, bound in enumerate(across.bounds):
        x = frame.across.at(bound.value)
        yield _line(x, x, frame.top - 3 - _LINE * index, frame.bottom, 'class="bound"')
    for bound in up.bounds:
        y = frame.up.at(bound.value)
        yield _line(_LEFT, frame.across.end, y, y, 'class="bound"')


def _bound_words(frame: _Frame, across: Side, up: Side) -> Iterator[str]:
    """What limits the cost stands above the plot, a line each; what limits the other side, at its right."""
    for index, bound in enumerate(across.bounds):
        x = frame.across.at(bound.value)
        anchor = "end" if x > (frame.across.start + frame.across.end) / 2 else "start"
        yield _text(x, frame.top - 5 - _LINE * index, bound.words, anchor, 'class="bound-words halo"')
    places = _apart([frame.up.at(bound.value) - 4 for bound in up.bounds])
    for bound, place in zip(up.bounds, places, strict=True):
        yield _text(frame.across.end - 4, place, bound.words, "end", 'class="bound-words halo"')


def _ticks(frame: _Frame, dots: Sequence[Dot]) -> Iterator[str]:
    for dot in dots:
        if dot.y is None:
            x, colour = frame.across.at(dot.x), PALETTE[dot.colour % len(PALETTE)]
            line = _line(x, x, frame.bottom - _TICK, frame.bottom, f'stroke="{colour}" stroke-width="2.5"')
            yield _told(dot, line)


def _front(frame: _Frame, dots: Sequence[Dot], across: Side, up: Side) -> Iterator[str]:
    """A line through those that nothing else is better than in these two: other costs make the front wider."""
    corners = list(_outermost(dots, across, up))
    if len(corners) > 1:
        points = " ".join(f"{frame.across.at(x):.1f},{frame.up.at(y):.1f}" for x, y in corners)
        yield f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-opacity="0.5" stroke-width="1.4"/>'


def _outermost(dots: Sequence[Dot], across: Side, up: Side) -> Iterator[tuple[float, float]]:
    x_sign, y_sign = (1 if side.better == "lower" else -1 for side in (across, up))
    least = float("inf")
    for x, y in sorted((x_sign * dot.x, y_sign * dot.y) for dot in dots if dot.on_front and dot.y is not None):
        if y < least:
            least = y
            yield x_sign * x, y_sign * y


def _dots(frame: _Frame, dots: Sequence[Dot]) -> Iterator[str]:
    for dot in sorted(dots, key=lambda each: (each.is_full, each.on_front, bool(each.name))):
        if dot.y is not None:
            yield _told(dot, _circles(dot, frame.across.at(dot.x), frame.up.at(dot.y)))


def _circles(dot: Dot, x: float, y: float) -> str:
    colour = PALETTE[dot.colour % len(PALETTE)]
    opacity = 1 if dot.on_front or not dot.is_full else 0.45
    # A hollow one is filled with nothing that can be seen, so that a pointer finds its middle too.
    fill = f'fill="{colour}" fill-opacity="{opacity if dot.is_full else 0}"'
    circle = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_DOT}" {fill} stroke="{colour}" stroke-opacity="{opacity}" '
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RING}" fill="none" stroke="currentColor" stroke-width="1.6"/>'
    return f'{circle}stroke-width="1.6"/>{ring if dot.name else ""}'


def _names(frame: _Frame, dots: Sequence[Dot]) -> Iterator[str]:
    named = [(frame.across.at(dot.x), frame.up.at(dot.y), dot.name) for dot in dots if dot.name and dot.y is not None]
    for (x, _, name), y in zip(named, _apart([y + 4 for _, y, _ in named]), strict=True):
        is_left = x > frame.across.start + 0.65 * (frame.across.end - frame.across.start)
        yield _text(x + (-12 if is_left else 12), y, name, "end" if is_left else "start", 'class="name halo"')


def _apart(places: Sequence[float]) -> list[float]:
    """The places of lines of words, each moved up as far as the one below it needs."""
    free, moved = float("inf"), list(places)
    for index in sorted(range(len(places)), key=lambda each: -places[each]):
        moved[index] = min(places[index], free)
        free = moved[index] - _LINE
    return moved


def _told(dot: Dot, drawing: str) -> str:
    return f"<g><title>{html.escape(dot.title)}</title>{drawing}</g>"


def _line(x1: float, x2: float, y1: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" {style}/>'


def _text(x: float, y: float, words: str, anchor: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {style}>{html.escape(words)}</text>'
