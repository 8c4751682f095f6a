"""`edgecc baseline`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, project_argument

if TYPE_CHECKING:
    from edgecc.benchmarks.baseline import Baseline

_EXAMPLES = """\b
Examples:
  edgecc baseline set
  edgecc baseline show examples/digits
"""


@click.group(epilog=_EXAMPLES)
def baseline() -> None:
    """Keep a release that passed, for regressions to be judged against: baseline/, to be committed."""


@baseline.command("set", epilog="\b\nExample:\n  edgecc run && edgecc baseline set && git add baseline")
@project_argument
def set_baseline(project: Path) -> None:
    """Make the last results the baseline, with the artifacts that were measured. Only what passed every budget.

    Where there is no baseline yet, budgets with max_regression are not judged.
    """
    from edgecc import api

    made = api.set_baseline(project)
    click.echo(made.folder)
    click.echo(f"{_in_words(made)}; commit this folder", err=True)


@baseline.command("show", epilog="\b\nExamples:\n  edgecc baseline show\n  edgecc baseline show examples/digits --json")
@project_argument
@json_flag
def show_baseline(project: Path, as_json: bool) -> None:
    """Show the baseline, once all of its files are found unchanged."""
    from edgecc import api
    from edgecc.benchmarks.baseline import read_baseline
    from edgecc.benchmarks.report.table import results_table
    from edgecc.cli.console import show
    from edgecc.errors import ArtifactError

    folder = api.open_project(project)
    found = read_baseline(folder)
    if found is None:
        hint = "edgecc baseline set makes one of a run that passed"
        raise ArtifactError(f"{folder.baseline}: no such folder: there is no baseline yet", hint=hint)
    if as_json:
        parts = {"baseline": found.record, "results": found.results, "verdict": found.judgement}
        click.echo(json.dumps({name: part.model_dump(mode="json") for name, part in parts.items()}))
    else:
        show(results_table(found.results, found.judgement))
        click.echo(_in_words(found))


def _in_words(baseline: Baseline) -> str:
    record = baseline.record
    commit = record.git_commit[:12] if record.git_commit else "unknown"
    return f"run {record.run_id}, commit {commit}, baseline since {record.created_at}"
