"""`edgecc doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from edgecc.cli.options import json_flag, narrowed_by_target

_EXAMPLES = """\b
Examples:
  edgecc doctor
  edgecc doctor examples/digits --target host --time "5 min"
  edgecc doctor model.tflite --json
"""


@click.command(epilog=_EXAMPLES)
@click.argument("project", type=click.Path(path_type=Path), default=Path(), metavar="[PROJECT | FILE]")
@click.option("--time", "time_text", default="2 min", show_default=True, help="How long to record on each target.")
@narrowed_by_target
@json_flag
def doctor(project: Path, time_text: str, targets: tuple[str, ...], as_json: bool) -> int:
    """Say how far the gate can be trusted here: how often it cries wolf, and which slowdowns it sees.

    Measures a project's first shipped artifact, or one .tflite or .onnx file, against itself, and against itself with a
    known slowdown, and says which max_regression is honest. Exits 3 where none is.
    """
    import json

    from edgecc import api
    from edgecc.benchmarks.report.doctor import diagnosis_sentences, diagnosis_table
    from edgecc.cli.console import TerminalProgress, show
    from edgecc.errors import ExitCode
    from edgecc.units import Unit, parse

    try:
        time_s = parse(time_text, Unit.SECONDS)
    except ValueError as error:
        raise click.UsageError(f"--time: expected {error}; got {time_text!r}") from error
    with TerminalProgress() as progress:
        diagnoses = api.doctor(project, targets=targets, time_s=time_s, progress=progress)
    if as_json:
        click.echo(json.dumps([each.model_dump(mode="json") for each in diagnoses]))
    else:
        for each in diagnoses:
            show(diagnosis_table(each))
            for sentence in diagnosis_sentences(each):
                click.echo(sentence)
    honest = all(each.honest_limit is not None for each in diagnoses)
    return ExitCode.PASSED if honest else ExitCode.UNDECIDED
