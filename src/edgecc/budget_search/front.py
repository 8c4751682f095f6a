"""Pareto fronts and their hypervolume, of points whose every objective is better where it is less."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import MissingExtraError

Floats = npt.NDArray[np.float64]
_MARGIN = 0.1
"""How much further than the worst point the reference point lies, as a share of the range: a front's ends count."""


def is_on_front(points: Floats) -> npt.NDArray[np.bool_]:
    """Whether each of `points` (n, objectives) is on the Pareto front; equal points all are."""
    if len(points) == 0:
        return np.zeros(0, bool)
    return np.asarray(_moocore().is_nondominated(points, keep_weakly=True), bool)


def hypervolume(points: Floats, ideal: Floats, worst: Floats) -> float:
    """The share of the space between `ideal` and a point beyond `worst` that `points` (n, objectives) dominate.

    Zitzler and Thiele 1998, "Multiobjective optimization using evolutionary algorithms"; each objective counts as a
    share of its range.
    """
    if len(points) == 0:
        return 0.0
    spread = np.where(worst > ideal, worst - ideal, 1.0)
    scaled = (points - ideal) / spread
    reference = np.full(points.shape[1], 1 + _MARGIN)
    inside = np.minimum(scaled, reference)
    return float(_moocore().hypervolume(inside, ref=reference) / np.prod(reference))


def most_promising(known: Floats, expected: Floats) -> tuple[int, float]:
    """Which of the points that are `expected` (n, objectives), at least one, would add most to those that are `known`.

    Returns:
        Its index, and what it adds to the hypervolume, as a share of what there is then.
    """
    everything = np.concatenate([known, expected])
    ideal, worst = everything.min(axis=0), everything.max(axis=0)
    now = hypervolume(known, ideal, worst)
    then = [hypervolume(np.concatenate([known, point[np.newaxis]]), ideal, worst) for point in expected]
    best = int(np.argmax(then))
    return best, 0.0 if then[best] == 0 else (then[best] - now) / then[best]


def _moocore() -> Any:
    try:
        import moocore
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="the search", library="moocore", extra="search") from error
    return moocore
