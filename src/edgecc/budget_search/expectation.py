"""What a recipe's scores will be once it is trained in full, by those that were.

What a short training tells of the whole one differs: it orders networks of depths that are far apart, and hardly those
that are a filter apart. How much its score counts, and how much the costs do, is learnt from what was trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgecc.budget_search.front import Floats
from edgecc.budget_search.trial import Trial
from edgecc.search_outcome import Objective

RIDGE = 1.0
"""Penalty on the weights of the features: with one recipe trained, every other is expected to score as much."""


def expected_scores(
    trained: Sequence[Trial], waiting: Sequence[Trial], objective: Objective, costs: Sequence[Objective]
) -> list[float]:
    """What the recipes that wait are expected to score, by ridge regression (Hoerl and Kennard 1970).

    The features are the score after the short training and the logarithms of the costs.

    Args:
        trained: recipes with a score after the short training and after the whole one; at least one.
        waiting: recipes with a score after the short training alone; at least one.
        objective: the score.
        costs: what is known without training.
    """
    features = _features([*trained, *waiting], objective, costs)
    known, asked = features[: len(trained)], features[len(trained) :]
    scores = np.array([trial.figures[objective.key].value for trial in trained])
    centre = known.mean(axis=0)
    moved = known - centre
    weights = np.linalg.solve(moved.T @ moved + RIDGE * np.eye(moved.shape[1]), moved.T @ (scores - scores.mean()))
    return [float(score) for score in scores.mean() + (asked - centre) @ weights]


def _features(trials: Sequence[Trial], objective: Objective, costs: Sequence[Objective]) -> Floats:
    """Standardized, of shape (recipes, features)."""
    rows = [
        [trial.short_figures[objective.key].value, *(math.log(trial.figures[cost.key].value) for cost in costs)]
        for trial in trials
    ]
    features = np.array(rows, np.float64)
    spread = features.std(axis=0)
    return np.asarray((features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0), np.float64)
