"""`edgecc report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import project_argument

_EXAMPLES = """\b
Examples:
  edgecc report examples/digits && xdg-open examples/digits/report/index.html
  edgecc report --history --metric size
"""
_METRIC = "latency.p50"


@click.command(epilog=_EXAMPLES)
@project_argument
@click.option("--history", is_flag=True, help="Write report/history.html instead: a metric over all runs.")
@click.option("--metric", help=f"Of the history: which metric ({_METRIC}).")
def report(project: Path, history: bool, metric: str | None) -> None:
    """Write the last results and verdicts: report/index.html, summary.md, junit.xml and verdict.json."""
    from edgecc import api

    if metric and not history:
        raise click.UsageError("--metric is for --history")
    if not history:
        for file in api.report(project):
            click.echo(file)
        return
    written = api.history_report(project, metric or _METRIC)
    click.echo(written.file)
    for note in written.notes:
        click.echo(note, err=True)
