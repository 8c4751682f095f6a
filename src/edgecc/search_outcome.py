"""What a search found: every recipe it looked at, the front, what was chosen, and which budgets bind."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from edgecc.artifact import Format, Record
from edgecc.metrics import USER_PREFIX, Better
from edgecc.results import Estimate, Judgement
from edgecc.units import Unit


class Rung(StrEnum):
    """How far a recipe was followed, the cheapest first."""

    UNTRAINED = "untrained"
    """Built, compiled and measured with the weights it began with: its size and its latency are known."""
    SHORT = "short"
    """Trained for a share of its epochs."""
    FULL = "full"
    """Trained as long as it says."""


class Objective(Record):
    """A metric that a budget limits, and that the front is drawn over."""

    metric: str
    target: str | None
    """None for what does not depend on a target; accuracy and the user's own metrics are those of validation data."""
    unit: Unit
    better: Better

    @property
    def key(self) -> str:
        """Such as `latency.p90@host`: what a recipe's figures are kept by."""
        return self.metric if self.target is None else f"{self.metric}@{self.target}"

    @property
    def is_score(self) -> bool:
        """Whether it tells how good the answers are, rather than what they cost: known once a recipe is trained."""
        return self.metric == "accuracy" or self.metric.startswith(USER_PREFIX)

    def less_is_better(self, value: float) -> float:
        """The value, with its sign changed where more is better; and back."""
        return value if self.better == "lower" else -value


class SearchLimit(Record):
    """One budget on one target, as the search judges it."""

    objective: Objective
    bound: float | None
    """In the metric's base unit. None while the variant that it is a loss against was not trained."""
    words: str
    """The budget as it was written, such as `at most 0.5 pp below float32`."""
    target: str | None = None
    """The target that the budget names, where it names one: it judges nothing that is chosen for others."""
    format: Format | None = None
    """Judges recipes in this format only; in every one where nothing is said."""
    reference_variant: str | None = None
    """What it is a loss against, where it is one."""
    reference: float | None = None
    """The value of that on validation data, once it is known."""

    def is_for(self, target: str) -> bool:
        """Whether it judges what is chosen for a target."""
        return {self.target, self.objective.target} <= {None, target}

    def violation(self, value: float) -> float | None:
        """By how much the value breaks the limit, as a share of it; 0 or less where it keeps it.

        A limit in points is a share of the whole as it is. None while the limit is not known.
        """
        if self.bound is None:
            return None
        excess = value - self.bound if self.objective.better == "lower" else self.bound - value
        is_points = self.objective.unit in (Unit.FRACTION, Unit.NUMBER)
        return excess if is_points or self.bound == 0 else excess / abs(self.bound)


class Point(Record):
    """One recipe that was looked at."""

    name: str
    """A name for it as a variant."""
    open_variant: str
    """Of `[search.variants]`."""
    format: Format
    values: Mapping[str, Any]
    """What was chosen, by option, such as `distill.hp.width`."""
    table: Mapping[str, Any]
    """The variant as a table of the project file."""
    rung: Rung
    """The last that it reached."""
    figures: Mapping[str, Estimate]
    """By `Objective.key`, as measured on the last rung that tells."""
    parameters: int | None
    operators: int | None
    """Of the artifact."""
    ruled_out: str | None = None
    """Why it was followed no further: a budget that it cannot meet, or what failed."""
    on_front: bool = False
    """Trained in full, and no other recipe that was is as good in everything and better in something."""
    meets: bool = False
    """Trained in full, and within every budget on validation data."""


class Binding(Record):
    """A budget that keeps every recipe from meeting all of them."""

    limit: SearchLimit
    best: float | None
    """The best value among the recipes that meet all other budgets, or, where none does, among all; None where none was
    measured."""
    point: str | None
    """The recipe that has it."""
    others_met: bool
    """Whether that recipe meets all other budgets, so that this one alone is in its way."""


class SearchOutcome(Record):
    """One search."""

    schema_version: Literal[1] = 1
    project: str
    edgecc_version: str
    seed: int
    started_at: str
    duration_s: float
    training_s: float
    """Of all the trainings that the outcome rests on, those that an earlier search had done included; without the
    teachers'."""
    objectives: tuple[Objective, ...]
    limits: tuple[SearchLimit, ...]
    left_out: tuple[str, ...]
    """Budgets that the search does not judge, and why, in sentences."""
    points: tuple[Point, ...]
    """In the order in which they were looked at."""
    stopped: str
    """Why no further recipe was looked at or trained, in words."""
    chosen: Mapping[str, str]
    """By target, the recipe that meets every budget there; only where one does."""
    bindings: tuple[Binding, ...] = ()
    """Where no recipe meets every budget: what keeps them from it."""
    judgement: Judgement | None = None
    """What the gate says of the chosen recipes, measured anew, on the test set."""

    def point(self, name: str) -> Point:
        """The recipe of this name."""
        return next(point for point in self.points if point.name == name)

    @property
    def front(self) -> tuple[Point, ...]:
        """The Pareto front."""
        return tuple(point for point in self.points if point.on_front)
