"""What scores are expected of recipes that were trained shortly alone."""

from __future__ import annotations

import numpy as np
import pytest

from edgecc.budget_search.expectation import RIDGE, expected_scores
from edgecc.budget_search.recipe import Recipe
from edgecc.budget_search.trial import Trial
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, Rung
from edgecc.search_space import OpenVariant
from edgecc.units import Unit

SIZE = Objective(metric="size", target=None, unit=Unit.BYTES, better="lower")
P90 = Objective(metric="latency.p90", target="host", unit=Unit.SECONDS, better="lower")
ACCURACY = Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
SIZES, LATENCIES_S = (10e3, 20e3, 40e3, 80e3, 30e3), (2e-5, 9e-5, 1e-5, 5e-5, 5e-5)
SHORT = (0.61, 0.55, 0.70, 0.58, 0.66)


def trial(index: int, full: float | None = None) -> Trial:
    own = Trial(Recipe.of(OpenVariant("small", {"formats": ["tflite"]}, ()), {}), rung=Rung.SHORT)
    known = {SIZE: SIZES[index], P90: LATENCIES_S[index], ACCURACY: SHORT[index]}
    own.short_figures = {each.key: Estimate(value=value, samples=100) for each, value in known.items()}
    own.figures = dict(own.short_figures)
    if full is not None:
        own.figures[ACCURACY.key] = Estimate(value=full, samples=100)
    return own


def expected(full: dict[int, float]) -> list[float]:
    """Of the recipes that `full` does not say the score of."""
    trained = [trial(index, score) for index, score in full.items()]
    waiting = [trial(index) for index in range(len(SIZES)) if index not in full]
    return expected_scores(trained, waiting, ACCURACY, [SIZE, P90])


def test_it_is_the_ridge_regression_of_another_library() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    features = np.stack([SHORT, np.log(SIZES), np.log(LATENCIES_S)], axis=1)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    scores = {0: 0.9, 1: 0.93, 2: 0.91}
    ridge = linear_model.Ridge(alpha=RIDGE).fit(features[:3], list(scores.values()))
    assert expected(scores) == pytest.approx(ridge.predict(features[3:]))


def test_one_that_was_trained_speaks_for_all() -> None:
    assert expected({1: 0.9}) == pytest.approx([0.9] * 4)


def test_where_the_costs_tell_of_the_score_it_goes_by_them() -> None:
    """80 kB beside 30 kB, though its short training went worse."""
    large, small = expected({0: 0.90, 1: 0.92, 2: 0.94})
    assert large > small


def test_where_the_short_training_tells_of_the_score_it_goes_by_that() -> None:
    """The same costs, another score."""
    large, small = expected({0: 0.93, 1: 0.90, 2: 0.975})
    assert large < small


def test_costs_that_are_all_the_same_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SIZES", (1e3,) * 5)
    monkeypatch.setattr(f"{__name__}.LATENCIES_S", (1e-5,) * 5)
    assert np.isfinite(expected({0: 0.9, 1: 0.8})).all()
