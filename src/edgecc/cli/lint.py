"""`edgecc lint`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, narrowed_by_artifact

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgecc.compiler.backend.lint.finding import FileReport, Finding, LintReport

_EXAMPLES = """\b
Examples:
  edgecc lint
  edgecc lint examples/digits --variant int8
  edgecc lint model.tflite --claims int8
"""
_SHOWN = 5
"""Operators that one rule lists; the rest is counted."""
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.command(epilog=_EXAMPLES)
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="[PROJECT|FILE...]")
@narrowed_by_artifact
@click.option(
    "--claims",
    type=click.Choice(["float32", "float16", "weight_only", "dynamic", "int8", "int16x8"]),
    help="Of bare files: what they are said to be; else their manifests say it.",
)
@json_flag
def lint(
    paths: tuple[Path, ...], variants: tuple[str, ...], formats: tuple[str, ...], claims: str | None, as_json: bool
) -> int:
    """Look into artifacts, a project's or bare files: are they what they claim, and what will cost?

    Exits 1 if there are errors or warnings; notes change nothing.
    """
    from edgecc import api
    from edgecc.cli.console import show
    from edgecc.errors import ExitCode

    are_files = [path.suffix in {".tflite", ".onnx"} or (path.is_file() and path.suffix != ".toml") for path in paths]
    if len(paths) > 1 and not all(are_files):
        raise click.UsageError("expected one project, or model files only")
    if any(are_files):
        if variants or formats:
            raise click.UsageError("--variant and --format narrow a project; a file is looked at as it is")
        report = api.lint_files(paths, claims=claims)
    else:
        if claims:
            raise click.UsageError("--claims is for bare files; a project says itself what its variants are")
        report = api.lint(paths[0] if paths else Path(), variants=variants, formats=formats)
    if as_json:
        click.echo(report.model_dump_json())
    else:
        show(_in_words(report))
    return ExitCode.PASSED if report.is_clean else ExitCode.BUDGET_BROKEN


def _in_words(report: LintReport) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    counted = [_count(number, str(severity)) for severity, number in report.counts().items() if number]
    summary = f"{', '.join(counted) or 'nothing found'} in {_count(len(report.files), 'file')}"
    return Group(*(_file(file) for file in report.files), Text(summary, style="green" if report.is_clean else "bold"))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _file(file: FileReport) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    said = f"said to be {file.claims.scheme}" if file.claims else "nobody says what it is"
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(min_width=len("warning"))
    table.add_column()
    for (severity, _), group in groupby(file.findings, key=lambda each: (each.severity, each.rule)):
        table.add_row("", Text(severity, style=_STYLES[severity]), _rule(list(group)))
    if file.unchecked:
        unchecked = f"without --claims, not checked: {', '.join(file.unchecked)}"
        table.add_row("", Text("note", style=_STYLES["note"]), Text(unchecked))
    if not table.rows:
        table.add_row("", Text("clean", style="green"))
    return Group(Text.assemble((_shown_path(file.path), "bold"), f", {said}"), table, "")


def _shown_path(path: str) -> str:
    here, absolute = Path.cwd(), Path(path).absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else path


def _rule(found: list[Finding]) -> RenderableType:
    """What one rule has to say with one severity."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    for each in found[:_SHOWN]:
        table.add_row("•", Text(f"{_shortened(each.subject)} {each.found}".strip()))
    if len(found) > _SHOWN:
        table.add_row("•", f"and {len(found) - _SHOWN} more; --json lists them all")
    first = found[0]
    if first.severity != "note":
        table.add_row("→", Text(first.advice))
    return Group(Text.assemble((first.rule, "bold"), f": expected {first.expected}"), table)


def _shortened(subject: str) -> str:
    """Without the names of all the other operators that the converter fused into one."""
    first, more, _ = subject.partition(";")
    return f"{first};…`" if more else subject
