from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend.initialization import initialize
from edgecc.compiler.session import fresh_keras

pytestmark = pytest.mark.tf


@pytest.fixture
def keras() -> Any:
    return fresh_keras(0, needed_by="a test")


def std_after(keras: Any, *layers: Any, inputs: tuple[int, ...] = (200,)) -> float:
    """The standard deviation of the first layer's kernel."""
    model = keras.Sequential([keras.Input(inputs), *layers])
    initialize(keras, model, seed=1)
    return float(np.std(model.layers[0].kernel))


HE, GLOROT, LECUN = math.sqrt(2 / 200), math.sqrt(2 / (200 + 300)), math.sqrt(1 / 200)


@pytest.mark.parametrize(
    ("own", "following", "expected"),
    [
        ("relu", [], HE),
        ("gelu", [], HE),
        ("silu", [], HE),
        ("leaky_relu", [], HE),
        ("elu", [], HE),
        ("selu", [], LECUN),
        ("tanh", [], GLOROT),
        ("sigmoid", [], GLOROT),
        ("softmax", [], GLOROT),
        (None, [], GLOROT),
        (None, ["ReLU"], HE),
        (None, ["LeakyReLU"], HE),
        (None, ["BatchNormalization", "ReLU"], HE),
        (None, ["BatchNormalization", "Dropout", "ELU"], HE),
        (None, ["BatchNormalization", "Softmax"], GLOROT),
        ("tanh", ["ReLU"], GLOROT),
    ],
)
def test_the_kernel_fits_the_activation(keras: Any, own: str | None, following: list[str], expected: float) -> None:
    arguments = {"Dropout": (0.1,)}
    layers = [getattr(keras.layers, name)(*arguments.get(name, ())) for name in following]
    # 60,000 values: the sample's standard deviation is within 1.5 % of the distribution's.
    assert std_after(keras, keras.layers.Dense(300, activation=own), *layers) == pytest.approx(expected, rel=0.015)


def test_what_follows_next_is_a_layer_of_its_own(keras: Any) -> None:
    assert std_after(keras, keras.layers.Dense(300), keras.layers.Dense(5, activation="relu")) == pytest.approx(
        GLOROT, rel=0.015
    )


def test_a_residual_connection_and_an_operation_are_followed(keras: Any) -> None:
    inputs = keras.Input((200,))
    first = keras.layers.Dense(200)
    total = keras.layers.Add()([keras.layers.BatchNormalization()(first(inputs)), inputs])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.ops.relu(total)))
    initialize(keras, model, seed=1)
    assert float(np.std(first.kernel)) == pytest.approx(HE, rel=0.015)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda layers: layers.Conv2D(64, 3, activation="relu"), 9 * 32),
        (lambda layers: layers.Conv2D(64, 3, groups=4, activation="relu"), 9 * 8),
        (lambda layers: layers.DepthwiseConv2D(9, depth_multiplier=8, activation="relu"), 81),
        (lambda layers: layers.Conv2DTranspose(64, 3, activation="relu"), 9 * 32),
    ],
)
def test_convolutions_count_what_one_output_sees(keras: Any, layer: Any, fan_in: int) -> None:
    assert std_after(keras, layer(keras.layers), inputs=(12, 12, 32)) == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)


def test_a_separable_convolution_has_two_kernels(keras: Any) -> None:
    layer = keras.layers.SeparableConv2D(200, 9, activation="relu")
    initialize(keras, keras.Sequential([keras.Input((12, 12, 100)), layer]), seed=1)
    assert float(np.std(layer.depthwise_kernel)) == pytest.approx(math.sqrt(2 / (81 + 81)), rel=0.03)
    assert float(np.std(layer.pointwise_kernel)) == pytest.approx(math.sqrt(2 / 100), rel=0.03)


def test_nested_models_are_reached_and_the_seed_decides(keras: Any) -> None:
    inner = keras.Sequential([keras.Input((200,)), keras.layers.Dense(300, activation="relu")])
    twins = keras.layers.Dense(300, activation="relu"), keras.layers.Dense(300, activation="relu")
    model = keras.Sequential([keras.Input((200,)), inner, *twins])
    initialize(keras, model, seed=1)
    first = [np.array(weights) for weights in model.get_weights()]
    assert np.std(first[0]) == pytest.approx(HE, rel=0.015)
    assert not np.array_equal(first[2][:200], first[4][:200])
    initialize(keras, model, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, model.get_weights(), strict=True))
    initialize(keras, model, seed=2)
    assert not np.array_equal(first[0], model.get_weights()[0])
