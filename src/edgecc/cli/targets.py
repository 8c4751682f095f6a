"""`edgecc targets`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgecc.cli.options import json_flag, project_argument


@click.command(epilog="\b\nExample:\n  edgecc targets examples/digits")
@project_argument
@json_flag
def targets(project: Path, as_json: bool) -> int:
    """Say which targets answer here, and why the others do not. Exits 3 if one does not."""
    from rich.table import Table

    from edgecc import api
    from edgecc.cli.console import show
    from edgecc.errors import ExitCode

    answers = api.list_targets(project)
    if as_json:
        click.echo(json.dumps([answer.model_dump(mode="json") for answer in answers]))
    else:
        table = Table("target", "kind", "answers", "what")
        for answer in answers:
            table.add_row(answer.name, answer.kind, "yes" if answer.environment else "no", answer.in_words())
        show(table)
    return ExitCode.PASSED if all(answer.environment for answer in answers) else ExitCode.UNDECIDED
