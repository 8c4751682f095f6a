"""Why one artifact is larger or slower than another, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgecc.benchmarks.report.summary import NOTHING, plain
from edgecc.benchmarks.why import BY_PROFILER, FileWhy, OperatorChange, Span, Why, WhyReport
from edgecc.units import Unit, format_value

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 12
"""Operators with a row of their own; the rest is summed up."""

Cells = tuple[str, ...]


def why_report(report: WhyReport) -> RenderableType:
    """A table for each pair, and what was left out."""
    from rich.console import Group
    from rich.text import Text

    left_out = [Text(plain(f"Left out: {sentence}.")) for sentence in report.left_out]
    return Group(*(part for why in report.pairs for part in (why_table(why), Text(""))), *left_out)


def why_table(why: Why) -> RenderableType:
    """The operators with the largest changes, the sum of the others, what belongs to none, and the totals."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("operator", overflow="fold", min_width=16)
    for name in ("bytes", "after", "change", "µs", "after", "change")[: 7 if why.method else 3]:
        table.add_column(name, justify="right", no_wrap=True)
    for cells in why_cells(why):
        table.add_row(*map(Text, cells[: len(table.columns)]))
    names = f"{plain(why.before.path)} (before) and {plain(why.after.path)} (after)"
    return Group(Text(names), table, *(Text(plain(note)) for note in notes(why)))


def why_cells(why: Why) -> Iterator[Cells]:
    """One row each: name; bytes before, after and their change; µs before, after and their change."""
    for change in why.operators[:SHOWN]:
        yield _named(change), *_bytes(change.size_before_bytes, change.size_after_bytes), *_times(change)
    if others := why.operators[SHOWN:]:
        yield _others(others)
    yield "structure", *_bytes(why.before.structure_bytes, why.after.structure_bytes), "", "", ""
    before, after = why.before, why.after
    if before.outside_s is not None and after.outside_s is not None:
        outside = (_us(before.outside_s), _us(after.outside_s), _us_change(after.outside_s - before.outside_s))
        yield "outside the operators", "", "", "", *outside
    yield "all", *_bytes(before.size_bytes, after.size_bytes), *_whole_times(why)


def notes(why: Why) -> Iterator[str]:
    """How the times came about, and how far they can be trusted."""
    if why.unmeasured:
        yield f"Times of operators are unmeasured: {why.unmeasured}."
    if why.method is None:
        yield from _latencies(why)
        return
    yield f"Operators are timed {why.method}."
    yield f"~ marks a change that {why.processes} pairs of processes do not tell from none."
    spans = [span for change in why.operators for span in (change.time_before, change.time_after) if span is not None]
    if any(span.high < 0 for span in spans):
        yield "An operator below 0 is done together with a neighbour, whose time is too large by as much."
    if why.method == BY_PROFILER:
        for file, when in ((why.before, "Before"), (why.after, "After")):
            yield f"{when}: {_overhead(file, why, when)}"


def _latencies(why: Why) -> Iterator[str]:
    if why.before.latency is None or why.after.latency is None or why.latency_change is None:
        return
    before, after = (format_value(file.latency.value, Unit.SECONDS) for file in (why.before, why.after) if file.latency)
    yield f"An inference takes {before} before and {after} after, {_told(why.latency_change)} µs."


def _overhead(file: FileWhy, why: Why, when: str) -> str:
    assert file.latency is not None  # noqa: S101 - a method means times
    assert file.profiled is not None  # noqa: S101
    spans = [change.time_before if when == "Before" else change.time_after for change in why.operators]
    nodes = sum(span is not None and span.high > 0 for span in spans)
    factor = file.profiled.value / file.latency.value
    each_s = (file.profiled.value - file.latency.value) / max(1, nodes)
    without, within = (format_value(span.value, Unit.SECONDS) for span in (file.latency, file.profiled))
    return (
        f"an inference takes {without} without the profiler and {within} with it, {factor:.1f} times as long: "
        f"some {format_value(each_s, Unit.SECONDS)} for each operator that ran."
    )


def _named(change: OperatorChange) -> str:
    return plain(f"{change.layer or change.name} {change.kind}")


def _others(others: Sequence[OperatorChange]) -> Cells:
    sizes = _bytes(
        *(sum(getattr(each, key) or 0 for each in others) for key in ("size_before_bytes", "size_after_bytes"))
    )
    spans = [[each.time_before for each in others], [each.time_after for each in others]]
    before_s, after_s = (sum(span.value for span in side if span is not None) for side in spans)
    times = (_us(before_s), _us(after_s), _us_change(after_s - before_s))
    return f"{len(others)} others", *sizes, *times


def _bytes(before: int | None, after: int | None) -> Cells:
    return *(NOTHING if size is None else f"{size:,}" for size in (before, after)), f"{(after or 0) - (before or 0):+,}"


def _times(change: OperatorChange) -> Cells:
    spans = (change.time_before, change.time_after)
    return *(NOTHING if span is None else _us(span.value) for span in spans), _told(change.time_change)


def _whole_times(why: Why) -> Cells:
    wholes = [file.profiled or file.latency for file in (why.before, why.after)]
    if wholes[0] is None or wholes[1] is None:
        return NOTHING, NOTHING, NOTHING
    before, after = wholes[0], wholes[1]
    change = why.latency_change if why.before.profiled is None else None
    told = _us_change(after.value - before.value) if change is None else _told(change)
    return _us(before.value), _us(after.value), told


def _told(span: Span | None) -> str:
    if span is None:
        return NOTHING
    return _us_change(span.value) if span.is_told_from_zero else f"~{_us_change(span.value)}"


def _us(seconds: float) -> str:
    return f"{1e6 * seconds:,.{_digits(seconds)}f}"


def _us_change(seconds: float) -> str:
    return f"{1e6 * seconds:+,.{_digits(seconds)}f}"


def _digits(seconds: float) -> int:
    return 2 if abs(seconds) < 100e-6 else 0
