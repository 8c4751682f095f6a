from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.compression.channels.groups import Channels, find_channels
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf


def _layers_of_groups(channels: Channels) -> set[frozenset[str]]:
    return {frozenset(group.layers) for group in channels.groups}


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("residual", [{"stem", "outer"}, {"inner"}, {"wide"}]),
        ("depthwise", [{"stem"}, {"point"}, {"separable"}, {"squeezed"}]),
        ("concatenating", [{"a", "b", "c"}, {"top", "bottom"}]),
        ("excited", [{"stem", "excite"}, {"squeeze"}, {"last"}]),
        ("decoder", [{"seed"}, {"up1"}, {"up2"}]),
        ("nested", [{"stem"}, {"base/inner1"}, {"base/inner2"}, {"top/hidden"}]),
        ("shared", [{"left", "right"}, {"twice"}, {"encoder/encoded"}]),
        ("several_outputs", [{"stem"}, {"hidden"}]),
    ],
)
def test_layers_that_share_channels_are_one_group(
    build: Callable[[str], Any], name: str, groups: list[set[str]]
) -> None:
    assert _layers_of_groups(find_channels(build(name))) == {frozenset(group) for group in groups}


def test_a_concatenation_ties_only_the_channels_that_an_addition_lines_up(build: Callable[[str], Any]) -> None:
    channels = find_channels(build("concatenating"))
    a, b, c = (
        next(layer.flow.output for layer in channels.producers() if layer.path == name) for name in ("a", "b", "c")
    )
    # c is added to b (6 channels) beside a (4 channels).
    np.testing.assert_array_equal(c, np.concatenate([b, a]))
    assert len(channels.groups[0].units) == 10


def test_a_dense_layer_that_is_reshaped_has_a_unit_a_channel(build: Callable[[str], Any]) -> None:
    channels = find_channels(build("decoder"))
    seed = next(layer for layer in channels.producers() if layer.path == "seed")
    np.testing.assert_array_equal(seed.flow.output, np.tile(channels.groups[0].units, 9))


def test_outputs_of_the_model_stay(build: Callable[[str], Any]) -> None:
    channels = find_channels(build("several_outputs"))
    assert channels.left_whole == {"features": "an output of the model", "classes": "an output of the model"}


def _around(keras: Any, middle: Callable[[Any, Any], Any]) -> Any:
    """A convolution, the layers in the middle, and a layer that reads them."""
    source = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(source)
    x = keras.layers.Conv2D(3, 3, name="reader")(middle(x, source))
    return keras.Model(source, keras.layers.GlobalAveragePooling2D()(x))


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        (lambda keras, x, _: keras.layers.Permute((2, 1, 3), name="m")(x), "read by `m` (Permute)"),
        (lambda keras, x, _: keras.layers.LayerNormalization(name="m")(x), "read by `m` (LayerNormalization)"),
        (lambda keras, x, _: keras.layers.Softmax(name="m")(x), "read by `m` (Softmax)"),
        (lambda keras, x, _: keras.layers.Activation("softmax", name="m")(x), "may mix channels"),
        (lambda keras, x, _: keras.layers.Conv2D(4, 3, groups=2, name="m")(x), "it has 2 groups"),
        (lambda keras, x, _: keras.layers.BatchNormalization(axis=1, name="m")(x), "it normalizes axis 1"),
        (lambda keras, x, _: keras.ops.relu(x), "(Relu)"),
        (lambda keras, x, source: x + source, "(Add)"),
        (lambda keras, x, source: keras.layers.Add()([x, source]), "tied to the model's input"),
        (lambda keras, x, _: keras.layers.Reshape((36, 4, 1))(x), "all tied to each other"),
        (lambda keras, x, _: keras.layers.TimeDistributed(keras.layers.Dense(4), name="m")(x), "(TimeDistributed)"),
        (lambda keras, x, _: keras.layers.Dense(4, activation=_own_function, name="m")(x), None),
    ],
)
def test_what_cannot_be_followed_is_left_whole_and_named(keras: Any, middle: Any, reason: str | None) -> None:
    channels = find_channels(_around(keras, lambda x, source: middle(keras, x, source)))

    if reason is None:  # a layer that reads may still be followed, though what it makes stays
        assert channels.left_whole["m"] == "its activation `_own_function` may mix channels"
        assert _layers_of_groups(channels) == {frozenset({"conv"})}
    else:
        assert reason in channels.left_whole["conv"]
        assert channels.groups == ()


