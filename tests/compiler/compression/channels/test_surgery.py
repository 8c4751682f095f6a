"""The smaller model computes what the original does with the removed channels set to zero where they are read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecc.compiler.compression.channels.groups import Channels, find_channels
from edgecc.compiler.compression.channels.importance import kernel_norm
from edgecc.compiler.compression.channels.selection import choose, quotas
from edgecc.compiler.compression.channels.surgery import without_channels

pytestmark = pytest.mark.tf


def _masked(keras: Any, model: Any, channels: Channels, removed: Collection[int]) -> Any:
    """The original layers, with the removed channels set to zero at the input of every layer that reads them."""
    masks = {
        id(followed.layer): (~np.isin(weight.axes[weight.reads], list(removed))).astype(np.float32)
        for followed in channels.followed.values()
        for weight in followed.flow.weights
        if weight.reads is not None
    }
    nested: dict[int, Any] = {}

    def wrap(model: Any) -> Any:
        def call(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            if id(layer) in channels.graphs:
                layer = nested.setdefault(id(layer), wrap(layer))
            elif id(layer) in masks:
                x = keras.ops.multiply(x, masks[id(layer)])
            return layer(x, *args, **kwargs)

        graph = channels.graphs[id(model)]
        return keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)

    return wrap(model)


def _outputs(keras: Any, model: Any, x: Any) -> list[Any]:
    return [np.asarray(output) for output in keras.tree.flatten(model(x, training=False))]


def _assert_equals_masked(keras: Any, model: Any, sparsity: float, x: Any) -> None:
    channels = find_channels(model)
    scores = np.random.default_rng(0).random(channels.count)
    removed = choose(channels, scores, quotas(channels, "layer"), sparsity)

    smaller = without_channels(model, channels, removed)

    assert removed
    assert smaller.count_params() < model.count_params()
    expected = _outputs(keras, _masked(keras, model, channels, removed), x)
    for given_output, output in zip(_outputs(keras, smaller, x), expected, strict=True):
        np.testing.assert_allclose(given_output, output, rtol=1e-4, atol=1e-5 * np.abs(output).max())
    changes = [np.abs(a - b).max() for a, b in zip(_outputs(keras, model, x), expected, strict=True)]
    assert max(changes) > 0.01  # the masks do hide something


NETWORKS = (
    "plain", "residual", "depthwise", "concatenating", "excited", "decoder", "dense", "one_dimensional", "nested",
    "shared", "several_outputs", "volume",
)  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_masked_original_does(
    keras: Any, build: Callable[[str], Any], samples_for: Callable[[Any], Any], name: str
) -> None:
    model = build(name)
    before = [weight.numpy().copy() for weight in model.weights]

    _assert_equals_masked(keras, model, 0.5, samples_for(model))

    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_an_ordinary_model_with_the_same_layers(
    keras: Any, build: Callable[[str], Any], samples_for: Callable[[Any], Any], name: str, tmp_path: Any
) -> None:
    model = build(name)
    channels = find_channels(model)
    removed = choose(channels, kernel_norm(channels, 2), quotas(channels, "layer"), 0.5)

    smaller = without_channels(model, channels, removed)

    assert type(smaller) is type(model)
    assert smaller.name == model.name
    assert [layer.name for layer in smaller._flatten_layers()] == [layer.name for layer in model._flatten_layers()]
    assert [tensor.shape for tensor in smaller.outputs] == [tensor.shape for tensor in model.outputs]
    smaller.save(tmp_path / "smaller.keras")
    loaded = keras.saving.load_model(tmp_path / "smaller.keras")
    x = samples_for(model)
    for a, b in zip(_outputs(keras, smaller, x), _outputs(keras, loaded, x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_flattened_channels_are_every_cth_position(keras: Any) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((4, 4, 2)), layers.Conv2D(3, 3, name="conv"), layers.Flatten(), layers.Dense(5, name="head")]
    )
    channels = find_channels(model)
    (group,) = channels.groups

    smaller = without_channels(model, channels, {int(group.units[1])})

    kernel, bias = model.get_layer("conv").get_weights()
    np.testing.assert_array_equal(smaller.get_layer("conv").get_weights()[0], kernel[..., [0, 2]])
    np.testing.assert_array_equal(smaller.get_layer("conv").get_weights()[1], bias[[0, 2]])
    rows = [0, 2, 3, 5, 6, 8, 9, 11]  # 2 x 2 positions of 3 channels, without the second of each
    np.testing.assert_array_equal(
        smaller.get_layer("head").get_weights()[0], model.get_layer("head").get_weights()[0][rows]
    )


def test_a_depthwise_layer_loses_all_that_came_of_a_channel(keras: Any) -> None:
    layers = keras.layers
    source = keras.Input((6, 6, 2))
    x = layers.Conv2D(3, 3, name="conv")(source)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(x)
    x = layers.Concatenate()([source[:, :2, :2], x])
    model = keras.Model(source, layers.Conv2D(4, 1, name="head")(x))
    channels = find_channels(model)
    (group,) = channels.groups

    smaller = without_channels(model, channels, {int(group.units[0])})

    kernel, bias = model.get_layer("deep").get_weights()
    np.testing.assert_array_equal(smaller.get_layer("deep").get_weights()[0], kernel[:, :, [1, 2], :])
    np.testing.assert_array_equal(smaller.get_layer("deep").get_weights()[1], bias[2:])
    # The input's two channels come first; then the two of the channel that is gone.
    np.testing.assert_array_equal(
        smaller.get_layer("head").get_weights()[0], model.get_layer("head").get_weights()[0][:, :, [0, 1, 4, 5, 6, 7]]
    )


def test_nothing_removed_is_the_same_model(
    keras: Any, build: Callable[[str], Any], samples_for: Callable[[Any], Any]
) -> None:
    model = build("nested")

    copy = without_channels(model, find_channels(model), ())

    x = samples_for(model)
    np.testing.assert_array_equal(np.asarray(copy(x)), np.asarray(model(x)))
    assert not {id(weight) for weight in copy.weights} & {id(weight) for weight in model.weights}
    assert not copy.compiled


def test_frozen_layers_stay_frozen(build: Callable[[str], Any]) -> None:
    model = build("residual")
    model.get_layer("inner").trainable = False
    channels = find_channels(model)

    smaller = without_channels(model, channels, {int(channels.groups[0].units[0])})

    assert not smaller.get_layer("inner").trainable
    assert smaller.get_layer("outer").trainable


_KINDS = (
    "conv", "norm", "activation", "deep", "separable", "add", "multiply", "join", "up", "prelu", "pool", "gate",
)  # fmt: skip
_STEPS = st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(2, 6)), min_size=3, max_size=9)


def _random_network(keras: Any, steps: list[tuple[str, int]], head: str, seed: int) -> Any:
    """Layers on a growing set of tensors of one spatial size; each step continues from one of them."""
    layers, random = keras.layers, np.random.default_rng(seed)
    source = keras.Input((5, 5, 2))
    tensors = [layers.Conv2D(4, 3, padding="same")(source)]
    for kind, width in steps:
        x = tensors[random.integers(max(0, len(tensors) - 3), len(tensors))]
        own = x.shape[-1]
        match kind:
            case "conv":
                y = layers.Conv2D(width, 3, padding="same", activation="sigmoid")(x)
            case "norm":
                y = layers.BatchNormalization()(x)
            case "activation":
                y = layers.Activation("softplus")(x)
            case "deep":
                y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1 + width % 2)(x)
            case "separable":
                y = layers.SeparableConv2D(width, 3, padding="same", depth_multiplier=2)(x)
            case "add":
                y = layers.Add()([x, layers.Conv2D(own, 1)(tensors[0])])
            case "multiply":
                y = layers.Multiply()([x, layers.Conv2D(own, 1, activation="tanh")(tensors[-1])])
            case "join":
                y = layers.Concatenate()([x, tensors[random.integers(len(tensors))]])
            case "up":
                y = layers.Conv2DTranspose(width, 3, padding="same")(x)
            case "prelu":
                y = layers.PReLU()(x)
            case "pool":
                y = layers.AveragePooling2D(3, strides=1, padding="same")(x)
            case _:
                gate = layers.Dense(own, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
                y = layers.Multiply()([x, gate])
        tensors.append(y)
    flat = layers.Flatten()(tensors[-1]) if head == "flatten" else layers.GlobalMaxPooling2D()(tensors[-1])
    hidden = layers.Dense(6, activation="elu")(flat)
    return keras.Model(source, layers.Dense(3)(hidden), name="random")


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    steps=_STEPS,
    head=st.sampled_from(["flatten", "pool"]),
    sparsity=st.sampled_from([0.3, 0.5, 0.8]),
    seed=st.integers(0, 100),
)
def test_it_does_on_random_networks(
    keras: Any, steps: list[tuple[str, int]], head: str, sparsity: float, seed: int
) -> None:
    model = _random_network(keras, steps, head, seed)
    random = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(random.uniform(0.2, 1.2, weight.shape) * random.choice([-1, 1], weight.shape[-1:]))
        if "variance" in weight.path:
            weight.assign(np.abs(weight.numpy()))
    x = random.normal(size=(3, 5, 5, 2)).astype(np.float32)
    channels = find_channels(model)
    removed = choose(channels, random.random(channels.count), quotas(channels, "global"), sparsity)

    smaller = without_channels(model, channels, removed)

    assert smaller.count_params() < model.count_params()
    (given_output,), (expected,) = (
        _outputs(keras, smaller, x),
        _outputs(keras, _masked(keras, model, channels, removed), x),
    )
    np.testing.assert_allclose(given_output, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
