"""`edgecc report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import project_argument


@click.command(epilog="\b\nExample:\n  edgecc report examples/digits && xdg-open examples/digits/report/index.html")
@project_argument
def report(project: Path) -> None:
    """Write the last results and verdicts: report/index.html, summary.md, junit.xml and verdict.json."""
    from edgecc import api

    for file in api.report(project):
        click.echo(file)
