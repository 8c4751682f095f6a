"""Results and verdicts as tables for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgecc.benchmarks.report.steps import (
    StepLine,
    compiled_lines,
    score_name,
    step_lines,
    unpaid,
    what_can_be_seen,
)
from edgecc.benchmarks.report.summary import (
    TIMES,
    SummaryRow,
    beside,
    footnotes,
    headline,
    judged,
    notes,
    plain,
    score_metric,
    status_in_words,
    summarize,
)
from edgecc.benchmarks.steps import PlannedStep
from edgecc.results import Judgement, Pays, Results, Status

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

_ANSWER_STYLES = {Pays.YES: "green", Pays.NO: "bold yellow", Pays.UNKNOWN: "", None: ""}
_STYLES = {Status.PASS: "green", Status.FAIL: "bold red", Status.INCONCLUSIVE: "yellow", Status.UNMEASURED: "yellow"}


def results_table(results: Results, judgement: Judgement | None) -> RenderableType:
    """A table for each target, and what failed or disturbed; in a narrow one, intervals stand below the latencies.

    Without a judgement the last column says whether there are numbers.
    """
    from rich.console import Group
    from rich.text import Text

    lines = summarize(results, judgement)
    targets = list(dict.fromkeys(line.target for line in lines))
    parts: list[RenderableType] = []
    for target in targets:
        own = [line for line in lines if line.target == target]
        parts += [Text(f"on {target}", style="bold")] if len(targets) > 1 else []
        columns = score_metric(results), "state" if judgement is None else "verdict"
        parts.append(_FirstThatFits((_target_table(own, *columns, beside), _target_table(own, *columns, _below))))
    parts += [Text(note, style="dim") for note in footnotes(results, TIMES)]
    return Group(*parts, *map(Text, notes(results)))


@dataclass(frozen=True)
class _FirstThatFits:
    """Tables of the same, the widest first: the first that is no wider than the terminal, or else the last."""

    tables: tuple[Table, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        limitless = options.update(max_width=10_000)
        fitting = (
            each for each in self.tables if console.measure(each, options=limitless).maximum <= options.max_width
        )
        yield next(fitting, self.tables[-1])


def _below(value: str, interval: str) -> str:
    return f"{value}\n{interval}" if interval else value


def _target_table(lines: list[SummaryRow], score: str, last: str, placed: Callable[[str, str], str]) -> Table:
    from rich.text import Text

    table = _table(["variant", "format"], ["size", "p50", "p90", score, "drop"], [last])
    for line in lines:
        times = placed(line.p50, line.p50_interval), placed(line.p90, line.p90_interval)
        cells = (line.variant, line.format, line.size, *times, line.score, line.drop)
        # Text and not str: a name with [brackets] is no markup.
        table.add_row(*map(Text, cells), Text(line.verdict, style=_STYLES[line.status] if line.status else ""))
    return table


def steps_table(results: Results) -> RenderableType | None:
    """What each compression step did on each target, and a sentence for each that does not pay; None without steps."""
    from rich.console import Group
    from rich.text import Text

    if not results.steps:
        return None
    lines = step_lines(results)
    score = score_name([step.record for step in results.steps], list(results.metrics))
    targets = list(dict.fromkeys(line.target for line in lines))
    parts: list[RenderableType] = []
    for target in targets:
        parts += [Text(f"steps on {target}", style="bold")] if len(targets) > 1 else []
        parts.append(_steps([line for line in lines if line.target == target], score, with_time=True))
    sentences = [*filter(None, [what_can_be_seen(results)]), *unpaid(results)]
    return Group(*parts, *map(Text, sentences))


def compiled_steps_table(steps: Sequence[PlannedStep], own_metrics: Sequence[str]) -> Table | None:
    """What each compression step did to what was compiled; None without steps."""
    if not steps:
        return None
    return _steps(compiled_lines(steps), score_name([step.record for step in steps], own_metrics), with_time=False)


def _steps(lines: list[StepLine], score: str, *, with_time: bool) -> Table:
    """Two lines a step, before and after, and a third for what is known of the difference."""
    from rich.text import Text

    numbers = ["size", "gzip -9", "zeros", score, *(["p50"] if with_time else [])]
    table = _table(["step", "artifact"], numbers, [])
    table.add_column("pays" if with_time else "what it does", overflow="fold", min_width=9)
    for line in lines:
        before, after = line.artifacts
        times = [("\n".join([*line.p50, line.interval]))] if with_time else []
        cells = [
            f"{line.kind}\n{line.format}", f"{before}\n→{after}", "\n".join(line.size), "\n".join(line.compressed),
            "\n".join(line.zeros), "\n".join([*line.score, line.p_value]).rstrip(), *times,
        ]  # fmt: skip
        table.add_row(*map(Text, cells), Text(line.answer, style=_ANSWER_STYLES[line.pays]))
    return table


def verdict_table(judgement: Judgement) -> RenderableType:
    """One line a verdict, then why something did not pass, what was left out, and the verdict on all."""
    from rich.console import Group
    from rich.text import Text

    table = _table(["verdict", "budget", "judged"], ["observed"], [])
    for verdict in judgement.verdicts:
        status = Text(status_in_words(verdict), style=_STYLES[verdict.status])
        budget = Text(plain(f"{verdict.metric} {verdict.limit}"))
        table.add_row(status, budget, Text(judged(verdict)), Text(verdict.observed))
    reasons = [verdict.reason for verdict in judgement.verdicts if verdict.status is not Status.PASS]
    why = [Text(plain(text)) for text in (*reasons, *(f"left out: {note}" for note in judgement.left_out))]
    summary = Text(headline(judgement), style=_STYLES[judgement.status])
    return Group(*([table] if judgement.verdicts else []), *why, summary)


def _table(names: list[str], numbers: list[str], last: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, overflow="fold", min_width=8 if name == "variant" else None)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in last:
        table.add_column(name, no_wrap=True)
    return table
