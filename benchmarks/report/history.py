"""A metric over all runs as one self-contained page: it opens offline, on a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecc.benchmarks.change_points import FALSE_ALARM_RATE, MIN_RUNS, ChangePoint, find_change_points
from edgecc.benchmarks.compare import growth
from edgecc.benchmarks.history import History, Line, Point
from edgecc.benchmarks.report.comparison import change_in_words
from edgecc.benchmarks.report.history_plot import PALETTE, Curve, Mark, draw_history, values_a_point
from edgecc.benchmarks.report.summary import NOTHING, plain
from edgecc.metrics import Metric
from edgecc.units import format_value

LAST_RUNS = 20
"""How many runs a plot's table lists one by one."""
_COMMIT_DIGITS = 12


@dataclass(frozen=True)
class Level:
    """A stretch of runs between two change points, as the table under a plot shows it."""

    mark: str
    """The change point that it begins with, as the plot names it; empty where it is a line's first."""
    environment: str
    since: str
    started: str
    commit: str
    runs: str
    median: str
    change: str
    answer: str
    """`better` or `worse`; empty where it is a line's first."""


@dataclass(frozen=True)
class Figure:
    """One artifact on one target: a drawing, and its values for those who cannot see it."""

    name: str
    svg: str
    caption: str
    legend: tuple[tuple[str, str], ...]
    """Colour and environment of every line."""
    levels: tuple[Level, ...]
    last: tuple[tuple[str, ...], ...]
    """Run, time, commit, value, interval and environment of the last runs, the newest first."""


