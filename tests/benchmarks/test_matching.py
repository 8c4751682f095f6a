from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.benchmarks.matching import match_operators, operator_of
from edgecc.targets.profile import NodeTime


@dataclass(frozen=True)
class Fake:
    name: str
    kind: str = "Conv"
    outputs: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()
    size_bytes: int = 0


def test_operators_of_one_name_are_one_whatever_their_order_and_kind() -> None:
    before = [Fake("a"), Fake("b")]
    after = [Fake("b", "QLinearConv"), Fake("a")]
    assert sorted(match_operators(before, after)) == [(0, 1), (1, 0)]


def test_where_names_differ_kind_and_order_decide() -> None:
    before = [Fake("a"), Fake("p", "MaxPool"), Fake("b")]
    after = [Fake("x"), Fake("y"), Fake("q", "MaxPool")]
    assert match_operators(before, after) == [(0, 0), (1, 2), (2, 1)]


def test_what_only_one_side_has_stays_alone() -> None:
    assert match_operators([Fake("a"), Fake("b")], [Fake("b")]) == [(1, 0), (0, None)]
    assert match_operators([], [Fake("a")]) == [(None, 0)]


def test_a_name_that_is_there_twice_tells_nothing() -> None:
    before = [Fake("a", "Relu"), Fake("a", "Conv")]
    after = [Fake("a", "Conv")]
    assert match_operators(before, after) == [(0, None), (1, 0)]


FAKES = st.lists(st.builds(Fake, st.sampled_from("abcd"), st.sampled_from(["Conv", "Relu"])), max_size=8)


@given(before=FAKES, after=FAKES)
def test_every_operator_is_in_one_pair(before: list[Fake], after: list[Fake]) -> None:
    pairs = match_operators(before, after)
    for side, operators in enumerate((before, after)):
        assert sorted(pair[side] for pair in pairs if pair[side] is not None) == list(range(len(operators)))
    assert (None, None) not in pairs


@given(operators=FAKES)
def test_an_artifact_matches_itself(operators: list[Fake]) -> None:
    for before, after in match_operators(operators, operators):
        assert before is not None
        assert after is not None
        assert (operators[before].name, operators[before].kind) == (operators[after].name, operators[after].kind)


GRAPH = [
    Fake("Conv_0", "Conv", ("c",)),
    Fake("Relu_0", "Relu", ("r",), (0,)),
    Fake("Conv_1", "Conv", ("d",), (1,)),
    Fake("Add_0", "Add", ("s",), (2, 1)),
]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Relu_0", "Relu", 1),
        ("r_nchwc", "Conv", 0),  # a convolution and its activation, fused and called after what they give
        ("fused Conv_1", "FusedConv", 2),
        ("Conv_1_token_12", "QLinearConv", 2),
        ("s", "Conv", 2),  # an addition that was fused into the convolution before it
        ("Add_0", "Gemm", 3),  # no such operator before it
        ("ReorderOutput", "ReorderOutput", None),
        ("Conv_12", "Conv", None),
    ],
)
def test_nodes_that_the_runtime_fused_are_found(name: str, kind: str, expected: int | None) -> None:
    assert operator_of(NodeTime(name=name, kind=kind, seconds=1e-6), GRAPH) == expected
