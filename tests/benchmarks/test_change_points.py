"""Change points: steps are found where they are, and noise is none, whatever it looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgecc.benchmarks.change_points import (
    MIN_RUNS,
    find_change_points,
    largest_statistics,
    seeded_intervals,
    threshold,
)

Noise = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]


def gaussian(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """1 % of noise."""
    return np.exp(random.normal(0, 0.01, count))


def with_slow_runs(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """One run in ten is 5 to 40 % slow."""
    return gaussian(random, count) * np.where(random.random(count) < 0.1, random.uniform(1.05, 1.4, count), 1)


def heavy_tailed(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Noise without a mean."""
    return np.exp(0.01 * random.standard_cauchy(count).clip(-50, 50))


def coarse(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """A clock of a few values, so that most are equal to others."""
    return np.round(random.normal(100, 1, count))


def rarely_other(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    """Nearly always the same."""
    return 1.0 + (random.random(count) < 0.05)


@pytest.mark.parametrize("noise", [gaussian, with_slow_runs, heavy_tailed, coarse, rarely_other])
def test_pure_noise_has_no_change_point(noise: Noise) -> None:
    random = np.random.default_rng(0)
    alarms = [bool(find_change_points(noise(random, count))) for _ in range(140) for count in (20, 60, 200)]
    assert np.mean(alarms) < 0.01


@pytest.mark.parametrize(
    ("count", "steps"),
    [(20, [12]), (40, [20]), (60, [30, 45]), (100, [90]), (500, [100, 220, 400]), (500, [490]), (2000, [300, 320])],
)  # fmt: skip
def test_steps_of_5_percent_in_1_percent_of_noise_are_found_within_2_runs(count: int, steps: Sequence[int]) -> None:
    random = np.random.default_rng(0)
    for _ in range(40):
        found = find_change_points(stepped(gaussian(random, count), steps))
        assert [change.index for change in found] == pytest.approx(steps, abs=2)
        for index, change in enumerate(found):
            ratio = change.after / change.before
            assert ratio == pytest.approx(1.05 if index % 2 == 0 else 1 / 1.05, rel=0.02)


def test_steps_are_found_among_slow_runs() -> None:
    random = np.random.default_rng(0)
    found = [find_change_points(stepped(with_slow_runs(random, 400), [100, 300])) for _ in range(100)]
    assert np.mean([[c.index for c in each] == pytest.approx([100, 300], abs=2) for each in found]) > 0.85


def stepped(noise: npt.NDArray[np.float64], steps: Sequence[int]) -> npt.NDArray[np.float64]:
    """5 % up at the first of these, down at the second, ..."""
    levels = noise.copy()
    for index, step in enumerate(steps):
        levels[step:] *= 1.05 if index % 2 == 0 else 1 / 1.05
    return levels


def test_the_nile_fell_in_1899() -> None:
    """Its flow at Aswan 1871-1970, whose one change Cobb (1978, Biometrika 65) and many after him put after 1898."""
    flow = [
        1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960, 1180, 799, 958, 1140,
        1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694, 940, 833, 701, 916, 692, 1020, 1050, 969,
        831, 726, 456, 824, 702, 1120, 1100, 832, 764, 821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865,
        845, 944, 984, 897, 822, 1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050,
        918, 986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
    ]  # fmt: skip
    assert [1871 + change.index for change in find_change_points(flow)] == [1899]


@pytest.mark.parametrize("values", [[3.0, 1.0, 4.0, 1.5, 5.0], [2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 3.0]])
def test_the_statistic_is_that_of_mann_and_whitney(values: list[float]) -> None:
    splits, found = largest_statistics(np.asarray([values, values[::-1]]))
    count = len(values)
    expected = []
    for before in range(1, count):
        u = stats.mannwhitneyu(values[:before], values[before:]).statistic
        after = count - before
        expected.append(abs(u - before * after / 2) / np.sqrt(before * after * (count + 1) / 12))
    assert found == pytest.approx([max(expected)] * 2)
    assert splits[0] == 1 + int(np.argmax(expected))
    assert expected[count - splits[1] - 1] == pytest.approx(max(expected))


def test_a_threshold_of_a_short_line_is_what_only_perfect_order_reaches() -> None:
    rows = np.asarray([[*range(MIN_RUNS)], [*range(1, MIN_RUNS // 2), 0, *range(MIN_RUNS // 2, MIN_RUNS)]], np.float64)
    rows[1, [5, 6]] = rows[1, [6, 5]]
    perfect, almost = largest_statistics(rows)[1]
    assert almost < threshold(MIN_RUNS) <= perfect
    assert find_change_points([1.0] * 6 + [2.0] * 6)[0].index == 6
    assert find_change_points([1.0] * 6 + [2.0] * 5) == []


@pytest.mark.parametrize("count", [8, 100, 1000])
def test_intervals_are_within_the_line_and_cover_it(count: int) -> None:
    layers = dict(seeded_intervals(count, 8))
    assert max(layers) == count
    for length, starts in layers.items():
        assert starts[0] == 0
        assert starts[-1] == count - length
        assert np.all(np.diff(starts) <= length / 2 + 1)
    assert sum(map(len, layers.values())) < 8 * count


def test_exact_values_change_wherever_they_do() -> None:
    sizes = [100.0] * 3 + [90.0] * 2 + [95.0]
    changes = find_change_points(sizes, exact=True)
    assert [(change.index, change.before, change.after) for change in changes] == [(3, 100, 90), (5, 90, 95)]
    assert find_change_points(sizes) == []
    random = np.random.default_rng(0)
    assert find_change_points(gaussian(random, 50), exact=True) == []


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [5.0] * 100])
def test_what_cannot_change_does_not(values: list[float]) -> None:
    assert find_change_points(values) == find_change_points(values, exact=True) == []


lines = st.lists(st.floats(1e-9, 1e9) | st.sampled_from([1.0, 2.0]), max_size=80)


@given(lines, st.booleans())
def test_every_change_point_lies_within_and_parts_two_levels(values: list[float], exact: bool) -> None:
    found = find_change_points(values, exact=exact)
    indices = [change.index for change in found]
    assert indices == sorted(set(indices))
    assert all(0 < index < len(values) for index in indices)
    bounds = [0, *indices, len(values)]
    medians = [np.median(values[a:b]) for a, b in pairwise(bounds)] if values else []
    assert [change.before for change in found] == medians[: len(found)]
    assert [change.after for change in found] == medians[1 : len(found) + 1]


@given(lines)
def test_only_the_order_of_values_matters_to_whether_there_is_a_change(values: list[float]) -> None:
    scaled = [1024.0 * value for value in values]
    assert [c.index for c in find_change_points(values)] == [c.index for c in find_change_points(scaled)]
