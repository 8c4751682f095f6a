"""Plots as SVG that stands inside a page: no fonts, no scripts, no addresses, colours that follow light and dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from edgecc.benchmarks.report.layers import sqnr
from edgecc.benchmarks.report.summary import EMULATED_MARK, beside, interval, plain, score_metric, shown
from edgecc.benchmarks.report.trials import Tuning
from edgecc.metrics import Metric
from edgecc.results import ArtifactLayers, ProcessSample, Results, Row
from edgecc.units import Unit, format_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Readable on white and on near-black alike.
_PALETTE = ("#2f7ed8", "#d9730d", "#1a9e77", "#c2468f", "#8c6bd6", "#a8841a", "#17a2b8", "#8a8a8a")
_MARKERS = ("o", "s", "^", "D")
# Stands for the page's text colour while matplotlib draws.
_INK = "#010203"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgecc",
    "text.parse_math": False,
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
_BOX: dict[str, Any] = {
    "orientation": "horizontal",
    "whis": (1, 99),
    "showfliers": False,
    "widths": 0.5,
    **{f"{part}props": {"color": _INK} for part in ("box", "whisker", "cap", "median")},
}
_WIDE_RANGE = 20
_INTERVAL_NOTE = "with its 95 % interval where there is one"
_BINS = 40


@dataclass(frozen=True)
class Plot:
    """A drawing, its name, and the sentence under it."""

    svg: str
    title: str
    caption: str


def plots(results: Results, tuning: Tuning | None) -> list[Plot]:
    """The frontier, the latencies and the processes of each target, then the tuning's trials, where there are any."""
    drawn = []
    metric = results.all_metrics[score_metric(results)]
    for index, target in enumerate(dict.fromkeys(row.target for row in results.variant_rows)):
        rows = [row for row in results.variant_rows if row.target == target and "latency.p50" in row.estimates]
        if rows:
            drawn += [_frontier(rows, metric, f"frontier{index}"), _latencies(rows, metric.name, f"latency{index}")]
            drawn.append(_processes(rows, f"process{index}"))
    has_scores = tuning is not None and any(trial.score is not None for trial in tuning.trials)
    return [*drawn, _trials(tuning)] if tuning is not None and has_scores else drawn


def _frontier(rows: Sequence[Row], metric: Metric, name: str) -> Plot:
    target = _clock(rows[0])
    caption = (
        f"Size, p50 latency ({_INTERVAL_NOTE}) and {metric.name} on {target}. Filled: nothing else here is as small, "
        "as fast and as good. Hollow: something else is at least as good in all three and better in one."
    )
    with _figure(2.8 + 0.11 * len(rows)) as (figure, axes):
        for index, row in enumerate(rows):
            hollow = any(_dominates(other, row, metric) for other in rows)
            _mark(axes, row, metric.name, index, hollow=hollow)
        axes.set_xlabel("size (kB)")
        axes.set_ylabel(f"p50 latency ({_unit(rows)[0]})")
        axes.margins(0.15)  # before the limits, which stop matplotlib from choosing any more
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
        axes.xaxis.set_major_formatter(_in_units_of(1e3))
        axes.yaxis.set_major_formatter(_in_units_of(_unit(rows)[1]))
        words = _points_in_words(rows, metric.name)
        return _plot(figure, name, f"Size against latency on {target}", words, caption)


