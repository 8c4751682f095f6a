"""A suite as tables for a terminal: one for each target with each of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecc.benchmarks.report.summary import plain
from edgecc.benchmarks.report.table import results_table
from edgecc.benchmarks.suite import SuiteRow, SuiteRun
from edgecc.results import Results

if TYPE_CHECKING:
    from rich.console import RenderableType


def suite_table(run: SuiteRun) -> RenderableType:
    """The rows that came to measuring, a sentence for each of the others, and how many of what there are."""
    from rich.console import Group
    from rich.text import Text

    results = _as_one(run)
    never_measured = [
        f"{_place(row, run, row.artifact)}: {plain(row.cause or '')}" for row in run.rows if row.results is None
    ]
    table = [] if results is None else [results_table(results, None)]
    return Group(*table, *map(Text, never_measured), Text(_counts(run)))


def _as_one(run: SuiteRun) -> Results | None:
    """The results of all rows as if one bench had made them, each settings on a target of its own."""
    measured = [(row, row.results) for row in run.rows if row.results is not None]
    if not measured:
        return None
    rows = [
        result.model_copy(update={"target": _place(row, run)}) for row, results in measured for result in results.rows
    ]
    samples = max(results.evaluation_samples for _, results in measured)
    return measured[0][1].model_copy(update={"rows": tuple(rows), "evaluation_samples": samples})


def _place(row: SuiteRow, run: SuiteRun, artifact: str = "") -> str:
    has_choice = len({each.settings for each in run.rows}) > 1
    place = f"{row.target} with {row.settings}" if has_choice else row.target
    return f"{artifact} on {place}" if artifact else place


def _counts(run: SuiteRun) -> str:
    kept = sum(row.kept for row in run.rows)
    failed = sum(row.cause is not None for row in run.rows)
    parts = {"measured": len(run.rows) - kept - failed, "kept from before": kept, "without numbers": failed}
    listed = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    return f"{len(run.rows)} row{'' if len(run.rows) == 1 else 's'}: {listed}"
