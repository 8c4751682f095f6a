"""Recurrent layers written the usual way, with a loop over time, reach both formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.freeze import freeze
from edgecc.compiler.backend.unroll import unroll_recurrent
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf

STEPS = 7


def _stack(keras: Any, *layers: Any) -> Any:
    return keras.Sequential([keras.Input((STEPS, 3)), *layers, keras.layers.Dense(2)])


def _shared_and_nested(keras: Any) -> Any:
    layers = keras.layers
    part = keras.Sequential([keras.Input((STEPS, 3)), layers.GRU(3, name="inner")], name="part")
    source = keras.Input((STEPS, 3))
    shared = layers.LSTM(3, return_sequences=True)
    return keras.Model(source, layers.Concatenate()([part(shared(shared(source))), layers.Flatten()(source)]))


MODELS = {
    "LSTM": lambda keras: _stack(keras, keras.layers.LSTM(4)),
    "GRU": lambda keras: _stack(keras, keras.layers.GRU(4)),
    "GRU of Keras 1": lambda keras: _stack(keras, keras.layers.GRU(4, reset_after=False)),
    "SimpleRNN": lambda keras: _stack(keras, keras.layers.SimpleRNN(4)),
    "backwards": lambda keras: _stack(keras, keras.layers.LSTM(4, go_backwards=True)),
    "sequences": lambda keras: _stack(keras, keras.layers.GRU(4, return_sequences=True)),
    "Bidirectional": lambda keras: _stack(keras, keras.layers.Bidirectional(keras.layers.LSTM(4), merge_mode="sum")),
    "stacked": lambda keras: _stack(
        keras,
        keras.layers.Bidirectional(keras.layers.GRU(4, return_sequences=True)),
        keras.layers.Dropout(0.3),
        keras.layers.LSTM(3, return_sequences=True),
        keras.layers.SimpleRNN(3),
    ),
    "cells": lambda keras: _stack(keras, keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(4)])),
    "shared and nested": _shared_and_nested,
}


def _randomized(model: Any) -> Any:
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("name", MODELS)
def test_every_format_computes_what_the_loop_computes(
    name: str, keras: Any, emit: Any, run_file: Any, samples_for: Any
) -> None:
    model = _randomized(MODELS[name](keras))
    x = samples_for(model, 8)
    expected = np.asarray(model(x, training=False))
    for format in Format:
        emitted = emit(model, format)
        np.testing.assert_allclose(run_file(emitted.path, format, x), expected, rtol=1e-4, atol=1e-5)
        assert not {"WHILE", "Loop", "LSTM", "GRU"} & set(emitted.metrics["operators"])


def test_the_model_stays_as_it_was(keras: Any) -> None:
    model = MODELS["stacked"](keras)
    unrolled = unroll_recurrent(model)
    assert [layer.unroll for layer in model._flatten_layers() if hasattr(layer, "unroll")].count(True) == 0
    assert all(layer.unroll for layer in unrolled._flatten_layers() if isinstance(layer, keras.layers.RNN))
    assert [layer.name for layer in unrolled.layers] == [layer.name for layer in model.layers]


def test_a_model_without_loops_is_returned_as_it_is(keras: Any) -> None:
    for layer in (keras.layers.Flatten(), keras.layers.LSTM(2, unroll=True)):
        model = _stack(keras, layer)
        assert unroll_recurrent(model) is model


def test_an_open_number_of_steps_is_refused(keras: Any) -> None:
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2)])
    with pytest.raises(ModelError, match="to have a known shape") as caught:
        freeze(unroll_recurrent(model))
    assert "number of time steps" in str(caught.value.hint)


def test_a_part_that_takes_any_number_of_steps_gets_those_of_the_whole(keras: Any) -> None:
    import tensorflow as tf

    source = keras.Input((STEPS, 3))
    part = keras.Sequential([keras.Input((None, 3)), keras.layers.Bidirectional(keras.layers.GRU(2))])
    model = _randomized(keras.Model(source, part(source)))
    x = np.random.default_rng(1).normal(size=(1, STEPS, 3)).astype(np.float32)
    function = freeze(unroll_recurrent(model))
    np.testing.assert_allclose(np.asarray(function(tf.constant(x))[0]), np.asarray(model(x)), rtol=1e-4, atol=1e-6)


def test_a_stateful_layer_is_refused(keras: Any) -> None:
    model = keras.Sequential(
        [keras.Input(batch_shape=(1, STEPS, 3)), keras.layers.LSTM(2, stateful=True, name="memory")]
    )
    with pytest.raises(ModelError, match="`memory` is stateful"):
        unroll_recurrent(model)
