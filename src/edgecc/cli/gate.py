"""`edgecc gate`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import json_flag, project_argument


@click.command(epilog="\b\nExamples:\n  edgecc gate\n  edgecc gate examples/digits --json")
@project_argument
@json_flag
def gate(project: Path, as_json: bool) -> int:
    """Judge the last results against the budgets. Reads files only; what was not measured does not pass."""
    from edgecc import api
    from edgecc.benchmarks.gate import exit_code
    from edgecc.benchmarks.report.table import verdict_table
    from edgecc.cli.console import show

    judgement = api.gate(project)
    if as_json:
        click.echo(judgement.model_dump_json())
    else:
        show(verdict_table(judgement))
    return exit_code(judgement)
