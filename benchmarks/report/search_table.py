"""What a search found, for a terminal of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecc.benchmarks.report.search_summary import (
    RUNGS,
    answers,
    binding_words,
    cheapest_first,
    figure_words,
    has_emulated_times,
    recipe_words,
    short_names,
    standing,
)
from edgecc.benchmarks.report.summary import EMULATED_NOTE, plain
from edgecc.search_outcome import Objective, Point, Rung, SearchOutcome

if TYPE_CHECKING:
    from rich.table import Table

CHOSEN_MARK = "★"


def front_table(outcome: SearchOutcome) -> Table:
    """The front, then the others that were trained in full, then those that `search_words` names beside them."""
    from rich.text import Text

    table, names = _table(outcome), short_names(outcome)
    for point in _rows(outcome):
        mark = CHOSEN_MARK if point.name in outcome.chosen.values() else ""
        values = [figure_words(point, each) for each in outcome.objectives]
        answer = standing(point, outcome) if point.rung is Rung.FULL else RUNGS[point.rung]
        lines = Text(plain(point.name), style="bold"), Text(recipe_words(point, names))
        recipe = Text("\n").join(line for line in lines if line)
        style = "green" if point.meets else "red" if answer.startswith("breaks") else ""
        # Text and not str: a name with [brackets] is no markup.
        cells = [Text(mark), recipe, *map(Text, values), Text(answer, style=style)]
        table.add_row(*cells, style=None if point.on_front else "dim")
    return table


def _rows(outcome: SearchOutcome) -> list[Point]:
    named = {binding.point for binding in outcome.bindings}
    others = [point for point in outcome.points if point.rung is Rung.FULL or point.name in named]
    behind = [point for point in others if not point.on_front]
    return [*cheapest_first(outcome.front, outcome), *cheapest_first(behind, outcome)]


def _table(outcome: SearchOutcome) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column("recipe", overflow="fold", min_width=10)
    for objective in outcome.objectives:
        table.add_column(Text(_heading(objective)), justify="right", overflow="fold", min_width=8)
    table.add_column("budgets", overflow="fold", min_width=11)
    return table


def _heading(objective: Objective) -> str:
    """The target stands below, where columns are narrow."""
    return plain(objective.metric) + ("" if objective.target is None else f"\non {plain(objective.target)}")


def search_words(outcome: SearchOutcome) -> list[str]:
    """The sentences below the table: what was chosen, or what is in the way, what was left out, and why it stopped."""
    return [
        *([EMULATED_NOTE] if has_emulated_times(outcome) else []),
        *answers(outcome),
        *map(binding_words, outcome.bindings),
        *(f"left out: {plain(note)}" for note in outcome.left_out),
        f"stopped: {plain(outcome.stopped)}",
    ]
