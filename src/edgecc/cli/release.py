"""`edgecc release`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import project_argument


@click.command(epilog="\b\nExamples:\n  edgecc release\n  edgecc release examples/digits --output dist")
@project_argument
@click.option("--output", type=click.Path(path_type=Path), help="The release's folder; else PROJECT/release.")
def release(project: Path, output: Path | None) -> int:
    """Pack what ships, if all of it passed: models, manifests, checksums, verdict, report and notes.

    Judges the last results anew. An older release in the folder is replaced; anything else there stops it.
    """
    from edgecc import api
    from edgecc.benchmarks.gate import exit_code
    from edgecc.errors import ExitCode

    released = api.release(project, output=output)
    for file in released.files:
        click.echo(file)
    for reason in released.refused:
        click.echo(f"not released: {reason}", err=True)
    return exit_code(released.judgement) or (ExitCode.UNDECIDED if released.refused else ExitCode.PASSED)
