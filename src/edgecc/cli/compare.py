"""`edgecc compare`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import json_flag, project_argument

_EXAMPLES = """\b
Examples:
  edgecc compare previous latest
  edgecc compare baseline latest examples/digits
  edgecc compare 20261124T12 latest --json
  edgecc compare old/results.json new/results.json
  edgecc compare --why baseline latest
  edgecc compare --why old.tflite new.tflite
"""


@click.command(epilog=_EXAMPLES)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@project_argument
@click.option("--why", is_flag=True, help="Operator by operator: where bytes and time went; also of two model files.")
@json_flag
def compare(before: str, after: str, project: Path, why: bool, as_json: bool) -> int:
    """Show two runs side by side: what is better, what is worse, and what cannot be told.

    A and B are runs: an id or the start of one, `latest`, `previous`, `baseline`, or a results file. Times are compared
    only where both were measured in the same environment.

    Exits 2 if a run is not known, 3 if something could not be compared.
    """
    if why:
        return _why(before, after, project, as_json)
    from edgecc import api
    from edgecc.benchmarks.report.comparison import comparison_table
    from edgecc.cli.console import show

    comparison = api.compare(before, after, project)
    if as_json:
        click.echo(comparison.model_dump_json())
    else:
        show(comparison_table(comparison))
    return comparison.exit_code


def _why(before: str, after: str, project: Path, as_json: bool) -> int:
    from edgecc import api
    from edgecc.benchmarks.report.why import why_report
    from edgecc.cli.console import TerminalProgress, show

    with TerminalProgress() as progress:
        report = api.why(before, after, project, progress=progress)
    if as_json:
        click.echo(report.model_dump_json())
    else:
        show(why_report(report))
    return report.exit_code
