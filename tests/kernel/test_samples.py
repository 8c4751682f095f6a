"""Samples of one input or several, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.errors import DataError
from edgecc.samples import (
    by_name,
    from_names,
    in_order,
    match_names,
    read_arrays,
    sample_count,
    take,
    write_arrays,
)

ONE = np.arange(12).reshape(4, 3)
ORDERED = [ONE, 10 * np.arange(4)]
NAMED = {"image.left": ONE, "10": 10 * np.arange(4)}
EVERY_KIND = pytest.mark.parametrize("arrays", [ONE, ORDERED, NAMED], ids=["one", "ordered", "named"])


def assert_equal(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    assert list(by_name(left)) == list(by_name(right))
    for name, array in by_name(left).items():
        np.testing.assert_array_equal(array, by_name(right)[name])


@EVERY_KIND
def test_what_is_written_is_read_again(arrays: Any, tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, x=arrays, y=ONE)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_arrays(tmp_path / "a.npz")
    assert_equal(read["x"], arrays)
    assert_equal(read["y"], ONE)


def test_one_array_is_a_member_of_the_groups_name(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", x=ONE, y=ORDERED)
    with np.load(tmp_path / "a.npz") as members:
        assert members.files == ["x", "y.0", "y.1"]


@EVERY_KIND
def test_samples_are_taken_of_every_array(arrays: Any) -> None:
    assert sample_count(arrays) == 4
    taken = take(arrays, np.array([3, 1]))
    assert sample_count(taken) == 2
    assert [array[0].tolist() for array in by_name(taken).values()] == [
        array[3].tolist() for array in by_name(arrays).values()
    ]
    assert_equal(take(arrays, slice(None)), arrays)


def test_names_are_matched_and_positions_are_not() -> None:
    first, second = in_order(NAMED, ["10", "image.left"])
    assert first is NAMED["10"]
    assert second is NAMED["image.left"]
    assert in_order(ORDERED, ["b", "a"])[0] is ONE
    assert in_order(ONE, ["whatever"])[0] is ONE


@pytest.mark.parametrize(
    ("arrays", "names", "message"),
    [
        (NAMED, ["10", "right"], "expected samples for `10`, `right`; got `image.left`, `10`"),
        (NAMED, ["10"], "expected samples for `10`; got"),
        (ORDERED, ["a"], "expected samples for `a`; got 2 arrays without names"),
        (ONE, ["a", "b"], "got one array without a name"),
    ],
)
def test_what_does_not_fit_is_named(arrays: Any, names: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        in_order(arrays, names)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_every_order_of_names_is_matched(names: list[str], random: Any) -> None:
    shuffled = random.sample(names, len(names))
    assert match_names(shuffled, names) == names
    arrays = from_names({name: np.full(2, index) for index, name in enumerate(names)})
    assert [int(array[0]) for array in in_order(arrays, list(by_name(arrays)))] == list(range(len(names)))
