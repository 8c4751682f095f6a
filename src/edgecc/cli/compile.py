"""`edgecc compile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact, project_argument

if TYPE_CHECKING:
    from edgecc.compiler.compile import Compilation


@click.command(epilog="\b\nExamples:\n  edgecc compile\n  edgecc compile examples/digits --variant int8")
@project_argument
@narrowed_by_artifact
@json_flag
def compile(project: Path, variants: tuple[str, ...], formats: tuple[str, ...], as_json: bool) -> None:
    """Tune, train, quantize, emit and verify; only what changed."""
    from edgecc import api
    from edgecc.cli.console import TerminalProgress

    with TerminalProgress() as progress:
        compilation = api.compile(project, variants=variants, formats=formats, progress=progress)
    if as_json:
        click.echo(json.dumps([artifact.manifest.model_dump(mode="json") for artifact in compilation.artifacts]))
    else:
        _show(compilation)


def _show(compilation: Compilation) -> None:
    from rich.table import Table

    from edgecc.cli.console import show
    from edgecc.units import Unit, format_bytes, format_value

    table = Table("variant", "format", "size", "agreement", "largest error", "samples")
    for artifact in compilation.artifacts:
        seen = artifact.manifest.stages[-1].metrics
        agreement = seen["top1_agreement"]
        table.add_row(
            artifact.variant,
            artifact.format,
            format_bytes(artifact.manifest.artifact.size_bytes),
            "does not apply" if agreement is None else format_value(agreement, Unit.FRACTION),
            f"{seen['max_abs_error']:.3g}",
            str(seen["samples"]),
        )
    show(table)
    click.echo(f"{len(compilation.ran)} stages ran" if compilation.ran else "nothing had changed", err=True)
