"""`edgecc targets`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgecc.cli.options import json_flag, project_argument


@click.command(
    epilog="\b\nExamples:\n  edgecc targets examples/digits\n"
    "  edgecc targets --setup pi\n  edgecc targets --clean-up pi"
)
@project_argument
@click.option("--setup", "set_up", multiple=True, metavar="NAME", help="Bring there what it lacks; may be repeated.")
@click.option("--clean-up", multiple=True, metavar="NAME", help="Remove what --setup brought; may be repeated.")
@json_flag
def targets(project: Path, set_up: tuple[str, ...], clean_up: tuple[str, ...], as_json: bool) -> int:
    """Say which targets answer here, and why the others do not. Exits 3 if one does not."""
    from rich.table import Table

    from edgecc import api
    from edgecc.cli.console import TerminalProgress, show
    from edgecc.errors import ExitCode

    if set_up and clean_up:
        raise click.UsageError("expected --setup or --clean-up; got both")
    if clean_up:
        api.clean_up_targets(project, clean_up)
        return ExitCode.PASSED
    if set_up:
        with TerminalProgress() as progress:
            answers = api.set_up_targets(project, set_up, progress)
    else:
        answers = api.list_targets(project)
    if as_json:
        click.echo(json.dumps([answer.model_dump(mode="json") for answer in answers]))
    else:
        table = Table("target", "kind", "answers", "what")
        for answer in answers:
            table.add_row(answer.name, answer.kind, "yes" if answer.environment else "no", answer.in_words())
        show(table)
    return ExitCode.PASSED if all(answer.environment for answer in answers) else ExitCode.UNDECIDED
