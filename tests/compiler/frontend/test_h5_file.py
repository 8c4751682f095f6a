"""Model files in HDF5: what Keras 3 writes, what Keras 2 wrote, and what neither did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend.keras_file import read_keras_file
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf

X = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)


@pytest.fixture
def keras() -> Any:
    return fresh_keras(0, needed_by="a test")


def _save(keras: Any, path: Path, *layers: Any) -> Any:
    model = keras.Sequential([keras.Input((6, 4)), *layers, keras.layers.Dense(2)])
    random = np.random.default_rng(1)
    model.set_weights([random.normal(0, 0.5, weight.shape) for weight in model.get_weights()])
    model.save(path)
    return model


def _edit(path: Path, edit: Callable[[dict[str, Any]], None], version: str = "2.15.0") -> None:
    """Make a file of Keras 3 one of Keras 2."""
    import h5py

    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version


def test_a_file_that_keras_3_saved(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    model = _save(
        keras, tmp_path / "model.h5", layers.Bidirectional(layers.GRU(3, return_sequences=True)),
        layers.BatchNormalization(), layers.LSTM(3), layers.Dense(3, activation="hard_sigmoid"),
    )  # fmt: skip
    before = (tmp_path / "model.h5").read_bytes()
    loaded = read_keras_file(keras, tmp_path / "model.h5", tmp_path)
    np.testing.assert_array_equal(loaded(X), model(X))
    assert (tmp_path / "model.h5").read_bytes() == before


def test_several_inputs_and_outputs_in_a_file(keras: Any, tmp_path: Path) -> None:
    a, b = keras.Input((6, 4), name="a"), keras.Input((2,), name="b")
    x = keras.layers.Concatenate()([keras.layers.Flatten()(a), b])
    model = keras.Model([b, a], [keras.layers.Dense(1, name="one")(x), keras.layers.Dense(2, name="two")(x)])
    model.save(tmp_path / "model.hdf5")
    loaded = read_keras_file(keras, tmp_path / "model.hdf5", tmp_path)
    samples = {"a": X, "b": np.ones((5, 2), np.float32)}
    for given, expected in zip(loaded(samples), model(samples), strict=True):
        np.testing.assert_array_equal(given, expected)


def _as_keras_2(config: dict[str, Any]) -> None:
    """The configuration as Keras 2.15 wrote it for these layers."""
    source, memory, convolution = (layer["config"] for layer in config["config"]["layers"][:3])
    source["batch_input_shape"] = source.pop("batch_shape")
    memory |= {"time_major": False, "implementation": 2, "dtype": "float32"}
    unused = {"class_name": "GlorotUniform", "config": {"seed": None}}
    convolution |= {"groups": 1, "kernel_initializer": unused, "kernel_regularizer": None, "kernel_constraint": None}
    convolution["dtype"] = {"class_name": "Policy", "config": {"name": "mixed_bfloat16"}}


def test_a_file_that_keras_2_saved(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    path = tmp_path / "model.h5"
    model = _save(keras, path, layers.LSTM(3, return_sequences=True), layers.SeparableConv1D(4, 2), layers.Flatten())
    _edit(path, _as_keras_2)
    loaded = read_keras_file(keras, path, tmp_path)
    assert loaded.layers[1].dtype_policy.name == "mixed_bfloat16"
    for given, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, expected)
    np.testing.assert_allclose(np.asarray(loaded(X)), np.asarray(model(X)), rtol=0.1, atol=0.05)


def test_a_nested_sequential_model_of_keras_2(keras: Any, tmp_path: Path) -> None:
    """There its node 0 is the model's own, and the first call is node 1."""
    source = keras.Input((6, 4), name="source")
    part = keras.Sequential([keras.Input((6, 4)), keras.layers.Flatten(), keras.layers.Dense(3)], name="part")
    model = keras.Model(source, part(source))
    model.save(tmp_path / "model.h5")

    def edit(config: dict[str, Any]) -> None:
        config["config"]["output_layers"] = [["part", 1, 0]]

    _edit(tmp_path / "model.h5", edit)
    np.testing.assert_array_equal(read_keras_file(keras, tmp_path / "model.h5", tmp_path)(X), model(X))


def test_a_function_that_changed_its_meaning_is_refused(keras: Any, tmp_path: Path) -> None:
    _save(keras, tmp_path / "model.h5", keras.layers.LSTM(3, recurrent_activation="hard_sigmoid"))
    _edit(tmp_path / "model.h5", lambda config: None)
    with pytest.raises(ModelError, match="hard_sigmoid, which is another function in Keras 3"):
        read_keras_file(keras, tmp_path / "model.h5", tmp_path)


def _lambda_of_keras_2(config: dict[str, Any]) -> None:
    layer = config["config"]["layers"][1]["config"]
    code = layer["function"]["config"]
    layer |= {"function": [code["code"], code["defaults"], code["closure"]], "function_type": "lambda"}


@pytest.mark.parametrize("keras_2", [False, True])
def test_code_in_a_file_runs_only_where_it_is_allowed(keras: Any, tmp_path: Path, keras_2: bool) -> None:
    model = _save(keras, tmp_path / "model.h5", keras.layers.Lambda(lambda x: 2 * x), keras.layers.Flatten())
    if keras_2:
        _edit(tmp_path / "model.h5", _lambda_of_keras_2)
    with pytest.raises(ModelError, match="carries Python code in a Lambda layer"):
        read_keras_file(keras, tmp_path / "model.h5", tmp_path)
    loaded = read_keras_file(keras, tmp_path / "model.h5", tmp_path, allow_code=True)
    np.testing.assert_array_equal(loaded(X), model(X))


def test_a_class_of_the_users_own_is_named(keras: Any, tmp_path: Path) -> None:
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return 2 * x

    _save(keras, tmp_path / "model.h5", Twice())
    with pytest.raises(ModelError, match="Twice") as caught:
        read_keras_file(keras, tmp_path / "model.h5", tmp_path)
    assert "does not say where classes" in str(caught.value.hint)


def _weights_alone(keras: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]


def _unreadable_configuration(keras: Any, path: Path) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "{"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _, path: path.unlink(), "no such file"),
        (lambda _, path: path.write_bytes(b"PK\x03\x04 not HDF5" * 100), r"expected an \.h5 model file; .*signature"),
        (lambda _, path: path.write_bytes(path.read_bytes()[:3000]), r"expected an \.h5 model file; .*truncated"),
        (_weights_alone, "expected a whole model; the file holds weights or other data alone"),
        (_unreadable_configuration, "the file is damaged: its configuration cannot be read"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    keras: Any, tmp_path: Path, damage: Callable[[Any, Path], Any], message: str
) -> None:
    path = tmp_path / "model.h5"
    _save(keras, path, keras.layers.Flatten())
    damage(keras, path)
    with pytest.raises(ModelError, match=message):
        read_keras_file(keras, path, tmp_path)
