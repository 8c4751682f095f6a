"""Which recipe is trained in full next, by what short trainings told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgecc.budget_search.expectation import expected_scores
from edgecc.budget_search.front import most_promising
from edgecc.budget_search.limits import violations
from edgecc.budget_search.trial import Trial, as_values
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, SearchLimit

WORTHWHILE = 0.01
"""Least share of the front's hypervolume that a further training adds, or at least could."""


def next_training(
    trials: Sequence[Trial], objectives: Sequence[Objective], limits: Sequence[SearchLimit]
) -> Trial | None:
    """The recipe to train next; None where no training is worth it.

    First the one with the best score, since that is most likely to be within the limits that only training tells of; it
    also tells by how much a score rises, which what needs no training does not.
    Then, while none is within every limit, the best of those that could be; else the one that is expected to add most
    to the front, and where none is, the one that could.

    Args:
        trials: of all recipes; at least one waits.
        objectives: what the front is over.
        limits: the budgets.
    """
    waiting = [trial for trial in trials if trial.is_waiting]
    done = [trial for trial in trials if trial.is_done]
    climbed = [trial for trial in done if trial.short_figures]
    hoped = {trial.recipe.name: _hoped(trial, climbed, objectives) for trial in waiting}

    def by_score(trial: Trial) -> tuple[float, ...]:
        own = hoped[trial.recipe.name]
        ordered = sorted(objectives, key=lambda objective: not objective.is_score)
        return tuple(each.less_is_better(own[each.key].value) for each in ordered)

    if not climbed:
        return min(waiting, key=by_score)
    if not any(_is_within(trial.figures, trial, limits) for trial in done):
        able = [trial for trial in waiting if _is_within(hoped[trial.recipe.name], trial, limits)]
        if able:
            return min(able, key=by_score)
    known = as_values([trial.figures for trial in done], objectives)
    for figures in (_expected(waiting, climbed, objectives), [hoped[trial.recipe.name] for trial in waiting]):
        index, share = most_promising(known, as_values(figures, objectives))
        if share >= WORTHWHILE:
            return waiting[index]
    return None


def _hoped(trial: Trial, climbed: Sequence[Trial], objectives: Sequence[Objective]) -> dict[str, Estimate]:
    """What a recipe could be in full: its costs as they are, its score as much better as any other's became."""
    figures = dict(trial.figures)
    for objective in (each for each in objectives if each.is_score and climbed):
        key = objective.key
        gains = [other.figures[key].value - other.short_figures[key].value for other in climbed]
        best = min(gains, key=objective.less_is_better)
        figures[key] = figures[key].model_copy(update={"value": figures[key].value + best})
    return figures


def _expected(
    waiting: Sequence[Trial], climbed: Sequence[Trial], objectives: Sequence[Objective]
) -> list[dict[str, Estimate]]:
    """What recipes are likely to be in full, each with its costs as they are."""
    figures = [dict(trial.figures) for trial in waiting]
    costs = [objective for objective in objectives if not objective.is_score]
    for objective in (each for each in objectives if each.is_score):
        scores = expected_scores(climbed, waiting, objective, costs)
        for own, score in zip(figures, scores, strict=True):
            own[objective.key] = own[objective.key].model_copy(update={"value": score})
    return figures


def _is_within(figures: Mapping[str, Estimate], trial: Trial, limits: Sequence[SearchLimit]) -> bool:
    known = violations(figures, trial.recipe.format, limits)
    return all(violation is not None and violation <= 0 for violation in known.values())
