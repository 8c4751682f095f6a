"""`edgecc schema`."""

from __future__ import annotations

import json

import click

FILES = ("project", "manifest", "results", "verdict", "baseline", "release", "lint")


@click.command(epilog="\b\nExamples:\n  edgecc schema > edgecc.schema.json\n  edgecc schema results")
@click.argument("file", type=click.Choice(FILES), default="project")
def schema(file: str) -> None:
    """Print the JSON Schema of a file: project, manifest, results, verdict, baseline, release or lint's report."""
    from edgecc import api

    click.echo(json.dumps(api.schemas()[file], indent=2))
