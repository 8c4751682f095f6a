"""`edgecc clean`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import project_argument


@click.command(epilog="\b\nExample:\n  edgecc clean examples/digits")
@project_argument
@click.option("--results", is_flag=True, help="Remove what was measured as well: results/ and report/.")
def clean(project: Path, results: bool) -> None:
    """Remove what edgecc wrote to build/ and .edgecc/; other files stay."""
    from edgecc import api

    for path in api.clean(project, results=results):
        click.echo(path)