def _mark(axes: Axes, row: Row, metric: str, index: int, *, hollow: bool) -> None:
    colour = _PALETTE[index % len(_PALETTE)]
    x, y = row.estimates["size"].value, row.estimates["latency.p50"].value
    face = "none" if hollow else colour
    marker = _MARKERS[index // len(_PALETTE) % len(_MARKERS)]
    score = f", {shown(row, metric)}" if metric in row.estimates else ""
    style: dict[str, Any] = {"markeredgecolor": colour, "markerfacecolor": face, "markeredgewidth": 2, "markersize": 9}
    axes.plot([x], [y], marker, label=_label(row) + score, **style)
    if ends := _interval(row):
        axes.plot([x, x], ends, "_-", color=colour, markersize=7)


def _in_units_of(scale: float) -> Callable[[float, float], str]:
    return lambda value, _position: f"{value / scale:g}"


def _dominates(other: Row, row: Row, metric: Metric) -> bool:
    """At least as good in size, latency and the score, and better in one."""
    pairs = list(zip(_costs(other, metric), _costs(row, metric), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _costs(row: Row, metric: Metric) -> tuple[float, float, float]:
    score = row.estimates.get(metric.name)
    lost = float("inf") if score is None else score.value if metric.better == "lower" else -score.value
    return row.estimates["size"].value, row.estimates["latency.p50"].value, lost


def _latencies(rows: Sequence[Row], metric: str, name: str) -> Plot:
    target, (unit, scale) = _clock(rows[0]), _unit(rows)
    caption = (
        f"Latency of single inferences on {target}. Box: the middle half, with the median; whiskers: 1 % to 99 %; "
        f"dots: the median of each process; beneath the box: the p50 {_INTERVAL_NOTE}."
    )
    values = [[value / scale for process in row.processes for value in process.latencies_s] for row in rows]
    with _figure(1.1 + 0.42 * len(rows)) as (figure, axes):
        axes.boxplot(values, tick_labels=list(map(_label, rows)), **_BOX)
        for index, row in enumerate(rows):
            medians = [median(process.latencies_s) / scale for process in row.processes if process.latencies_s]
            axes.plot(medians, [index + 1] * len(medians), "o", color=_PALETTE[index % len(_PALETTE)], alpha=0.8)
            ends = [end / scale for end in _interval(row)]
            axes.plot(ends, [index + 1.38] * len(ends), "|-", color=_PALETTE[index % len(_PALETTE)], markersize=7)
        axes.invert_yaxis()
        axes.set_xlabel(f"latency ({unit})")
        axes.grid(axis="x", alpha=0.25)
        if max(map(max, values)) > _WIDE_RANGE * min(map(min, values)):
            _make_logarithmic(axes)
        return _plot(figure, name, f"Latencies on {target}", _points_in_words(rows, metric), caption)


def _processes(rows: Sequence[Row], name: str) -> Plot:
    """A panel for each row, with the distribution of each of its processes in the order in which they ran."""
    target = _clock(rows[0])
    caption = (
        f"The middle 95 % of the latencies of each process on {target}: a band for each process, the first on top, "
        "with a line at its median. Each artifact has a scale of its own."
    )
    counts = [len(row.processes) for row in rows]
    with _figures(sum(0.75 + 0.2 * count for count in counts), counts) as (figure, panels):
        for index, (row, axes) in enumerate(zip(rows, panels, strict=True)):
            _bands(axes, row, _PALETTE[index % len(_PALETTE)])
        words = " ".join(f"{_label(row)}: {_processes_in_words(row)}." for row in rows)
        return _plot(figure, name, f"Latencies of each process on {target}", words, caption)


def _bands(axes: Axes, row: Row, colour: str) -> None:
    unit, scale = _unit([row])
    values = [np.asarray(process.latencies_s) / scale for process in row.processes]
    cores = [np.sort(each)[len(each) // 40 : len(each) - len(each) // 40] for each in values]
    low, high = min(core[0] for core in cores), max(core[-1] for core in cores)
    margin = 0.02 * (high - low) or 0.01 * high
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    densities = [np.histogram(core, edges)[0] / len(core) for core in cores]
    full = max(map(np.max, densities))
    for place, (each, density) in enumerate(zip(values, densities, strict=True), start=1):
        band = place + 0.45 - 0.85 * density / full
        axes.stairs(band, edges, baseline=place + 0.45, fill=True, color=colour, alpha=0.75)
        axes.plot([np.median(each)] * 2, [place - 0.4, place + 0.45], color=_INK, linewidth=1)
    axes.set_yticks(range(1, len(values) + 1))
    axes.set_ylim(len(values) + 0.55, 0.5)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_title(f"{_label(row)}: processes, latency ({unit})", fontsize=10, loc="left")
    axes.grid(axis="x", alpha=0.25)


def _processes_in_words(row: Row) -> str:
    return "; ".join(f"process {place}: {_spread(process)}" for place, process in enumerate(row.processes, start=1))


def _spread(process: ProcessSample) -> str:
    low, middle, high = np.quantile(process.latencies_s, [0.025, 0.5, 0.975]).tolist()
    return f"median {_time(middle)}, the middle 95 % from {_time(low)} to {_time(high)}"


def _time(value: float) -> str:
    return format_value(value, Unit.SECONDS)


def _interval(row: Row) -> list[float]:
    """The ends of the p50's interval; none where it has none."""
    p50 = row.estimates["latency.p50"]
    return [end for end in (p50.low, p50.high) if end is not None]


def _make_logarithmic(axes: Axes) -> None:
    """Label it 1, 2, 5, 10, ...: matplotlib's own labels are formulas, which an SVG's text cannot show."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(_in_units_of(1))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _trials(tuning: Tuning) -> Plot:
    scores = {trial.id: trial.score for trial in tuning.trials if trial.score is not None}
    failed = [trial.id for trial in tuning.trials if trial.score is None]
    objective = plain(tuning.objective)
    words = f"{objective} of {len(scores)} trials, from {min(scores.values()):.4f} to {max(scores.values()):.4f}. "
    words += f"Filled: trial {plain(tuning.best)}, whose hyperparameters were taken."
    words += f" Not shown: {len(failed)} that failed." if failed else ""
    with _figure(2.6) as (figure, axes):
        for number, (trial, score) in enumerate(scores.items()):
            face = _PALETTE[0] if trial == tuning.best else "none"
            axes.plot([number], [score], "o", markeredgecolor=_PALETTE[0], markerfacecolor=face, markeredgewidth=2)
        axes.set_xticks(range(len(scores)), scores)
        axes.set_xlabel("trial")
        axes.set_ylabel(objective)
        axes.grid(alpha=0.25)
        return _plot(figure, "trials", f"{objective} of each tuning trial", words, words)


def layer_plot(artifact: ArtifactLayers, name: str) -> Plot:
    """Each layer's SQNR as a bar, the worst first; hollow where it was kept in float."""
    of, layers = plain(f"{artifact.variant} ({artifact.format})"), artifact.worst_first()
    full = max([1.0, *(layer.sqnr_db for layer in layers if layer.sqnr_db is not None)])
    caption = (
        f"Signal-to-quantization-noise ratio of each layer of {of}, the worst first. Hollow: kept in float, so that "
        "its error is that of its inputs."
    )
    words = "; ".join(f"{plain(layer.layer)}: {sqnr(layer)}" for layer in layers) + "."
    with _figure(0.9 + 0.24 * len(layers)) as (figure, axes):
        for index, layer in enumerate(layers):
            length = full if layer.sqnr_db is None else layer.sqnr_db
            face = "none" if layer.kept else _PALETTE[0]
            axes.barh([index], [length], height=0.6, edgecolor=_PALETTE[0], color=face, linewidth=1.5)
            place = (max(length, 0.0), index)
            axes.annotate(sqnr(layer), place, (4, 0), textcoords="offset points", va="center", size=8)
        axes.set_yticks(range(len(layers)), [plain(layer.layer) for layer in layers])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlabel("SQNR (dB)")
        axes.grid(axis="x", alpha=0.25)
        return _plot(figure, name, f"Error of each layer of {of}", words, caption)


def _label(row: Row) -> str:
    return plain(f"{row.variant} ({row.format})")


def _clock(row: Row) -> str:
    return plain(row.target) + (f" ({EMULATED_MARK} emulated clock)" if row.emulated else "")


def _unit(rows: Sequence[Row]) -> tuple[str, float]:
    largest = max(row.estimates["latency.p50"].value for row in rows)
    return next(((unit, scale) for unit, scale in (("s", 1.0), ("ms", 1e-3)) if largest >= scale), ("µs", 1e-6))


def _points_in_words(rows: Sequence[Row], metric: str) -> str:
    """What a screen reader says in place of the drawing."""
    points = [
        f"{_label(row)}: size {shown(row, 'size')}, p50 {_in_full(row, 'latency.p50')}, "
        f"{metric} {_in_full(row, metric)}"
        for row in rows
    ]
    return "; ".join(points) + "."


def _in_full(row: Row, metric: str) -> str:
    return beside(shown(row, metric), interval(row, metric))


@contextmanager
def _figure(height_inches: float) -> Iterator[tuple[Figure, Axes]]:
    with _figures(height_inches, [1]) as (figure, [axes]):
        yield figure, axes


@contextmanager
def _figures(height_inches: float, heights: Sequence[float]) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with axes one above the other, of these heights in proportion."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, height_inches), layout="constrained")
        panels = figure.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0].tolist()
        for axes in panels:
            axes.spines[["top", "right"]].set_visible(False)
        yield figure, panels


def _plot(figure: Figure, name: str, title: str, description: str, caption: str) -> Plot:
    """The figure as an SVG element whose ids start with `name`, so that several can stand in one page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    # Without matplotlib's own head, document type and style sheet: these would speak for the whole page.
    body = buffer.getvalue().partition("</style>\n </defs>")[2]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-").replace(_INK, "currentColor")
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{html.escape(title)}</title><desc id="{name}-desc">{html.escape(description)}</desc>'
    )
    return Plot(head + body, title, caption)
