from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.compiler.compression.fallback import Fallback, Layers, Search
from edgecc.errors import VerificationError
from edgecc.progress import Silent

HARMS = st.dictionaries(st.sampled_from("abcdefghij"), st.integers(0, 20), min_size=1)


def _search(
    harms: Mapping[str, int], max_drop: float, sensitivity: Mapping[str, float] | None = None
) -> tuple[Fallback, int]:
    """Search in a model where each quantized layer costs its harm. Also counts how often it was quantized."""
    count = itertools.count()

    def quantize(kept: Layers) -> bytes:
        next(count)
        return ",".join(kept).encode()

    def kept(content: bytes) -> set[str]:
        return set(content.decode().split(","))

    def cost(content: bytes, of: Mapping[str, float]) -> float:
        return sum(value for layer, value in of.items() if layer not in kept(content))

    search = Search(
        quantize=quantize,
        score=lambda content: 100 - cost(content, harms),
        error=lambda content: cost(content, sensitivity or harms),
        float_score=100,
        max_drop=max_drop,
        task=Silent(),
    )
    return search.run(list(harms)), next(count)


def _fewest(harms: Mapping[str, int], max_drop: float) -> int:
    """By trying all subsets."""
    return min(
        count
        for count in range(len(harms) + 1)
        for kept in itertools.combinations(harms, count)
        if sum(harms.values()) - sum(harms[layer] for layer in kept) <= max_drop
    )


@given(HARMS, st.integers(0, 60))
def test_as_few_as_there_can_be(harms: Mapping[str, int], max_drop: int) -> None:
    fewest = _fewest(harms, max_drop)
    if fewest == len(harms):
        with pytest.raises(VerificationError):
            _search(harms, max_drop)
        return
    found, _ = _search(harms, max_drop)
    assert len(found.kept) == fewest
    assert sum(harm for layer, harm in harms.items() if layer not in found.kept) <= max_drop
    assert list(found.kept) == [layer for layer in harms if layer in found.kept]


@given(HARMS, st.integers(0, 60), st.randoms(use_true_random=False))
def test_a_misleading_ranking_still_gives_layers_that_are_all_needed(
    harms: Mapping[str, int], max_drop: int, random: object
) -> None:
    order = list(harms)
    random.shuffle(order)  # type: ignore[attr-defined]
    sensitivity = {layer: float(rank) for rank, layer in enumerate(order)}
    try:
        found, _ = _search(harms, max_drop, sensitivity)
    except VerificationError:
        lowest = min(sensitivity, key=lambda layer: sensitivity[layer])
        assert harms[lowest] > max_drop
        return

    def drop(kept: set[str]) -> int:
        return sum(harm for layer, harm in harms.items() if layer not in kept)

    assert drop(set(found.kept)) <= max_drop
    for layer in found.kept:
        assert drop(set(found.kept) - {layer}) > max_drop


def test_nothing_is_ranked_where_nothing_must_be_kept() -> None:
    found, quantized = _search({"a": 1, "b": 2}, max_drop=3)
    assert (found.kept, found.ranking, quantized) == ((), (), 1)
    assert [(attempt.kept, attempt.score) for attempt in found.attempts] == [((), 97)]


def test_every_attempt_is_told_and_none_made_twice() -> None:
    harms = {name: 2**rank for rank, name in enumerate("abcdefgh")}
    found, _ = _search(harms, max_drop=4)
    assert found.ranking == tuple("hgfedcba")
    assert found.kept == tuple("cdefgh")
    tried = [frozenset(attempt.kept) for attempt in found.attempts]
    assert len(set(tried)) == len(tried)
    assert frozenset("cdefgh") in tried


def test_a_limit_is_inclusive_whatever_the_rounding() -> None:
    search = Search(
        quantize=lambda kept: b"", score=lambda _: 0.943, error=lambda _: 0.0, float_score=0.95, max_drop=0.007,
        task=Silent(),
    )  # fmt: skip
    assert search.run(["a", "b"]).kept == ()


def test_a_drop_that_cannot_be_avoided_names_who_is_to_blame() -> None:
    with pytest.raises(VerificationError) as caught:
        _search({"a": 5, "b": 9, "c": 7, "d": 6}, max_drop=3)
    assert caught.value.message == (
        "expected a drop of at most 3 from the float artifact's score 100 on validation data; the best is 95, "
        "with 3 of 4 layers in float (with none: 73). The most sensitive layers: b, c, d"
    )


@pytest.mark.parametrize("harms", [{"a": 5}, {}])
def test_there_must_be_a_layer_left_to_quantize(harms: Mapping[str, int]) -> None:
    search = Search(lambda _: b"", lambda _: 0.0, lambda _: 0.0, float_score=5, max_drop=3, task=Silent())
    with pytest.raises(VerificationError, match="the best is 0, with 0 of"):
        search.run(list(harms))
