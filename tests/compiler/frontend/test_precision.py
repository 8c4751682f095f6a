from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend.precision import (
    as_float32,
    compute_outputs_in_float32,
    dtype_policy,
    resolve_precision,
)
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf

SAMPLES = np.random.default_rng(0).normal(size=(32, 8, 8, 2)).astype(np.float32)


def network(keras: Any) -> Any:
    """Nested, wrapped, shared and functional parts: everything a rebuild could get wrong."""
    shared = keras.layers.Conv2D(4, 3, padding="same")
    part = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(4, 1)(inputs)
    x = keras.ops.relu(shared(shared(x)))
    x = keras.layers.TimeDistributed(keras.layers.Dense(4, activation="tanh"))(part(x))
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize(("policy", "largest"), [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2)])
def test_the_float32_model_computes_the_same(policy: str, largest: float) -> None:
    keras = fresh_keras(0, needed_by="a test")
    with dtype_policy(keras, policy):
        model = network(keras)
    compute_outputs_in_float32(model)
    assert keras.config.dtype_policy().name == "float32"
    mixed = np.asarray(model(SAMPLES))
    assert mixed.dtype == np.float32
    rebuilt = as_float32(keras, model, SAMPLES)
    assert {layer.compute_dtype for layer in rebuilt._flatten_layers()} == {"float32"}
    difference = np.abs(np.asarray(rebuilt(SAMPLES)) - mixed).max()
    assert 0 < difference < largest


def test_every_output_is_computed_in_float32_and_compared() -> None:
    keras = fresh_keras(0, needed_by="a test")
    with dtype_policy(keras, "mixed_bfloat16"):
        a, b = keras.Input((8, 8, 2), name="a"), keras.Input((3,), name="b")
        part = keras.Model(b, [keras.layers.Dense(2, name="inner")(b), keras.layers.Dense(1, name="unused")(b)])
        x = keras.layers.Concatenate()([keras.layers.Flatten()(a), b])
        model = keras.Model([a, b], [keras.layers.Dense(2, name="last")(x), part(b)[0]])
    compute_outputs_in_float32(model)
    samples = {"b": np.ones((4, 3), np.float32), "a": SAMPLES[:4]}
    assert [output.dtype.name for output in model(samples)] == ["float32", "float32"]
    assert part.get_layer("unused").compute_dtype == "bfloat16"
    for given, expected in zip(as_float32(keras, model, samples)(samples), model(samples), strict=True):
        np.testing.assert_allclose(np.asarray(given), np.asarray(expected), atol=0.05)


def test_a_float32_model_is_rebuilt_exactly() -> None:
    keras = fresh_keras(0, needed_by="a test")
    model = network(keras)
    np.testing.assert_array_equal(as_float32(keras, model, SAMPLES)(SAMPLES), model(SAMPLES))


def test_overflow_in_half_precision_is_noticed() -> None:
    keras = fresh_keras(0, needed_by="a test")
    with dtype_policy(keras, "mixed_float16"):
        model = network(keras)
    # Beyond 65,504, float16's largest number; float32 holds it easily.
    model.layers[1].kernel.assign(1e6 * model.layers[1].kernel)
    with pytest.raises(ModelError, match="does not compute what it computes in float16"):
        as_float32(keras, model, SAMPLES)


def test_a_layer_without_its_configuration_is_named() -> None:
    keras = fresh_keras(0, needed_by="a test")

    class Scale(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return self.factor * x

    model = keras.Sequential([keras.Input((2,)), Scale(2.0), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match=r"layer scale \(Scale\) cannot be made again"):
        as_float32(keras, model, SAMPLES[:, 0, 0])


def test_auto_is_float32_on_a_cpu_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert resolve_precision("auto").policy == "float32"
    assert "slower" in resolve_precision("auto").reason
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    assert resolve_precision("auto").policy == "mixed_float16"
    assert resolve_precision("mixed_bfloat16").policy == "mixed_bfloat16"


@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
def test_a_model_with_a_loss_of_the_users_own_is_rebuilt_uncompiled(kind: str) -> None:
    keras = fresh_keras(0, needed_by="a test")

    def loss(y: Any, outputs: Any) -> Any:
        return keras.ops.mean(keras.ops.square(y[:, :3] - outputs), axis=-1)

    layers = [keras.layers.Flatten(), keras.layers.Dense(3)]
    if kind == "Sequential":
        model = keras.Sequential([keras.Input((8, 8, 2)), *layers])
    else:
        inputs = keras.Input((8, 8, 2))
        model = keras.Model(inputs, layers[1](layers[0](inputs)))
    model.compile("adam", loss)
    rebuilt = as_float32(keras, model, SAMPLES)
    assert model.compiled
    assert not rebuilt.compiled
    np.testing.assert_allclose(np.asarray(rebuilt(SAMPLES)), np.asarray(model(SAMPLES)), rtol=1e-5)
