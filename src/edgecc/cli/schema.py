"""`edgecc schema`."""

from __future__ import annotations

import json

import click

FILES = ("project", "manifest", "results", "verdict", "baseline", "release", "lint", "search")


@click.command(epilog="\b\nExamples:\n  edgecc schema > edgecc.schema.json\n  edgecc schema results")
@click.argument("file", type=click.Choice(FILES), default="project")
def schema(file: str) -> None:
    """Print the JSON Schema of a file: the project's, or one of those that edgecc writes."""
    from edgecc import api

    click.echo(json.dumps(api.schemas()[file], indent=2))
