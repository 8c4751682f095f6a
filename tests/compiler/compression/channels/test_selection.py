"""Which units go, on channels that no Keras model stands behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.compiler.compression.channels.groups import Channels, FollowedLayer, Group
from edgecc.compiler.compression.channels.layers import Flow, Weight
from edgecc.compiler.compression.channels.selection import choose, quotas


def _channels(producers: dict[str, list[int]], groups: list[tuple[tuple[str, ...], list[int]]]) -> Channels:
    def layer(path: str, labels: list[int]) -> FollowedLayer:
        output = np.array(labels)
        return FollowedLayer(SimpleNamespace(), path, Flow(output, (Weight(None, (None, output), makes=1),)))

    followed = {index: layer(path, labels) for index, (path, labels) in enumerate(producers.items())}
    count = max(label for labels in producers.values() for label in labels) + 1
    return Channels(followed, {}, {}, tuple(Group(layers, np.array(units)) for layers, units in groups), {}, count)


def _independent(sizes: list[int]) -> Channels:
    starts = np.cumsum([0, *sizes])
    units = {f"l{i}": list(range(starts[i], starts[i + 1])) for i in range(len(sizes))}
    return _channels(units, [((name,), labels) for name, labels in units.items() if len(labels) > 1])


@pytest.mark.parametrize(("sparsity", "gone"), [(0.5, {0, 1, 4}), (0.25, {0, 4}), (0.1, set()), (0.99, {0, 1, 2, 4})])
def test_the_least_important_of_each_layer_go(sparsity: float, gone: set[int]) -> None:
    channels = _independent([4, 2])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert choose(channels, scores, quotas(channels, "layer"), sparsity) == gone


def test_the_least_important_of_the_model_go_wherever_they_are() -> None:
    channels = _independent([4, 2])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert choose(channels, scores, quotas(channels, "global"), 0.5) == {0, 1, 2}
    assert choose(channels, scores, quotas(channels, "global"), 0.99) == {0, 1, 2, 4}


def test_of_equals_the_first_goes() -> None:
    channels = _independent([4])
    assert choose(channels, np.ones(4), quotas(channels, "layer"), 0.5) == {0, 1}


def test_every_layer_of_a_group_keeps_a_channel() -> None:
    # `c` is added to `a` beside `b`: the units of `a` are the least important, but not all may go.
    channels = _channels({"a": [0, 1], "b": [2, 3], "c": [0, 1, 2, 3]}, [(("a", "b", "c"), [0, 1, 2, 3])])
    assert choose(channels, np.array([0.1, 0.2, 0.3, 0.4]), quotas(channels, "layer"), 0.5) == {0, 2}


def test_a_channel_that_must_stay_is_the_one_that_is_kept() -> None:
    # Label 0 is tied to the model's input, so all the others may go.
    channels = _channels({"a": [0, 1, 2]}, [(("a",), [1, 2])])
    assert choose(channels, np.zeros(3), quotas(channels, "layer"), 0.99) == {1, 2}


@given(
    sizes=st.lists(st.integers(2, 12), min_size=1, max_size=4),
    sparsity=st.floats(0.01, 0.99),
    iterations=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_after_the_last_step_the_asked_share_is_gone(
    sizes: list[int], sparsity: float, iterations: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    whole = _independent(sizes)
    asked = quotas(whole, "layer")
    left = {group.layers[0]: group.units.tolist() for group in whole.groups}
    for step in range(1, iterations + 1):
        channels: Any = _channels(left, [((name,), units) for name, units in left.items() if len(units) > 1])
        removed = choose(channels, random.random(whole.count), asked, sparsity * step / iterations)
        left = {name: [unit for unit in units if unit not in removed] for name, units in left.items()}

    for size, units in zip(sizes, left.values(), strict=True):
        assert len(units) == max(1, size - int(sparsity * size + 0.5))
