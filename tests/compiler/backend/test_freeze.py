from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecc.compiler.backend.freeze import Interface, freeze, interface_of
from edgecc.compiler.backend.origins import origin_of
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf


def test_the_frozen_function_is_the_model_on_one_sample(build: Any, samples_for: Any) -> None:
    import tensorflow as tf

    model = build("cnn")
    function = freeze(model)
    x = samples_for(model, 1)

    assert [tensor.name for tensor in function.inputs] == ["input:0"]
    assert [tensor.name for tensor in function.outputs] == ["output:0"]
    assert function.inputs[0].shape == (1, 10, 10, 3)
    assert not function.variables
    np.testing.assert_allclose(
        np.asarray(function(tf.constant(x))[0]), np.asarray(model(x, training=False)), rtol=1e-5, atol=1e-6
    )


def test_an_open_dimension_is_named(keras: Any) -> None:
    model = keras.Sequential([keras.Input((None, 3), name="wave"), keras.layers.Conv1D(2, 3)])
    with pytest.raises(ModelError, match=r"input `wave` .* got \(None, None, 3\)"):
        freeze(model)


def test_an_input_of_another_type_is_named(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,), dtype="int64", name="tokens"), keras.layers.Embedding(9, 2)])
    with pytest.raises(ModelError, match="input `tokens` to be float32 or int32; got int64"):
        freeze(model)


def test_several_inputs_and_outputs_keep_their_names_and_order(keras: Any) -> None:
    import tensorflow as tf

    zeta, alpha = keras.Input((2,), name="zeta"), keras.Input((2,), name="alpha")
    total = keras.layers.Add(name="total")([zeta, alpha])
    model = keras.Model([zeta, alpha], [total, keras.layers.Subtract(name="difference")([zeta, alpha])])
    function = freeze(model)
    assert [tensor.name for tensor in function.inputs] == ["zeta:0", "alpha:0"]
    assert [tensor.name for tensor in function.outputs] == ["total:0", "difference:0"]
    added, subtracted = function(tf.constant([[5.0, 1.0]]), tf.constant([[2.0, 3.0]]))
    assert np.asarray(added).tolist() == [[7, 4]]
    assert np.asarray(subtracted).tolist() == [[3, -2]]


def test_names_are_made_fit_and_distinct(keras: Any) -> None:
    left, right = keras.Input((2,), name="my image"), keras.Input((2,), name="m")
    inner = keras.Model(left, [keras.layers.Dense(1)(left), keras.layers.Dense(2)(left)], name="_inner")
    model = keras.Model([left, right], [right, *inner(left)], name="m")
    assert interface_of(model) == Interface(("my_image", "m_2"), ("m_3", "inner", "inner_1"))
    assert [tensor.name for tensor in freeze(model).outputs] == ["m_3:0", "inner:0", "inner_1:0"]


def test_outputs_in_a_dict_have_its_names(keras: Any) -> None:
    source = keras.Input((2,), name="only")
    model = keras.Model({"only": source}, {"b": keras.layers.Dense(1)(source), "a": keras.layers.Dense(2)(source)})
    assert interface_of(model) == Interface(("input",), ("a", "b"))
    assert [tuple(tensor.shape) for tensor in freeze(model).outputs] == [(1, 2), (1, 1)]


def test_a_subclassed_model_is_refused(keras: Any) -> None:
    class Mine(keras.Model):  # type: ignore[misc]
        pass

    with pytest.raises(ModelError, match="functional model with known inputs; got `Mine`"):
        freeze(Mine())


def test_another_precision_is_refused(keras: Any) -> None:
    layer = keras.layers.Dense(2, dtype="mixed_float16", name="half")
    model = keras.Sequential([keras.Input((4,)), layer])
    with pytest.raises(ModelError, match="layer `half` computes in float16"):
        freeze(model)


def test_a_loop_is_refused_with_the_way_out(keras: Any) -> None:
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.LSTM(5, name="memory"), keras.layers.Dense(2)])
    with pytest.raises(ModelError, match="layer `memory` has a While operation") as caught:  # it was not unrolled
        freeze(model)
    assert caught.value.hint is not None
    assert "unroll=True" in caught.value.hint


def test_a_layer_that_fails_on_one_sample_is_reported(keras: Any) -> None:
    class Pairs(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            if x.shape[0] == 1:
                raise ValueError("needs a pair")
            return x

    model = keras.Sequential([keras.Input((4,)), Pairs()], name="pairs")
    with pytest.raises(ModelError, match=r"`pairs` cannot be traced on inputs of shape .*needs a pair"):
        freeze(model)


def test_operations_are_traced_to_layers_whose_names_end_in_counters(keras: Any) -> None:
    names = ["dense", "dense_1", "dense_2", "dense_1_1"]
    layers = [keras.layers.Dense(3, name=name) for name in names]
    model = keras.Sequential([keras.Input((3,)), *layers])

    products = [each for each in freeze(model).graph.get_operations() if each.type == "MatMul"]

    assert [origin_of(model, each.name) for each in products] == [f"layer `{name}`" for name in names]
    assert origin_of(model, "somewhere/else/Add") == "operation `somewhere/else/Add`"
