"""`edgecc bench`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact, narrowed_by_target, project_argument

_EXAMPLES = """\b
Examples:
  edgecc bench
  edgecc bench examples/digits --variant int8
  edgecc bench model.tflite --num-threads 2
  edgecc bench model.onnx --shape 1x224x224x3 --data eval.npz
"""


class Shape(click.ParamType[tuple[int, ...]]):
    """`1x28x28x1`."""

    name = "shape"

    def convert(
        self, value: str | tuple[int, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read sizes with an x between them."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", value):
            self.fail(f"expected sizes such as 1x28x28x1; got {value!r}", param, ctx)
        return tuple(int(size) for size in value.split("x"))


@click.command(epilog=_EXAMPLES)
@project_argument
@narrowed_by_artifact
@narrowed_by_target
@click.option("--num-threads", type=click.IntRange(1), help="Of a bare file: threads of the runtime (1).")
@click.option("--shape", "shapes", type=Shape(), multiple=True, help="Of a bare file: an input's shape, in order.")
@click.option("--data", type=click.Path(path_type=Path), help="Of a bare file: .npz with x and y, for accuracy.")
@json_flag
def bench(
    project: Path,
    variants: tuple[str, ...],
    formats: tuple[str, ...],
    targets: tuple[str, ...],
    num_threads: int | None,
    shapes: tuple[tuple[int, ...], ...],
    data: Path | None,
    as_json: bool,
) -> int:
    """Measure artifacts on targets: a project's, or one .tflite or .onnx file, whoever built it.

    Exits 2 if a bare file is not a model that can be run, 3 if something gave no numbers.
    """
    from edgecc import api
    from edgecc.benchmarks.report.table import results_table, steps_table
    from edgecc.cli.console import TerminalProgress, show
    from edgecc.errors import ArtifactError, ExitCode
    from edgecc.results import FailureKind

    is_file = project.suffix in {".tflite", ".onnx"} or (project.is_file() and project.suffix != ".toml")
    if is_file and (variants or formats or targets):
        raise click.UsageError("--variant, --format and --target narrow a project; a file is measured as it is")
    if not is_file and (num_threads or shapes or data):
        raise click.UsageError("--num-threads, --shape and --data are for a bare file; a project says them itself")
    with TerminalProgress() as progress:
        if is_file:
            threads = num_threads or 1
            results = api.bench_file(project, num_threads=threads, shapes=shapes, evaluation=data, progress=progress)
        else:
            results = api.bench(project, variants=variants, formats=formats, targets=targets, progress=progress)
    refused = [row.failure for row in results.rows if row.failure and row.failure.kind is FailureKind.REFUSED]
    if is_file and refused:
        hint = (
            "say which with --shape, such as --shape 1x224x224x3" if "open dimensions" in refused[0].message else None
        )
        raise ArtifactError(f"{project}: {refused[0].message}", hint=hint)
    if as_json:
        click.echo(results.model_dump_json())
    else:
        show(results_table(results, None))
        if steps := steps_table(results):
            show(steps)
    return ExitCode.UNDECIDED if any(row.failure for row in results.rows) else ExitCode.PASSED
