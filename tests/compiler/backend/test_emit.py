from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import read_graph
from edgecc.compiler.backend.checks import float_operators
from edgecc.compiler.backend.emission import Source
from edgecc.compiler.backend.fold import FoldedModel
from edgecc.compiler.backend.freeze import freeze
from edgecc.compiler.backend.tflite import _unsupported
from edgecc.errors import DataError, ModelError

pytestmark = pytest.mark.tf

Build = Callable[[str], Any]
NAMES = ["cnn", "cnn_1d", "nested", "gelu", "recurrent"]


@pytest.mark.parametrize("format", Format)
@pytest.mark.parametrize("name", NAMES)
def test_a_float_artifact_computes_what_keras_does(
    build: Build, emit: Any, run_file: Any, samples_for: Any, name: str, format: Format
) -> None:
    model = build(name)
    x = samples_for(model)
    expected = np.asarray(model(x, training=False))

    emitted = emit(model, format)

    np.testing.assert_allclose(run_file(emitted.path, format, x), expected, rtol=1e-3, atol=1e-5)
    assert emitted.metrics["unfolded_in_artifact"] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "recurrent"])
def test_an_int8_artifact_is_int8_throughout(
    build: Build, emit: Any, run_file: Any, samples_for: Any, name: str
) -> None:
    model = build(name)
    x = samples_for(model)
    expected = np.asarray(model(x, training=False))

    emitted = emit(model, Format.TFLITE, "int8")

    graph = read_graph(emitted.path, Format.TFLITE)
    assert [tensor.dtype for tensor in (*graph.inputs, *graph.outputs)] == ["int8", "int8"]
    assert float_operators(graph) == []
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(graph.operator_counts())
    assert emitted.metrics["calibration_samples"] == 32
    error = np.abs(run_file(emitted.path, Format.TFLITE, x) - expected).mean()
    assert error < 0.03 * np.ptp(expected)


def test_a_recurrent_model_is_int8_throughout_or_refused(build: Build, emit: Any) -> None:
    """TensorFlow 2.21 leaves the SPLIT of an LSTM in float every few times: such a file must never come out."""
    try:
        emitted = emit(build("recurrent"), Format.TFLITE, "int8")
    except ModelError as error:
        assert "expected int8 throughout; layer `lstm" in error.message  # noqa: PT017 - either outcome is right
    else:
        assert float_operators(read_graph(emitted.path, Format.TFLITE)) == []


def test_metrics_tell_what_was_folded_and_what_is_there(build: Build, emit: Any) -> None:
    metrics = emit(build("nested"), Format.TFLITE).metrics

    assert metrics["batch_norms_folded"] == 5
    assert metrics["batch_norms_kept"] == {"first": "follows `input_layer` (InputLayer)"}
    # The separable convolution is a depthwise one and a plain one.
    assert metrics["operators"]["DEPTHWISE_CONV_2D"] == 2


def test_convolutions_in_onnx_have_their_biases(build: Build, emit: Any) -> None:
    assert "Add" not in emit(build("cnn_1d"), Format.ONNX).metrics["operators"]


@pytest.fixture
def inverse(keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model with a layer of the project's own that inverts a matrix, which neither format can."""
    (tmp_path / "odd_layers.py").write_text(
        "import keras\n"
        "import tensorflow as tf\n"
        "class Inverse(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return tf.linalg.inv(tf.matmul(x[:, :, None], x[:, None, :]))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from odd_layers import Inverse  # type: ignore[import-not-found]

    layers = keras.layers
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), Inverse(name="upside_down"), layers.Flatten()])


def test_an_operator_that_tflite_lacks_is_named_with_its_layer(inverse: Any, emit: Any) -> None:
    with pytest.raises(ModelError, match="layer `upside_down` needs MatrixInverse, which is not built into TFLite"):
        emit(inverse, Format.TFLITE)


def test_an_operator_that_onnx_lacks_is_named_with_its_layer(inverse: Any, emit: Any) -> None:
    with pytest.raises(ModelError, match="layer `upside_down` needs MatrixInverse, which is not one of them"):
        emit(inverse, Format.ONNX)


def test_another_failure_of_the_converter_is_told_in_one_line(build: Build) -> None:
    model = build("gelu")
    source = Source(FoldedModel(model, (), {}), freeze(model))
    message = "Could not translate\n<unknown>:0: error: too many dimensions\n<unknown>:0: note: see here"
    assert str(_unsupported(source, message)) == (
        "`gelu` cannot be converted to TFLite: <unknown>:0: error: too many dimensions"
    )


def test_float_compute_left_in_int8_is_named(keras: Any, emit: Any) -> None:
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(8), keras.layers.LayerNormalization(name="norm"), keras.layers.Dense(2)]
    )
    with pytest.raises(ModelError, match="expected int8 throughout; layer `norm` computes NEG in float"):
        emit(model, Format.TFLITE, "int8")


def test_int8_onnx_is_an_error(build: Build, emit: Any) -> None:
    with pytest.raises(ModelError, match="expected an ONNX variant in float32; got quantize = 'int8'"):
        emit(build("gelu"), Format.ONNX, "int8")


def test_int8_without_samples_is_an_error(keras: Any, make_context: Any, tmp_path: Path) -> None:
    from edgecc.compiler.backend import tflite

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    inputs = {"model": {"model.keras": tmp_path / "model.keras"}}
    with pytest.raises(DataError, match="needs representative samples"):
        tflite.emit(make_context({"model": {"builder": "models:build"}, "quantize": "int8"}, inputs))
