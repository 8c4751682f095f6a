"""`edgecc init`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import project_argument


@click.command(epilog="\b\nExamples:\n  edgecc init my-project\n  edgecc run my-project")
@project_argument
def init(project: Path) -> None:
    """Write a project to start from: it runs as it is."""
    from edgecc import api

    for file in api.init(project):
        click.echo(file)
    click.echo(f"next: edgecc run {project}", err=True)