def render_history(project: str, metric: Metric, history: History) -> str:
    """The page. Nothing in it comes from or goes to a network."""
    from jinja2 import Environment as Templates
    from jinja2 import PackageLoader, StrictUndefined

    templates = Templates(
        loader=PackageLoader("edgecc.benchmarks.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    groups: dict[tuple[str, str, str | None], list[Line]] = {}
    for line in history.lines:
        groups.setdefault((line.variant, line.format, line.target), []).append(line)
    figures = [_figure(lines, metric, f"plot{index}") for index, lines in enumerate(groups.values())]
    return templates.get_template("history.html.j2").render(
        project=project,
        metric=metric,
        figures=figures,
        runs=f"{len({point.run_id for line in history.lines for point in line.points}):,}",
        changes=sum(bool(level.mark) for figure in figures for level in figure.levels),
        notes=[plain(note) for note in history.notes],
        min_runs=MIN_RUNS,
        false_alarms=f"{100 * FALSE_ALARM_RATE:g} %",
    )


def _figure(lines: Sequence[Line], metric: Metric, name: str) -> Figure:
    first = lines[0]
    where = "" if first.target is None else f" on {first.target}"
    title = plain(f"{first.variant} ({first.format}){where}")
    runs = {point.run_id: point for line in lines for point in line.points}
    order = sorted(runs)
    places = {run_id: place for place, run_id in enumerate(order)}
    labels = _environments(lines)
    levels: list[Level] = []
    curves = []
    for line, label in zip(lines, labels, strict=True):
        found = find_change_points([point.value for point in line.points], exact=_is_exact(metric))
        marks = sum(bool(level.mark) for level in levels)
        own = _levels(line, found, metric, label, marks)
        levels += own
        curves.append(_curve(line, places, found, own[1:]))
    dates = [_date(runs[run_id]) for run_id in order]
    words = f"{metric.name} of {title} over {len(order):,} runs; the table below says the same."
    return Figure(
        name=title,
        svg=draw_history(curves, metric.unit, dates, name, f"{metric.name} of {title}", words),
        caption=_caption(lines, metric),
        legend=tuple((PALETTE[index % len(PALETTE)], label) for index, label in enumerate(labels)),
        levels=tuple(levels),
        last=tuple(_last_runs(lines, labels, metric)),
    )


def _is_exact(metric: Metric) -> bool:
    """Whether the same artifact gives the same value every time."""
    return not metric.device_only


def _levels(line: Line, found: Sequence[ChangePoint], metric: Metric, environment: str, marks: int) -> list[Level]:
    starts = [0, *(change.index for change in found)]
    stops = [*starts[1:], len(line.points)]
    medians = [float(np.median([point.value for point in line.points])), *(change.after for change in found)]
    if found:
        medians[0] = found[0].before
    levels = []
    for index, (start, stop, median) in enumerate(zip(starts, stops, medians, strict=True)):
        before = medians[index - 1] if index else None
        point = line.points[start]
        levels.append(
            Level(
                mark=str(marks + index) if index else "",
                environment=environment,
                since=plain(point.run_id),
                started=_date(point),
                commit=_commit(point),
                runs=f"{stop - start:,}",
                median=format_value(median, metric.unit),
                change=change_in_words(metric.unit, growth(metric.unit, before, median)) if index else "",
                answer="" if before is None else _answer(metric, before, median),
            )
        )
    return levels


def _answer(metric: Metric, before: float, after: float) -> str:
    if before == after:
        return ""
    return "better" if (after < before) == (metric.better == "lower") else "worse"


def _curve(line: Line, places: dict[str, int], found: Sequence[ChangePoint], levels: Sequence[Level]) -> Curve:
    at = [places[point.run_id] for point in line.points]
    marks = [
        Mark(at[change.index], level.mark, f"{level.change} since run {level.since}, commit {level.commit}")
        for change, level in zip(found, levels, strict=True)
    ]
    return Curve(
        places=np.asarray(at, np.float64),
        values=np.asarray([point.value for point in line.points], np.float64),
        lows=np.asarray([point.low for point in line.points], np.float64),
        highs=np.asarray([point.high for point in line.points], np.float64),
        marks=marks,
    )


def _date(point: Point) -> str:
    return plain(point.started_at[:10])


def _commit(point: Point) -> str:
    return plain(point.git_commit[:_COMMIT_DIGITS]) if point.git_commit else "unknown"


def _caption(lines: Sequence[Line], metric: Metric) -> str:
    count = max(len(line.points) for line in lines)
    parts = [f"{metric.meaning[:1].upper()}{metric.meaning[1:]}; the axis does not begin at zero."]
    if any(point.low is not None for line in lines for point in line.points):
        parts.append("Band: the 95 % interval of each run.")
    if (size := values_a_point(count)) > 1:
        parts.append(f"Drawn are the lowest and the highest of every {size} runs in a row; all were analysed.")
    short = [line for line in lines if len(line.points) < MIN_RUNS]
    if short and metric.wall_clock:
        parts.append(f"A line of fewer than {MIN_RUNS} runs is too short to tell a change from noise.")
    return " ".join(parts)


def _last_runs(lines: Sequence[Line], labels: Sequence[str], metric: Metric) -> Iterable[tuple[str, ...]]:
    runs = [(point, label) for line, label in zip(lines, labels, strict=True) for point in line.points[-LAST_RUNS:]]
    runs.sort(key=lambda each: each[0].run_id, reverse=True)
    for point, label in runs[:LAST_RUNS]:
        interval = NOTHING
        if point.low is not None and point.high is not None:
            interval = " to ".join(format_value(end, metric.unit) for end in (point.low, point.high))
        value = format_value(point.value, metric.unit)
        yield plain(point.run_id), plain(point.started_at), _commit(point), value, interval, label


def _environments(lines: Sequence[Line]) -> list[str]:
    """Each line's environment in words: what is always said, and what tells it from the others."""
    known = [line.conditions or {} for line in lines]
    differing = {name for one in known for name in one if len({str(other.get(name)) for other in known}) > 1}
    names = [name for one in known[:1] for name in one if name in differing or name in ("cpu_model", "runtime")]
    return [plain(_in_words(one, names)) if one else "" for one in known]


def _in_words(conditions: dict[str, Any], names: Sequence[str]) -> str:
    bare = ("cpu_model", "runtime", "machine")
    parts = [str(conditions[name]) if name in bare else f"{name} {conditions[name]}" for name in names]
    return ", ".join(parts)
