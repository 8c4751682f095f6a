"""`edgecc compile`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact, project_argument

if TYPE_CHECKING:
    from rich.table import Table

    from edgecc.artifact import Manifest
    from edgecc.compiler.compile import Compilation
    from edgecc.compiler.publish import Compiled
    from edgecc.project import Project

WORST_LAYERS = 3
_OF_COURSE = frozenset({"an output of the model", "excluded"})
"""Why a layer is left whole that no one expects to be pruned."""


@click.command(epilog="\b\nExamples:\n  edgecc compile\n  edgecc compile examples/digits --variant int8")
@project_argument
@narrowed_by_artifact
@json_flag
def compile(project: Path, variants: tuple[str, ...], formats: tuple[str, ...], as_json: bool) -> None:
    """Tune, train, distill, prune, quantize, emit and verify; only what changed."""
    from edgecc import api
    from edgecc.cli.console import TerminalProgress

    with TerminalProgress() as progress:
        folder = api.open_project(project)
        compilation = api.compile(folder, variants=variants, formats=formats, progress=progress)
    if as_json:
        click.echo(json.dumps([artifact.manifest.model_dump(mode="json") for artifact in compilation.artifacts]))
    else:
        _show(compilation, folder.project)


def _show(compilation: Compilation, project: Project) -> None:
    from edgecc.benchmarks.report.layers import worst_layers
    from edgecc.benchmarks.report.table import compiled_steps_table
    from edgecc.benchmarks.steps import layers_of, steps_of
    from edgecc.cli.console import show

    own = [artifact for artifact in compilation.artifacts if artifact.variant in project.variants]
    manifests = [artifact.manifest for artifact in own]
    show(_artifacts(own))
    if steps := compiled_steps_table(steps_of(project, manifests), list(project.metrics)):
        show(steps)
    for layers in layers_of(manifests):
        click.echo(worst_layers(layers, WORST_LAYERS))
    for line in (*_left_whole(manifests), *_lint(own)):
        click.echo(line)
    click.echo(f"{len(compilation.ran)} stages ran" if compilation.ran else "nothing had changed", err=True)


def _left_whole(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A line for each variant in which channel pruning could not cut a layer that nobody asked to be left."""
    for variant, manifest in {manifest.variant: manifest for manifest in manifests}.items():
        reasons = {
            layer: why
            for stage in manifest.stages
            for layer, why in stage.metrics.get("left_whole", {}).items()
            if why not in _OF_COURSE
        }
        if reasons:
            listed = ", ".join(f"`{layer}` ({why})" for layer, why in reasons.items())
            yield f"prune: {variant}: left whole: {listed}"


def _lint(artifacts: Sequence[Compiled]) -> Iterator[str]:
    """A line for each rule that found something in an artifact."""
    for artifact in artifacts:
        found = [finding for finding in artifact.findings if finding.severity != "note"]
        for rule in dict.fromkeys(finding.rule for finding in found):
            first, *others = (finding for finding in found if finding.rule == rule)
            more = f" (and {len(others)} more: see `edgecc lint`)" if others else ""
            where = f"lint: {artifact.variant} ({artifact.format}): {first.severity}: {rule}"
            yield f"{where}: {first.subject} {first.found}{more}; expected {first.expected}"


def _artifacts(artifacts: Sequence[Compiled]) -> Table:
    from rich.table import Table

    from edgecc.units import Unit, format_bytes, format_value

    table = Table("variant", "format", "size", "agreement", "largest error", "samples")
    for artifact in artifacts:
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
    return table
