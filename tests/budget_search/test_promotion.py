"""Which recipe is trained in full next."""

from __future__ import annotations

from typing import Any

import pytest

from edgecc.budget_search.promotion import next_training
from edgecc.budget_search.recipe import Recipe
from edgecc.budget_search.trial import Trial
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, Rung, SearchLimit
from edgecc.search_space import OpenVariant
from edgecc.units import Unit

pytest.importorskip("moocore", reason="moocore is not installed: edgecc[search] brings it")

SIZE = Objective(metric="size", target=None, unit=Unit.BYTES, better="lower")
ACCURACY = Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
ERROR = Objective(metric="user.mae", target=None, unit=Unit.NUMBER, better="lower")
LIMITS = (
    SearchLimit(objective=SIZE, bound=10_000, words="at most 10 kB"),
    SearchLimit(objective=ACCURACY, bound=0.9, words="at least 90 %"),
)


def trial(size: float, short: float | None, full: float | None = None, *, score: Objective = ACCURACY) -> Trial:
    """After its short training, or where there is a score after the whole one, in full."""
    table = {"distill": {"student": "models:student", "hp": {"size": size, "short": str(short)}}, "formats": ["tflite"]}
    own = Trial(Recipe.of(OpenVariant("small", table, ()), {}), rung=Rung.SHORT if full is None else Rung.FULL)
    own.figures = {SIZE.key: Estimate(value=size, samples=1)}
    if short is not None:
        own.short_figures = {**own.figures, score.key: Estimate(value=short, samples=100)}
        own.figures |= own.short_figures
    if full is not None:
        own.figures[score.key] = Estimate(value=full, samples=100)
    return own


def following(*trials: Trial, limits: Any = LIMITS, score: Objective = ACCURACY) -> Trial | None:
    return next_training(trials, (SIZE, score), limits)


def test_the_best_score_comes_first_and_of_equals_the_cheapest() -> None:
    best = trial(8_000, 0.7)
    assert following(trial(4_000, 0.6), trial(9_000, 0.7), best) is best


def test_where_less_is_better_the_least_comes_first() -> None:
    best = trial(8_000, 0.2, score=ERROR)
    assert following(trial(4_000, 0.3, score=ERROR), best, limits=LIMITS[:1], score=ERROR) is best


def test_what_was_not_trained_tells_nothing_of_what_training_does() -> None:
    best = trial(9_500, 0.4)
    assert following(trial(4_000, None, 0.85), best) is best


def test_what_was_ruled_out_is_not_trained() -> None:
    out = trial(8_000, 0.9)
    out.ruled_out = "no"
    left = trial(8_000, 0.5)
    assert following(out, left) is left


def test_while_nothing_meets_all_the_best_that_is_expected_to() -> None:
    """Training gave the first 20 points; the second would add more to the front, and not be within the limits."""
    done = trial(9_900, 0.65, 0.85)
    able = trial(9_800, 0.71)
    small = trial(1_000, 0.6)
    assert following(done, small, able) is able


def test_a_score_is_expected_to_rise_by_as_much_as_any_others_did() -> None:
    able = trial(9_800, 0.5)
    assert following(trial(9_900, 0.65, 0.85), trial(9_700, 0.4, 0.81), trial(1_000, 0.3), able) is able


def test_once_something_meets_all_it_is_the_front_that_counts() -> None:
    done = trial(9_900, 0.7, 0.95)
    small = trial(1_000, 0.6)
    assert following(done, trial(9_800, 0.71), small) is small


def test_what_adds_next_to_nothing_to_the_front_is_not_trained() -> None:
    done = (trial(5_000, 0.7, 0.95), trial(1_000, 0.4, 0.5))
    assert following(*done, trial(5_100, 0.69)) is None
    assert following(*done, trial(5_000, 0.7)) is None


def test_falling_scores_of_a_short_training_do_not_count_against_more_of_an_error() -> None:
    """Of an error less is better: training took 0.3 off one and 0.1 off another."""
    done = (trial(9_900, 0.9, 0.6, score=ERROR), trial(9_500, 0.8, 0.7, score=ERROR))
    limits = (LIMITS[0], SearchLimit(objective=ERROR, bound=0.5, words="at most 0.5"))
    able = trial(9_900, 0.79, score=ERROR)
    assert following(*done, trial(2_000, 0.85, score=ERROR), able, limits=limits, score=ERROR) is able
