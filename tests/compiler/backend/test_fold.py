from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.backend.fold import fold_batch_normalization

pytestmark = pytest.mark.tf


def _randomized(model: Any) -> Any:
    random = np.random.default_rng(2)
    for weight in model.weights:
        weight.assign(random.uniform(0.5, 2.0, weight.shape))
    return model


def _assert_same_outputs(model: Any, folded: Any, x: Any) -> None:
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(np.asarray(folded(x, training=False)), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(("name", "folded"), [("cnn", 5), ("cnn_1d", 4)])
def test_every_batch_norm_after_a_linear_layer_is_folded(
    build: Callable[[str], Any], samples_for: Any, keras: Any, name: str, folded: int
) -> None:
    model = build(name)
    before = [weight.numpy().copy() for weight in model.weights]

    result = fold_batch_normalization(model)

    assert len(result.folded) == folded
    assert result.kept == {}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in result.model.layers)
    _assert_same_outputs(model, result.model, samples_for(model))
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())


def test_the_arithmetic_is_that_of_the_paper(keras: Any) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1), keras.layers.BatchNormalization(epsilon=0.75)])
    dense, batch_norm = model.layers
    dense.set_weights([np.array([[3.0]]), np.array([5.0])])
    batch_norm.set_weights([np.array([4.0]), np.array([7.0]), np.array([2.0]), np.array([0.25])])

    kernel, bias = fold_batch_normalization(model).model.get_layer(dense.name).get_weights()

    # gamma / sqrt(variance + epsilon) = 4 / sqrt(0.25 + 0.75) = 4
    np.testing.assert_allclose(kernel, [[12.0]])
    np.testing.assert_allclose(bias, [4 * (5 - 2) + 7])


def test_nested_models_are_folded_too(build: Callable[[str], Any], samples_for: Any) -> None:
    model = build("nested")

    result = fold_batch_normalization(model)

    assert len(result.folded) == 5
    assert all(name.startswith("cnn/") for name in result.folded)
    assert list(result.kept) == ["first"]
    _assert_same_outputs(model, result.model, samples_for(model))


def _after_activation(keras: Any, source: Any) -> Any:
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(source)
    return keras.layers.BatchNormalization(name="norm")(x)


def _two_consumers(keras: Any, source: Any) -> Any:
    x = keras.layers.Conv2D(4, 3, name="conv")(source)
    return keras.layers.Add()([x, keras.layers.BatchNormalization(name="norm")(x)])


def _shared_layer(keras: Any, source: Any) -> Any:
    conv = keras.layers.Conv2D(4, 3, padding="same", name="conv")
    x = keras.layers.BatchNormalization(name="norm")(conv(source))
    return conv(x)


def _shared_batch_norm(keras: Any, source: Any) -> Any:
    norm = keras.layers.BatchNormalization(name="norm")
    x = norm(keras.layers.Conv2D(4, 3, name="conv")(source))
    return norm(keras.layers.Conv2D(4, 3)(x))


def _other_axis(keras: Any, source: Any) -> Any:
    return keras.layers.BatchNormalization(axis=1, name="norm")(keras.layers.Conv2D(4, 3, name="conv")(source))


def _training(keras: Any, source: Any) -> Any:
    x = keras.layers.Conv2D(4, 3, name="conv")(source)
    return keras.layers.BatchNormalization(name="norm")(x, training=True)


def _pooling_between(keras: Any, source: Any) -> Any:
    x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Conv2D(4, 3)(source))
    return keras.layers.BatchNormalization(name="norm")(x)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_after_activation, "follows `conv`, which has an activation"),
        (_two_consumers, "follows `conv`, whose output is also used elsewhere"),
        (_shared_layer, "follows `conv`, which is used more than once"),
        (_shared_batch_norm, "used more than once"),
        (_other_axis, "normalizes axis 1, not the last one"),
        (_training, "called with training=True"),
        (_pooling_between, "follows `pool` (MaxPooling2D)"),
    ],
)
def test_what_cannot_be_folded_is_kept_with_the_reason(keras: Any, samples_for: Any, graph: Any, reason: str) -> None:
    source = keras.Input((8, 8, 4))
    model = _randomized(keras.Model(source, graph(keras, source)))

    result = fold_batch_normalization(model)

    assert result.folded == ()
    assert result.kept == {"norm": reason}
    _assert_same_outputs(model, result.model, samples_for(model))


def test_a_convolution_that_is_also_an_output_is_kept(keras: Any) -> None:
    source = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, name="conv")(source)
    model = keras.Model(source, [x, keras.layers.BatchNormalization(name="norm")(x)])

    assert fold_batch_normalization(model).kept == {"norm": "follows `conv`, whose output is also used elsewhere"}


def test_a_batch_norm_inside_a_wrapper_is_named(keras: Any) -> None:
    wrapped = keras.layers.TimeDistributed(keras.layers.BatchNormalization(name="norm"), name="each")
    model = keras.Sequential([keras.Input((4, 6)), keras.layers.Dense(5), wrapped])

    assert fold_batch_normalization(model).kept == {"each/norm": "inside `each`"}
