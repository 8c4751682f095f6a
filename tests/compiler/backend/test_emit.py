from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.emission import Source
from edgecc.compiler.backend.fold import FoldedModel
from edgecc.compiler.backend.freeze import freeze
from edgecc.compiler.backend.tflite import _unsupported
from edgecc.errors import ModelError

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


@pytest.mark.parametrize("name", NAMES)
def test_a_dynamic_batch_takes_any_number_of_samples(build: Build, emit: Any, samples_for: Any, name: str) -> None:
    model = build(name)
    session = onnxruntime.InferenceSession(emit(model, Format.ONNX, dynamic_batch=True).path)

    for count in (1, 5):
        x = samples_for(model, count)
        expected = np.asarray(model(x, training=False))
        (outputs,) = session.run(["output"], {"input": x})
        np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-5)
    assert session.get_inputs()[0].shape == ["batch", *model.inputs[0].shape[1:]]
    assert session.get_outputs()[0].shape == ["batch", *model.outputs[0].shape[1:]]


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
