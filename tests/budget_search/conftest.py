"""Projects with a `[search]`, and a ladder that knows beforehand what becomes of every recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from edgecc.budget_search.ladder import Ladder, Look
from edgecc.budget_search.limits import JudgedBudget, judged_budgets
from edgecc.budget_search.recipe import Recipe
from edgecc.budget_search.search import Search
from edgecc.metrics import Ability
from edgecc.progress import Silent
from edgecc.project import Project
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, Rung
from edgecc.targets.target import Target

SIZE, P90, ACCURACY = (
    {"metric": "size", "max": "10 kB"},
    {"metric": "latency.p90", "max": "1 ms"},
    {"metric": "accuracy", "min": "90 %"},
)
STUDENT: dict[str, Any] = {
    "quantize": "int8",
    "distill": {"student": "models:student", "hp": {"width": {"choice": [4, 8, 12, 16]}}, "epochs": 16},
}
PROJECT: dict[str, Any] = {
    "version": 1,
    "name": "demo",
    "model": {"builder": "models:cnn"},
    "data": {"loader": "edgecc:digits"},
    "variants": {"float32": {}},
    "targets": {"host": {"kind": "x86_cpu"}},
    "budgets": [SIZE, P90, ACCURACY],
}


@pytest.fixture
def make_project() -> Callable[..., Project]:
    """A project with these open variants; other sections by name, and keys of `[search]` as `search`."""

    def make(
        open_variants: Mapping[str, Any] | None = None,
        /,
        *,
        search: Mapping[str, Any] | None = None,
        **sections: Any,
    ) -> Project:
        section = {"variants": open_variants or {"student": STUDENT}, **(search or {})}
        return Project.model_validate({**PROJECT, **sections, "search": section})

    return make


@dataclass(frozen=True)
class Made:
    """What becomes of a recipe."""

    size: float = 5_000
    p90_s: float = 0.5e-3
    short: float = 0.8
    full: float = 0.95
    """Accuracy after a short training, and after the whole."""
    faults: Mapping[Rung, Exception] = field(default_factory=dict)
    """What is raised where it is to be made."""


@pytest.fixture
def made() -> type[Made]:
    return Made


@dataclass
class FakeLadder:
    """Answers by a formula, and remembers what it was asked."""

    objectives: Sequence[Objective]
    formula: Callable[[Recipe], Made]
    slowness: Mapping[str, float]
    """By target."""
    references: Mapping[str, float]
    looks: list[tuple[str, Rung]] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)

    def look(self, recipe: Recipe, rung: Rung) -> Look:
        self.looks.append((recipe.name, rung))
        made = self.formula(recipe)
        if rung in made.faults:
            raise made.faults[rung]
        figures = {each.key: figure for each in self.objectives if (figure := self._figure(each, made, rung))}
        trainings_s = {f"{recipe.name}/{rung}": 1.0}  # a stage runs on every rung, on the first one for no epoch
        return Look(figures, parameters=100, operators=5, trainings_s=trainings_s if recipe.is_trained else {})

    def _figure(self, objective: Objective, made: Made, rung: Rung) -> Estimate | None:
        if objective.metric == "size":
            return Estimate(value=made.size, samples=1)
        if objective.target is not None:
            value = made.p90_s * self.slowness[objective.target]
            known = Estimate(value=value, samples=600, low=0.9 * value, high=1.1 * value)
            return known if rung is not Rung.SHORT else None
        score = {Rung.SHORT: made.short, Rung.FULL: made.full}.get(rung)
        return None if score is None else Estimate(value=score, samples=100)

    def score(self, variant: str, metric: str) -> float:
        self.scored.append(f"{variant} {metric}")
        return self.references[variant]

    def reached(self, rung: Rung) -> list[str]:
        """The recipes that were looked at on a rung, in order."""
        return [name for name, at in self.looks if at is rung]


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass(frozen=True)
class FakeTarget:
    """What of a target tells which budgets can be judged there."""

    name: str
    abilities: frozenset[Ability] = frozenset({"latency", "outputs"})
    emulated: bool = False


@pytest.fixture
def make_target() -> type[FakeTarget]:
    return FakeTarget


@dataclass(frozen=True)
class Begun:
    """A search, and what stands around it."""

    search: Search
    ladder: FakeLadder
    notes: list[str]

    def run(self) -> Begun:
        self.search.run()
        return self


@pytest.fixture
def begin() -> Callable[..., Begun]:
    """A search over a project whose recipes are what the formula makes of them."""

    def make(
        project: Project,
        formula: Callable[[Recipe], Made],
        *,
        slowness: Mapping[str, float] | None = None,
        references: Mapping[str, float] | None = None,
    ) -> Begun:
        judged: list[JudgedBudget]
        judged, _ = judged_budgets(project, cast("list[Target]", [FakeTarget(name) for name in project.targets]))
        objectives = tuple({each.objective.key: each.objective for each in judged}.values())
        ladder = FakeLadder(
            objectives, formula, slowness or dict.fromkeys(project.targets, 1.0), references or {"float32": 0.97}
        )
        assert project.search is not None
        notes = Notes()
        search = Search(project, project.search, judged, cast("Ladder", ladder), notes)
        return Begun(search, ladder, notes.notes)

    return make
