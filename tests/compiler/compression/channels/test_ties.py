from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgecc.compiler.compression.channels.ties import Ties

_PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


def _reachable(pairs: list[tuple[int, int]], start: int) -> set[int]:
    found = {start}
    while grown := {b for pair in pairs for a, b in (pair, pair[::-1]) if a in found} - found:
        found |= grown
    return found


@given(_PAIRS)
def test_labels_are_one_exactly_where_a_chain_of_ties_joins_them(pairs: list[tuple[int, int]]) -> None:
    ties = Ties()
    labels = ties.fresh(20)
    for a, b in pairs:
        ties.tie(labels[[a]], labels[[b]])

    resolved = ties.resolve(labels)

    for start in range(20):
        assert set(np.flatnonzero(resolved == resolved[start]).tolist()) == _reachable(pairs, start)


def test_what_is_tied_to_a_held_label_is_held_too_whenever_it_was_tied() -> None:
    ties = Ties()
    a, b, c = ties.fresh(2), ties.fresh(2), ties.fresh(2)
    ties.tie(a, b)
    ties.hold(b[:1], "needed")
    ties.tie(b, c)

    held = ties.held()

    assert held == {int(ties.resolve(c)[0]): "needed"}
    assert int(ties.resolve(a)[1]) not in held


def test_the_last_reason_counts() -> None:
    ties = Ties()
    labels = ties.fresh(1)
    ties.hold(labels, "first")
    ties.hold(labels, "last")
    assert list(ties.held().values()) == ["last"]