def _own_function(x: Any) -> Any:
    return x[..., ::-1]


def test_a_subclass_may_compute_something_else(keras: Any) -> None:
    class Odd(keras.layers.ReLU):  # type: ignore[misc]
        pass

    channels = find_channels(_around(keras, lambda x, _: Odd(name="odd")(x)))
    assert channels.left_whole["conv"] == "read by `odd` (Odd): its channels cannot be followed"


def test_layers_that_are_not_known_are_named_themselves(keras: Any) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 4)), layers.Conv1D(5, 3, name="conv"), layers.GRU(6, name="gru"), layers.Dense(3, name="head")]
    )
    assert find_channels(model).left_whole == {
        "conv": "read by `gru` (GRU): its channels cannot be followed",
        "head": "an output of the model",
        "gru": "GRU: its channels cannot be followed",
    }


def test_a_layer_called_where_it_can_and_where_it_cannot_be_followed_is_left_whole(keras: Any) -> None:
    layers = keras.layers
    reshape = layers.Reshape((4, -1), name="folded")
    a, b = keras.Input((8, 4)), keras.Input((16, 4))
    x = layers.Conv1D(3, 1)(reshape(layers.Conv1D(4, 1, name="followed")(a)))
    y = layers.Conv1D(3, 1)(reshape(layers.Conv1D(4, 1, name="unfollowed")(b)))
    model = keras.Model([a, b], layers.Add()([x, y]))

    channels = find_channels(model)

    assert channels.groups == ()
    reason = "`folded` (Reshape): it is called on inputs of different sizes"
    reasons = {channels.left_whole[name] for name in ("followed", "unfollowed")}
    assert reasons == {f"shared with {reason}", f"read by {reason}"}


@pytest.mark.parametrize("by_name_first", [True, False])
def test_a_nested_model_whose_inputs_are_given_by_name_keeps_its_borders(keras: Any, by_name_first: bool) -> None:
    layers = keras.layers
    inner = [keras.Input((4,), name="b"), keras.Input((4,), name="a")]
    hidden = layers.Dense(6, name="hidden")(layers.Concatenate()(inner))
    nested = keras.Model(inner, layers.Dense(5, name="made")(hidden), name="nested")
    source = keras.Input((3,))
    one, other = (layers.Dense(4, name=name)(source) for name in ("one", "other"))
    given = [{"a": one, "b": other}, [one, other]]
    x, y = (nested(inputs) for inputs in (given if by_name_first else given[::-1]))
    model = keras.Model(source, layers.Dense(2)(layers.Concatenate()([x, y])))

    channels = find_channels(model)

    assert all("`nested` (Functional)" in channels.left_whole[name] for name in ("one", "other"))
    assert ("nested/hidden",) in [group.layers for group in channels.groups] or by_name_first
    assert not any("nested/made" in group.layers for group in channels.groups)


def test_partly_tied_to_the_input_is_partly_free(keras: Any) -> None:
    layers = keras.layers
    source = keras.Input((6, 6, 2))
    a = layers.Conv2D(3, 1, name="a")(source)
    x = layers.Add()([layers.Concatenate()([a, source]), layers.Conv2D(5, 1, name="b")(source)])
    model = keras.Model(source, layers.Conv2D(2, 1)(x))

    (group,) = find_channels(model).groups

    assert group.layers == ("a", "b") or group.layers == ("b", "a")
    assert len(group.units) == 3


@pytest.mark.parametrize("exclude", ["base/inner1", "inner1", "base"])
def test_excluded_layers_keep_their_channels(build: Callable[[str], Any], exclude: str) -> None:
    channels = find_channels(build("nested"), [exclude])

    assert channels.left_whole["base/inner1"] == "excluded"
    assert ("base/inner2" in channels.left_whole) is (exclude == "base")


def test_an_excluded_name_that_matches_nothing_is_told_with_the_nearest(build: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match="`nested` has no `inner3`") as caught:
        find_channels(build("nested"), ["inner3"])
    assert caught.value.hint == "did you mean `inner2`?"
