"""Two runs side by side, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecc.benchmarks.compare import Answer, Comparison, MetricChange, RowChange
from edgecc.benchmarks.report.summary import NOTHING, plain
from edgecc.units import Unit, format_points, format_value

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_STYLES = {Answer.BETTER: "green", Answer.WORSE: "bold red", Answer.REFUSED: "yellow"}


def change_in_words(unit: Unit, change: float | None) -> str:
    """A change as `edgecc.benchmarks.compare.growth` gives it: in percent, of fractions in percentage points."""
    if change is None:
        return NOTHING
    if unit is Unit.FRACTION:
        return format_points(change)
    return f"{change:+.3g}" if unit is Unit.NUMBER else f"{100 * change:+.2f} %"


def comparison_table(comparison: Comparison) -> RenderableType:
    """A table for each artifact and target, why something cannot be told, and what only one of the runs has."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"{comparison.before} (before) and {comparison.after} (after)")]
    for row in comparison.rows:
        same = ": the same file" if row.same_artifact else ""
        parts += [Text(f"\n{plain(row.name)}{same}", style="bold"), _row_table(row), *map(Text, _reasons(row))]
    sentences = [*_one_sided(comparison), *comparison.notes]
    return Group(*parts, *([Text("")] if sentences else []), *(Text(plain(sentence)) for sentence in sentences))


def _row_table(row: RowChange) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", overflow="fold")
    for name in ("before", "after", "change", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    for change in row.metrics:
        values = [_value(change, value) for value in (change.before, change.after)]
        cells = [plain(change.metric), *values, change_in_words(change.unit, change.change), _interval(change)]
        table.add_row(*map(Text, cells), Text(change.answer, style=_STYLES.get(change.answer, "")))
    return table


def _value(change: MetricChange, value: float | None) -> str:
    return NOTHING if value is None else format_value(value, change.unit)


def _interval(change: MetricChange) -> str:
    ratio = change.ratio
    return "" if ratio is None else f"{100 * (ratio.low - 1):+.2f} to {100 * (ratio.high - 1):+.2f} %"


def _reasons(row: RowChange) -> Iterator[str]:
    """Each reason once, with the metrics that it holds for."""
    for reason in dict.fromkeys(change.reason for change in row.metrics if change.reason):
        metrics = [change.metric for change in row.metrics if change.reason == reason]
        yield plain(f"{', '.join(metrics)}: {reason}")


def _one_sided(comparison: Comparison) -> Iterator[str]:
    if not comparison.rows:
        yield "Nothing is in both runs."
    for names, run in ((comparison.only_before, comparison.before), (comparison.only_after, comparison.after)):
        if names:
            yield f"Only in {run}: {', '.join(names)}."
