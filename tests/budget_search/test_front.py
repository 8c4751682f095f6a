"""Fronts and their hypervolume, against counting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.budget_search.front import Floats, hypervolume, is_on_front, most_promising

pytest.importorskip("moocore", reason="moocore is not installed: edgecc[search] brings it")

CELLS = 10
"""Of a grid along one objective, from the ideal to the worst; the reference point lies one beyond."""


def points_of(objectives: int, *, most: int, fewest: int = 1) -> st.SearchStrategy[list[tuple[int, ...]]]:
    return st.lists(st.tuples(*[st.integers(0, CELLS)] * objectives), min_size=fewest, max_size=most)


SOME = st.integers(1, 4).flatmap(lambda objectives: points_of(objectives, most=8))


def as_floats(points: Sequence[Sequence[float]]) -> Floats:
    return np.asarray(points, np.float64)


def is_dominated(point: Sequence[float], by: Sequence[float]) -> bool:
    return all(b <= a for a, b in zip(point, by, strict=True)) and tuple(by) != tuple(point)


def share_of(points: Sequence[Sequence[float]], objectives: int) -> float:
    """Of the cells up to the reference point, the share that some point dominates."""
    cells = list(itertools.product(range(CELLS + 1), repeat=objectives))
    dominated = [cell for cell in cells if any(all(np.asarray(point) <= cell) for point in points)]
    return len(dominated) / len(cells)


@given(SOME)
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, ...]]) -> None:
    expected = [not any(is_dominated(point, by) for by in points) for point in points]
    assert is_on_front(as_floats(points)).tolist() == expected


def test_equal_points_are_all_on_the_front() -> None:
    assert is_on_front(as_floats([(1, 2), (1, 2), (2, 2)])).tolist() == [True, True, False]


def test_no_points_have_no_front_and_no_volume() -> None:
    nothing = np.zeros((0, 2))
    assert is_on_front(nothing).shape == (0,)
    assert hypervolume(nothing, np.zeros(2), np.ones(2)) == 0


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(0, 0)], 1.1 * 1.1),
        ([(1, 1)], 0.1 * 0.1),
        ([(0, 1), (1, 0)], 2 * 1.1 * 0.1 - 0.1 * 0.1),
        ([(0.2, 0.6), (0.5, 0.3), (0.6, 0.6)], 0.9 * 0.5 + 0.6 * 0.8 - 0.6 * 0.5),
        ([(5, 0)], 0),
    ],
)
def test_an_area_computed_by_hand(points: list[tuple[float, float]], area: float) -> None:
    assert hypervolume(as_floats(points), np.zeros(2), np.ones(2)) == pytest.approx(area / 1.1**2)


def test_each_objective_counts_as_a_share_of_its_range() -> None:
    bytes_and_seconds = as_floats([(2_000, 6e-3), (5_000, 3e-3)])
    found = hypervolume(bytes_and_seconds, np.zeros(2), as_floats([10_000, 10e-3]))
    assert found == pytest.approx((0.9 * 0.5 + 0.6 * 0.8 - 0.6 * 0.5) / 1.1**2)


def test_a_volume_computed_by_hand() -> None:
    """Three boxes of 1.1 by 1.1 by 0.1: each pair shares 1.1 by 0.1 by 0.1, all three 0.1 by 0.1 by 0.1."""
    corners = as_floats([(0, 0, 1), (0, 1, 0), (1, 0, 0)])
    expected = 3 * 1.1 * 1.1 * 0.1 - 3 * 1.1 * 0.1 * 0.1 + 0.1**3
    assert hypervolume(corners, np.zeros(3), np.ones(3)) == pytest.approx(expected / 1.1**3)


@given(st.integers(1, 3).flatmap(lambda objectives: points_of(objectives, most=5)))
def test_the_volume_is_a_count_of_cells(points: list[tuple[int, ...]]) -> None:
    objectives = len(points[0])
    found = hypervolume(as_floats(points), np.zeros(objectives), np.full(objectives, float(CELLS)))
    assert found == pytest.approx(share_of(points, objectives))


def test_where_all_are_equal_in_an_objective_it_does_not_count() -> None:
    points = as_floats([(0, 7), (1, 7)])
    assert hypervolume(points, points.min(axis=0), points.max(axis=0)) == pytest.approx(1)


@given(
    st.integers(1, 3).flatmap(
        lambda objectives: st.tuples(points_of(objectives, most=4), points_of(objectives, most=4))
    )
)
def test_the_most_promising_adds_most(points: tuple[list[tuple[int, ...]], list[tuple[int, ...]]]) -> None:
    known, expected = map(as_floats, points)
    everything = np.concatenate([known, expected])
    ideal, worst = everything.min(axis=0), everything.max(axis=0)
    index, share = most_promising(known, expected)
    then = [hypervolume(np.concatenate([known, [point]]), ideal, worst) for point in expected]
    assert then[index] == max(then)
    assert share == pytest.approx(1 - hypervolume(known, ideal, worst) / max(then))
    assert share >= -1e-12


def test_what_is_dominated_adds_nothing() -> None:
    assert most_promising(as_floats([(1, 1)]), as_floats([(2, 1), (2, 2)]))[1] == pytest.approx(0)
    assert most_promising(as_floats([(1, 1)]), as_floats([(2, 1), (2, 0)]))[0] == 1
