"""Which recipes are proposed: all of a small space, a sample of a large one."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecc.budget_search.proposals import Proposal, Proposer, proposer
from edgecc.search_space import OpenVariant, open_options

pytest.importorskip("optuna", reason="Optuna is not installed: edgecc[search] brings it")


def opened(name: str, **options: Any) -> OpenVariant:
    return OpenVariant(name, options, tuple(open_options(options)))


def drawn(proposals: Proposer, count: int) -> list[Proposal]:
    found = []
    for _ in range(count):
        proposal = proposals.propose()
        assert proposal is not None
        proposals.tell(proposal, [float(len(found)), -float(len(found))], {"size": 1.0 - len(found)})
        found.append(proposal)
    return found


SMALL = (opened("a", x={"choice": [1, "two", [3]]}, y={"low": 0.0, "high": 0.3, "step": 0.1}), opened("b"))


def test_a_small_space_is_proposed_as_a_whole_and_each_once() -> None:
    everything = proposer(SMALL, 13, 2, seed=0)
    found = [(each.variant.name, repr(dict(each.values))) for each in drawn(everything, 13)]
    assert everything.propose() is None
    assert len(set(found)) == 13
    assert ("b", "{}") in found
    assert ("a", "{'x': [3], 'y': 0.3}") in found


@pytest.mark.parametrize("most", [13, 12], ids=["all", "sampled"])
def test_the_seed_tells_the_order(most: int) -> None:
    def order(seed: int) -> list[Any]:
        return [(each.variant.name, each.values) for each in drawn(proposer(SMALL, most, 2, seed), 13)]

    assert order(1) == order(1)
    assert order(1) != order(2)


@given(
    low=st.integers(1, 50), length=st.integers(1, 500), step=st.none() | st.integers(1, 7), log=st.booleans(),
    start=st.floats(0.01, 10), width=st.floats(0.1, 10), seed=st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_samples_are_values_of_their_options(
    low: int, length: int, step: int | None, log: bool, start: float, width: float, seed: int
) -> None:
    whole: dict[str, Any] = {"low": low, "high": low + length}
    if step is not None and step <= length:
        whole["step"] = step
    elif log:
        whole["log"] = True
    variant = opened(
        "a", whole=whole, any={"low": start, "high": start + width, "log": log}, kind={"choice": ["x", {"y": 1}, None]},
        grows={"choice": [1, 2.5, 7]}, stepped={"low": 0.5, "high": 2.0, "step": 0.25},
    )  # fmt: skip
    options = {option.name: option.values for option in variant.options}
    for proposal in drawn(proposer([variant], 5, 2, seed), 14):
        values = dict(proposal.values)
        assert start <= values.pop("any") <= start + width
        assert type(values["whole"]) is int
        for name, value in values.items():
            assert value in options[name].every()


def test_every_variant_is_sampled() -> None:
    variants = [opened(name, x={"low": 1, "high": 900}) for name in ("a", "b", "c")]
    assert {each.variant.name for each in drawn(proposer(variants, 20, 2, seed=0), 20)} == {"a", "b", "c"}


def test_optuna_says_nothing_to_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn(proposer(SMALL, 2, 2, seed=0), 15)
    assert caught == []
    assert capfd.readouterr() == ("", "")


def test_what_keeps_to_the_limits_is_proposed_more_often() -> None:
    """Only up to a tenth of the range is within them."""
    variant = opened("a", x={"low": 0.0, "high": 1.0})
    proposals = proposer([variant], 40, 2, seed=0)
    values = []
    for _ in range(40):
        proposal = proposals.propose()
        assert proposal is not None
        x = proposal.values["x"]
        proposals.tell(proposal, [x, -x], {"size": x - 0.1})
        values.append(x)
    first, last = (sum(x <= 0.1 for x in part) for part in (values[:10], values[-10:]))
    assert last > first
