"""`edgecc bench`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact, narrowed_by_target, project_argument

if TYPE_CHECKING:
    from edgecc.results import Results

_EXAMPLES = """\b
Examples:
  edgecc bench
  edgecc bench examples/digits --variant int8
  edgecc bench model.tflite --num-threads 2
  edgecc bench model.onnx --shape 1x224x224x3 --data eval.npz
  edgecc bench suites/cnn.toml --again
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
@click.option("--again", is_flag=True, help="Of a suite: measure anew what was measured before.")
@json_flag
def bench(
    project: Path,
    variants: tuple[str, ...],
    formats: tuple[str, ...],
    targets: tuple[str, ...],
    num_threads: int | None,
    shapes: tuple[tuple[int, ...], ...],
    data: Path | None,
    again: bool,
    as_json: bool,
) -> int:
    """Measure artifacts on targets: a project's, one .tflite or .onnx file, or a suite, whoever built them.

    Exits 2 if a bare file is not a model that can be run, 3 if something gave no numbers.
    """
    from edgecc import api
    from edgecc.benchmarks.suite_file import is_suite
    from edgecc.cli.console import TerminalProgress

    is_file = project.suffix in {".tflite", ".onnx"} or (project.is_file() and project.suffix != ".toml")
    is_a_suite = not is_file and is_suite(project)
    if (is_file or is_a_suite) and (variants or formats or targets):
        raise click.UsageError("--variant, --format and --target narrow a project; all else is measured as it is")
    if not is_file and (num_threads or shapes or data):
        raise click.UsageError("--num-threads, --shape and --data are for a bare file; others say them themselves")
    if again and not is_a_suite:
        raise click.UsageError("--again is for a suite; all else is always measured anew")
    if is_a_suite:
        return _bench_suite(project, again, as_json)
    with TerminalProgress() as progress:
        if is_file:
            threads = num_threads or 1
            results = api.bench_file(project, num_threads=threads, shapes=shapes, evaluation=data, progress=progress)
            _raise_refusal(project, results)
        else:
            results = api.bench(project, variants=variants, formats=formats, targets=targets, progress=progress)
    return _show(results, as_json)


def _bench_suite(suite: Path, again: bool, as_json: bool) -> int:
    from edgecc import api
    from edgecc.benchmarks.report.suite import suite_table
    from edgecc.cli.console import TerminalProgress, show
    from edgecc.errors import ExitCode

    with TerminalProgress() as progress:
        run = api.bench_suite(suite, again=again, progress=progress)
    if as_json:
        click.echo(run.model_dump_json())
    else:
        show(suite_table(run))
    return ExitCode.PASSED if run.is_complete else ExitCode.UNDECIDED


def _raise_refusal(file: Path, results: Results) -> None:
    """A bare file that its runtime refuses is an input at fault."""
    from edgecc.errors import ArtifactError
    from edgecc.results import FailureKind

    for failure in (row.failure for row in results.rows):
        if failure is not None and failure.kind is FailureKind.REFUSED:
            is_open = "open dimensions" in failure.message
            hint = "say which with --shape, such as --shape 1x224x224x3" if is_open else None
            raise ArtifactError(f"{file}: {failure.message}", hint=hint)


def _show(results: Results, as_json: bool) -> int:
    from edgecc.benchmarks.report.table import results_table, steps_table
    from edgecc.cli.console import show
    from edgecc.errors import ExitCode

    if as_json:
        click.echo(results.model_dump_json())
    else:
        show(results_table(results, None))
        if steps := steps_table(results):
            show(steps)
    return ExitCode.UNDECIDED if any(row.failure for row in results.rows) else ExitCode.PASSED
