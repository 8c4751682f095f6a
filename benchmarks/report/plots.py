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

from edgecc.benchmarks.report.layers import sqnr
from edgecc.benchmarks.report.summary import EMULATED_MARK, plain, score_metric, shown
from edgecc.benchmarks.report.trials import Tuning
from edgecc.metrics import Metric
from edgecc.results import ArtifactLayers, Results, Row

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


@dataclass(frozen=True)
class Plot:
    """A drawing, its name, and the sentence under it."""

    svg: str
    title: str
    caption: str


def plots(results: Results, tuning: Tuning | None) -> list[Plot]:
    """The frontier and the latencies of each target, then the tuning's trials, where there are such values."""
    drawn = []
    metric = results.all_metrics[score_metric(results)]
    for index, target in enumerate(dict.fromkeys(row.target for row in results.variant_rows)):
        rows = [row for row in results.variant_rows if row.target == target and "latency.p50" in row.estimates]
        if rows:
            drawn += [_frontier(rows, metric, f"frontier{index}"), _latencies(rows, metric.name, f"latency{index}")]
    has_scores = tuning is not None and any(trial.score is not None for trial in tuning.trials)
    return [*drawn, _trials(tuning)] if tuning is not None and has_scores else drawn


def _frontier(rows: Sequence[Row], metric: Metric, name: str) -> Plot:
    target = _clock(rows[0])
    caption = (
        f"Size, latency and {metric.name} on {target}. Filled: nothing else here is as small, as fast and as good. "
        "Hollow: something else is at least as good in all three and better in one."
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
        "dots: the median of each process."
    )
    values = [[value / scale for process in row.processes for value in process.latencies_s] for row in rows]
    with _figure(1.1 + 0.42 * len(rows)) as (figure, axes):
        axes.boxplot(values, tick_labels=list(map(_label, rows)), **_BOX)
        for index, row in enumerate(rows):
            medians = [median(process.latencies_s) / scale for process in row.processes if process.latencies_s]
            axes.plot(medians, [index + 1] * len(medians), "o", color=_PALETTE[index % len(_PALETTE)], alpha=0.8)
        axes.invert_yaxis()
        axes.set_xlabel(f"latency ({unit})")
        axes.grid(axis="x", alpha=0.25)
        if max(map(max, values)) > _WIDE_RANGE * min(map(min, values)):
            _make_logarithmic(axes)
        return _plot(figure, name, f"Latencies on {target}", _points_in_words(rows, metric), caption)


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
        f"{_label(row)}: size {shown(row, 'size')}, p50 {shown(row, 'latency.p50')}, {metric} {shown(row, metric)}"
        for row in rows
    ]
    return "; ".join(points) + "."


@contextmanager
def _figure(height_inches: float) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, height_inches), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


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
