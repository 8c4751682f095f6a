"""One recipe on its way up the rungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgecc.budget_search.front import Floats
from edgecc.budget_search.ladder import Look
from edgecc.budget_search.recipe import Recipe
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, Point, Rung


@dataclass
class Trial:
    """What is known of a recipe so far."""

    recipe: Recipe
    rung: Rung = Rung.UNTRAINED
    figures: dict[str, Estimate] = field(default_factory=dict)
    """The latest, by `Objective.key`."""
    short_figures: Mapping[str, Estimate] = field(default_factory=dict)
    """As they were after the short training."""
    parameters: int | None = None
    operators: int | None = None
    trainings_s: dict[str, float] = field(default_factory=dict)
    """By the sha256 of what was trained."""
    short_s: float = 0.0
    """How long the short training took."""
    ruled_out: str | None = None
    failed: bool = False
    """It was ruled out since it could not be made, or not be run."""

    @property
    def is_waiting(self) -> bool:
        """Whether it could be trained in full."""
        return self.rung is Rung.SHORT and self.ruled_out is None

    @property
    def is_done(self) -> bool:
        """Whether it was trained in full, and nothing speaks against it."""
        return self.rung is Rung.FULL and self.ruled_out is None

    def saw(self, rung: Rung, look: Look) -> None:
        """Take up what a rung told."""
        self.rung = rung
        self.figures |= look.figures
        self.parameters, self.operators = look.parameters, look.operators
        if rung is not Rung.UNTRAINED:  # there it was only built
            self.trainings_s |= look.trainings_s
        if rung is Rung.SHORT:
            self.short_figures = dict(self.figures)
            self.short_s = sum(look.trainings_s.values())

    def point(self) -> Point:
        """For the outcome; whether it is on the front, and meets the budgets, the others have to tell."""
        return Point(
            name=self.recipe.name, open_variant=self.recipe.open_variant, format=self.recipe.format,
            values=self.recipe.values, table=self.recipe.table, rung=self.rung, figures=self.figures,
            parameters=self.parameters, operators=self.operators, ruled_out=self.ruled_out,
        )  # fmt: skip


def as_values(figures: Sequence[Mapping[str, Estimate]], objectives: Sequence[Objective]) -> Floats:
    """Figures of several recipes as (recipes, objectives), less being better."""
    rows = [[each.less_is_better(own[each.key].value) for each in objectives] for own in figures]
    return np.asarray(rows, np.float64).reshape(len(rows), len(objectives))
