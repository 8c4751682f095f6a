"""The search: recipes climb from rung to rung, and nothing that a cheap rung has ruled out is trained.

Every recipe is built and measured untrained first; one that can meet the budgets so far is trained for a share of its
epochs. Then, one after the other, those are trained in full that promise most.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from edgecc.budget_search.answer import meets
from edgecc.budget_search.front import is_on_front
from edgecc.budget_search.ladder import Ladder
from edgecc.budget_search.limits import JudgedBudget, limit_name, objectives_of, violations
from edgecc.budget_search.promotion import next_training
from edgecc.budget_search.proposals import Proposal, Proposer, proposer
from edgecc.budget_search.recipe import Recipe, epochs_of
from edgecc.budget_search.trial import Trial, as_values
from edgecc.errors import ArtifactError, ModelError, UserCodeError, VerificationError
from edgecc.progress import Progress, Task
from edgecc.project import Project
from edgecc.search_outcome import Point, Rung, SearchLimit
from edgecc.search_space import SearchSection
from edgecc.units import format_value
from edgecc.variant import SUPPORTED_QUANTIZATION

_MOST_REPEATS = 20
"""Proposals in a row that are nothing new: then the sampler is at its end."""
_RECIPE_FAULTS = (ModelError, ArtifactError, VerificationError, UserCodeError)
"""What may be wrong with one recipe; everything else stops the search."""
_MADE = "can be made"
"""The constraint that the sampler is told of beside the budgets."""


class Search:
    """One search over a project's `[search]`."""

    def __init__(
        self,
        project: Project,
        section: SearchSection,
        judged: Sequence[JudgedBudget],
        ladder: Ladder,
        progress: Progress,
    ) -> None:
        self.trials: list[Trial] = []
        self.stopped = ""
        """Why no further recipe was looked at or trained."""
        self.objectives = objectives_of(judged)
        self._project, self._section, self._judged = project, section, judged
        self._ladder, self._progress = ladder, progress
        self._references: dict[str, float] = {}
        self._misfits: Counter[str] = Counter()
        limit_s = section.time_limit
        self._deadline = float("inf") if limit_s is None else time.monotonic() + limit_s

    def run(self) -> None:
        """Look at recipes, and train the best.

        Raises:
            EdgeccError: no recipe at all could be made, or something is wrong that no other recipe would cure.
        """
        variants = self._section.open_variants(self._project.emit.formats)
        proposals = proposer(variants, self._section.max_trials, len(self.objectives), self._project.seed)
        total = int(min(self._section.max_trials, sum(variant.count for variant in variants)))
        with self._progress.task("looking at recipes", total=total) as task:
            self._look_at_all(proposals, task)
        self._check_some_were_made()
        with self._progress.task("training recipes", total=self._section.max_trainings) as task:
            self._train_the_best(task)

    @property
    def limits(self) -> tuple[SearchLimit, ...]:
        """The budgets in numbers, as far as they are known."""
        return tuple(each.limit(self._references) for each in self._judged)

    @property
    def training_s(self) -> float:
        """Of every training there was, each once."""
        every: dict[str, float] = {}
        for trial in self.trials:
            every |= trial.trainings_s
        return sum(every.values())

    def points(self) -> tuple[Point, ...]:
        """Every recipe that was looked at."""
        limits = self.limits
        done = [trial for trial in self.trials if trial.is_done]
        on_front = is_on_front(as_values([trial.figures for trial in done], self.objectives))
        front = {trial.recipe.name for trial, is_on in zip(done, on_front, strict=True) if is_on}
        return tuple(
            point.model_copy(update={"on_front": point.name in front, "meets": meets(point, limits)})
            for point in (trial.point() for trial in self.trials)
        )

    def _look_at_all(self, proposals: Proposer, task: Task) -> None:
        seen: dict[str, Trial] = {}
        repeats = 0
        while len(self.trials) < self._section.max_trials:
            proposal = proposals.propose()
            if proposal is None or (proposals.is_endless and repeats > _MOST_REPEATS):
                return
            if time.monotonic() > self._deadline:
                self.stopped = "the time limit was reached before every recipe was looked at"
                return
            recipe = self._recipe(proposal)
            trial = None if recipe is None else seen.get(recipe.name)
            repeats = 0 if recipe is not None and trial is None else repeats + 1
            if recipe is not None and trial is None:
                trial = seen[recipe.name] = self._look(recipe, task)
            proposals.tell(proposal, *self._told(trial))

    def _recipe(self, proposal: Proposal) -> Recipe | None:
        """None where the values do not fit together."""
        try:
            recipe = Recipe.of(proposal.variant, proposal.values)
        except ValidationError as error:
            self._misfit(proposal, error.errors()[0]["msg"])
            return None
        quantize = recipe.section.quantize
        if quantize is not None and quantize.scheme not in SUPPORTED_QUANTIZATION[recipe.format]:
            self._misfit(proposal, f"{recipe.format} cannot be {quantize.scheme}")
            return None
        return recipe

    def _misfit(self, proposal: Proposal, why: str) -> None:
        if not self._misfits[why]:
            self._progress.note(f"search: some values of {proposal.variant.name} do not fit together: {why}")
        self._misfits[why] += 1

    def _look(self, recipe: Recipe, task: Task) -> Trial:
        """The cheap rungs."""
        task.describe(recipe.name)
        trial = Trial(recipe)
        self.trials.append(trial)
        self._climb(trial, Rung.UNTRAINED)
        if trial.ruled_out is None:
            self._find_references()
            self._climb(trial, Rung.SHORT if recipe.is_trained else Rung.FULL)
        task.advance()
        return trial

    def _climb(self, trial: Trial, rung: Rung) -> None:
        try:
            trial.saw(rung, self._ladder.look(trial.recipe, rung))
        except _RECIPE_FAULTS as error:
            trial.ruled_out, trial.failed = error.message, True
            return
        trial.ruled_out = _why_nowhere(self.limits, trial, self._project.targets)

    def _find_references(self) -> None:
        """Score what losses are taken from, once something is to be trained that may lose."""
        for each in self._judged:
            variant = each.budget.reference
            if each.budget.max_drop is not None and variant not in self._references:
                self._references[variant] = self._ladder.score(variant, each.objective.metric)

    def _told(self, trial: Trial | None) -> tuple[list[float], dict[str, float]]:
        """What the sampler is told: of each objective, less is better; of each constraint, above 0 is broken."""
        costs = [limit for limit in self.limits if not limit.objective.is_score]
        if trial is None:
            return [0.0] * len(self.objectives), dict.fromkeys([*map(limit_name, costs), _MADE], 1.0)
        known = violations(trial.figures, trial.recipe.format, costs)
        constraints = {name: known.get(name) or 0.0 for name in map(limit_name, costs)}
        # Without a figure a recipe is ruled out: it breaks a constraint, and nobody looks at its values.
        figures = {each.key: trial.figures.get(each.key) for each in self.objectives}
        values = [
            0.0 if (figure := figures[each.key]) is None else each.less_is_better(figure.value)
            for each in self.objectives
        ]
        return values, constraints | {_MADE: 0.0 if trial.ruled_out is None else 1.0}

    def _check_some_were_made(self) -> None:
        failed = Counter(str(trial.ruled_out) for trial in self.trials if trial.failed)
        if self.trials and failed.total() == len(self.trials):
            why, count = failed.most_common(1)[0]
            raise ModelError(f"all {len(self.trials)} recipes failed, {count} of them because: {why}")
        if not self.trials and self._misfits:
            why, _ = self._misfits.most_common(1)[0]
            raise ModelError(f"no recipe of [search] has values that fit together: {why}")

    def _train_the_best(self, task: Task) -> None:
        trained = 0
        while any(trial.is_waiting for trial in self.trials):
            if trained == self._section.max_trainings:
                return self._stop("as many recipes were trained as max_trainings says")
            trial = next_training(self.trials, self.objectives, self.limits)
            if trial is None:
                return self._stop("no other training is expected to add to the front")
            if time.monotonic() + self._expected_s(trial) > self._deadline:
                return self._stop("the next training would end after the time limit")
            task.describe(trial.recipe.name)
            self._climb(trial, Rung.FULL)
            trained += 1
            task.advance()
            self._progress.note(self._news(trial))
        if all(trial.rung is Rung.UNTRAINED for trial in self.trials):
            return self._stop("every recipe was ruled out before it was trained")
        return self._stop("of the recipes that were looked at, all that could meet the budgets were trained")

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def _expected_s(self, trial: Trial) -> float:
        """How long its training in full will take, by how long the short one took."""
        train, share = self._project.train, self._section.short
        short, full = (epochs_of(trial.recipe.at(rung, train, share), train) for rung in (Rung.SHORT, Rung.FULL))
        return trial.short_s * full / max(short, 1)

    def _news(self, trial: Trial) -> str:
        """How the front has grown."""
        if trial.ruled_out is not None:
            return f"search: {trial.recipe.name}: {trial.ruled_out}"
        points = self.points()
        own = next(point for point in points if point.name == trial.recipe.name)
        words = ", ".join(format_value(own.figures[each.key].value, each.unit) for each in self.objectives)
        place = "on the front" if own.on_front else "behind the front"
        within = "within every budget" if own.meets else "not within every budget"
        return f"search: {own.name}: {words}; {place} of {sum(point.on_front for point in points)}, {within}"


def _why_nowhere(limits: Sequence[SearchLimit], trial: Trial, targets: Iterable[str]) -> str | None:
    """Why a recipe needs no training: on every target it surely breaks a limit on a cost."""
    broken = {limit.objective.target: why for limit in limits if (why := _breaks(limit, trial)) is not None}
    is_out = None in broken or (bool(broken) and broken.keys() >= set(targets))
    return next(iter(broken.values())) if is_out else None


def _breaks(limit: SearchLimit, trial: Trial) -> str | None:
    """In words, the limit on a cost that a recipe surely breaks."""
    objective = limit.objective
    figure = trial.figures.get(objective.key)
    if figure is None or objective.is_score or limit.format not in (None, trial.recipe.format):
        return None
    if not trial.recipe.is_settled(objective.metric, trial.rung):
        return None
    # A time is an estimate: only what the whole interval rules out will never do.
    surely = figure.low if objective.better == "lower" else figure.high
    excess = limit.violation(figure.value if surely is None else surely)
    if excess is None or excess <= 0:
        return None
    return f"{objective.key} {format_value(figure.value, objective.unit)}: {limit.words}"
