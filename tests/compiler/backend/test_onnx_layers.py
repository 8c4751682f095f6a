"""What `emit_onnx` says about its tensors, and what the quantizer makes of what it emits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.compression.onnx_quantizer import activation_names, quantize
from edgecc.variant import QuantizeSection

pytestmark = pytest.mark.tf

Build = Callable[[str], Any]
INT8 = QuantizeSection.model_validate({"scheme": "int8"})


def _emitted(emit: Any, model: Any) -> tuple[bytes, dict[str, str]]:
    path = emit(model, Format.ONNX).path
    return path.read_bytes(), json.loads((path.parent / "layers.json").read_text())


@pytest.mark.parametrize("name", ["cnn", "cnn_1d", "nested", "gelu", "recurrent"])
def test_every_linear_operator_has_a_layer_with_weights(build: Build, emit: Any, name: str) -> None:
    model = build(name)
    content, layers = _emitted(emit, model)

    nodes = onnx.load_from_string(content).graph.node
    assert set(layers) <= {tensor for node in nodes for tensor in node.output}
    linear = [node.output[0] for node in nodes if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    weighted = {layer.name for layer in model._flatten_layers(include_self=False) if layer.weights}
    assert linear
    assert {layers[tensor].rpartition("/")[2] for tensor in linear} <= weighted


def test_layers_are_named_by_their_path(build: Build, emit: Any) -> None:
    layers = set(_emitted(emit, build("nested"))[1].values())
    assert "first" in layers
    assert {layer.partition("/")[0] for layer in layers if "/" in layer} == {"cnn"}


def test_a_layer_of_its_own_has_all_its_operators(keras: Any, emit: Any) -> None:
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu", name="one"), layers.Flatten(name="flat"),
        layers.Dense(3, activation="softmax", bias_initializer="ones", name="two"),
    ])  # fmt: skip
    content, named = _emitted(emit, model)

    kinds = [(node.op_type, named.get(node.output[0])) for node in onnx.load_from_string(content).graph.node]

    assert [each for each in kinds if each[0] != "Transpose"] == [
        ("Conv", "one"), ("Relu", "one"), ("Reshape", "flat"), ("Gemm", "two"), ("Softmax", "two")
    ]  # fmt: skip
    assert {layer for kind, layer in kinds if kind == "Transpose"} <= {"one", "flat"}


def _quantized(content: bytes, x: Any, keep: Any = ()) -> bytes:
    names = activation_names(content)
    values = _run(expose(content, Format.ONNX, names[1:]), x) | {"input": x}
    return quantize(content, INT8, {name: (values[name].min(), values[name].max()) for name in names}, keep)


def _run(content: bytes, x: Any, optimized: Path | None = None) -> dict[str, Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {"input": x[index : index + 1]}) for index in range(len(x))]
    return {name: np.concatenate([row[index] for row in rows]) for index, name in enumerate(names)}


@pytest.mark.parametrize("name", ["cnn", "cnn_1d", "nested", "gelu", "recurrent"])
def test_a_keras_model_is_held_in_int8(build: Build, emit: Any, samples_for: Any, name: str) -> None:
    model = build(name)
    x = samples_for(model)
    content, _ = _emitted(emit, model)
    expected = _run(content, x)["output"]

    error = np.abs(_run(_quantized(content, x), x)["output"] - expected).mean()

    assert error < 0.03 * np.ptp(expected)


def test_layout_changes_do_not_keep_convolutions_from_integers(
    keras: Any, emit: Any, samples_for: Any, tmp_path: Path
) -> None:
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(2), layers.Flatten(),
        layers.Dense(3, bias_initializer="ones"),
    ])  # fmt: skip
    x = samples_for(model)

    _run(_quantized(_emitted(emit, model)[0], x), x, tmp_path / "optimized.onnx")

    kernels = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert kernels == {
        "QuantizeLinear": 1, "QLinearConv": 1, "NhwcMaxPool": 1, "Reshape": 1, "QGemm": 1, "DequantizeLinear": 1
    }  # fmt: skip
