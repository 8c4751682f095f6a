"""`edgecc run`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact, narrowed_by_target, project_argument


@click.command(epilog="\b\nExamples:\n  edgecc run\n  edgecc run examples/digits")
@project_argument
@narrowed_by_artifact
@narrowed_by_target
@json_flag
def run(
    project: Path, variants: tuple[str, ...], formats: tuple[str, ...], targets: tuple[str, ...], as_json: bool
) -> int:
    """Compile, bench, gate and report in one go."""
    from edgecc import api
    from edgecc.benchmarks.gate import exit_code
    from edgecc.benchmarks.report.paired import paired_table
    from edgecc.benchmarks.report.table import results_table, steps_table, verdict_table
    from edgecc.cli.console import TerminalProgress, show

    with TerminalProgress() as progress:
        outcome = api.run(project, variants=variants, formats=formats, targets=targets, progress=progress)
    if as_json:
        both = {
            "results": outcome.results.model_dump(mode="json"),
            "verdict": outcome.judgement.model_dump(mode="json"),
        }
        click.echo(json.dumps(both))
    else:
        show(results_table(outcome.results, outcome.judgement))
        if steps := steps_table(outcome.results):
            show(steps)
        if paired := paired_table(outcome.results):
            show(paired)
        show(verdict_table(outcome.judgement))
        click.echo(f"report: {outcome.reports[0]}", err=True)
    return exit_code(outcome.judgement)
