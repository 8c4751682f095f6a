"""`edgecc search`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgecc.cli.options import json_flag, project_argument

if TYPE_CHECKING:
    from edgecc.search_outcome import SearchOutcome

_EXAMPLES = """\b
Examples:
  edgecc search
  edgecc search examples/digits-search
"""


@click.command(epilog=_EXAMPLES)
@project_argument
@json_flag
def search(project: Path, as_json: bool) -> int:
    """Find the recipes that meet the budgets: [search] says what may be chosen.

    Recipes are built and measured untrained, the promising ones trained shortly, and the best in full, on validation
    data. What is chosen is then benched and judged like a release. Stopped and begun again, it goes on where it was.
    Exits 1 if no recipe meets the budgets, and says which budget binds.
    """
    from edgecc import api
    from edgecc.cli.console import TerminalProgress

    with TerminalProgress() as progress:
        folder = api.open_project(project)
        outcome = api.search(folder, progress=progress)
    if as_json:
        click.echo(outcome.model_dump_json())
    else:
        _show(outcome)
        click.echo(f"the front: {folder.report / 'search.html'}", err=True)
    return _exit_code(outcome, folder.project.targets)


def _show(outcome: SearchOutcome) -> None:
    from edgecc.benchmarks.report.search_table import front_table, search_words
    from edgecc.benchmarks.report.variant_toml import variant_toml
    from edgecc.cli.console import show

    if outcome.front:
        show(front_table(outcome))
    for line in search_words(outcome):
        click.echo(line)
    for name in dict.fromkeys(outcome.chosen.values()):
        click.echo("\n" + variant_toml(name, outcome.point(name).table).rstrip())


def _exit_code(outcome: SearchOutcome, targets: Collection[str]) -> int:
    """Of the chosen recipes' budgets; broken where a target has none."""
    from edgecc.benchmarks.gate import exit_code
    from edgecc.errors import ExitCode

    if outcome.judgement is None or set(outcome.chosen) < set(targets):
        return ExitCode.BUDGET_BROKEN
    return exit_code(outcome.judgement)
