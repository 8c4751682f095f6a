from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.sparsity import WeightSparsity, artifact_sparsity, weight_sparsity
from edgecc.errors import ArtifactError


def tflite(path: Path, *tensors: tuple[str, npt.NDArray[Any], str, Sequence[int], int]) -> Path:
    """A file of nothing but constants: name, values, type, zero points and the axis these run along."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [], [], [], []
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    for name, values, dtype, zero_points, axis in tensors:
        tensor, buffer, quantization = schema.TensorT(), schema.BufferT(), schema.QuantizationParametersT()
        tensor.name, tensor.shape, tensor.type = name, list(values.shape), getattr(schema.TensorType, dtype)
        quantization.scale = [0.1] * len(zero_points)
        quantization.zeroPoint, quantization.quantizedDimension = list(zero_points), axis
        tensor.quantization, tensor.buffer = quantization if zero_points else None, len(model.buffers)
        buffer.data = list(values.tobytes())
        model.buffers.append(buffer)
        graph.tensors.append(tensor)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def int8(*rows: list[int]) -> npt.NDArray[np.int8]:
    return np.array(rows, np.int8)


def test_zeros_of_a_tflite_file_are_what_equals_the_zero_point(tmp_path: Path) -> None:
    file = tflite(
        tmp_path / "model.tflite",
        ("by_row", int8([1, 1, 5], [0, -2, 3]), "INT8", [1, -2], 0),
        ("by_column", int8([1, 1, 5], [0, -2, 3]), "INT8", [1, -2, 9], 1),
        ("whole", int8([1, 0, 5], [0, -2, 3]), "INT8", [0], 0),
        ("float", np.array([[0.0, -0.0, 1e-30, 2.0]], np.float32), "FLOAT32", [], 0),
        ("half", np.array([[0.0, 1.0]], np.float16), "FLOAT16", [], 0),
        ("bias", np.zeros(4, np.float32), "FLOAT32", [], 0),
        ("paddings", np.zeros((2, 2), np.int32), "INT32", [], 0),
    )
    assert weight_sparsity(file, Format.TFLITE) == (
        WeightSparsity("by_row", (2, 3), zeros=3, weights=6),
        WeightSparsity("by_column", (2, 3), zeros=2, weights=6),
        WeightSparsity("whole", (2, 3), zeros=2, weights=6),
        WeightSparsity("float", (1, 4), zeros=2, weights=4),
        WeightSparsity("half", (1, 2), zeros=1, weights=2),
    )
    assert artifact_sparsity(file, Format.TFLITE) == 10 / 24


def onnx_file(path: Path, nodes: list[Any], **constants: npt.NDArray[Any]) -> Path:
    import onnx

    initializers = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = onnx.helper.make_graph(nodes, "graph", [], [], initializers)
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def test_zeros_of_an_onnx_file_are_what_equals_the_zero_point(tmp_path: Path) -> None:
    from onnx.helper import make_node
    from onnx.numpy_helper import from_array

    values = int8([1, 1, 5], [0, -2, 3])
    nodes = [
        make_node("DequantizeLinear", ["by_row", "scales", "two"], ["a"], axis=0),
        make_node("DequantizeLinear", ["by_column", "scales", "three"], ["b"]),
        make_node("DequantizeLinear", ["symmetric", "scale"], ["c"]),
        make_node("MatMulInteger", ["x", "dynamic", "x_zero", "one"], ["d"]),
        make_node("QLinearConv", ["x", "s", "z", "convolution", "scale", "two", "s", "z"], ["e"]),
        make_node("Constant", [], ["inside"], value=from_array(np.array([[0.0, 3.0]], np.float32))),
        make_node("Constant", [], ["count"], value_int=3),
    ]
    file = onnx_file(
        tmp_path / "model.onnx", nodes,
        by_row=values, by_column=values, symmetric=values, dynamic=values, convolution=values,
        floats=np.array([[0.0, -0.0], [1e-30, 1.0]], np.float32), bias=np.zeros(7, np.float32),
        shape=np.zeros((2, 2), np.int64), scale=np.float32(0.1), scales=np.float32([0.1, 0.1]),
        one=np.int8(1), two=np.int8([1, -2]), three=np.int8([1, -2, 9]),
    )  # fmt: skip
    zeros = {tensor.name: (tensor.zeros, tensor.weights) for tensor in weight_sparsity(file, Format.ONNX)}
    assert zeros == {
        "by_row": (3, 6),
        "by_column": (2, 6),
        "symmetric": (1, 6),
        "dynamic": (2, 6),
        "convolution": (3, 6),
        "floats": (2, 4),
        "inside": (1, 2),
    }


@pytest.mark.parametrize("format", Format)
def test_a_file_without_weights_has_no_zeros(tmp_path: Path, format: Format) -> None:
    file = tflite(tmp_path / "model") if format is Format.TFLITE else onnx_file(tmp_path / "model", [])
    assert weight_sparsity(file, format) == ()
    assert artifact_sparsity(file, format) == 0


@pytest.mark.parametrize("format", Format)
def test_a_damaged_file_is_told(tmp_path: Path, format: Format) -> None:
    file = tmp_path / "model"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(ArtifactError, match=f"expected a model in the format {format}; it cannot be parsed"):
        weight_sparsity(file, format)


def test_weights_that_cannot_be_counted_are_told(tmp_path: Path) -> None:
    file = tflite(tmp_path / "model.tflite", ("packed", int8([1, 2]), "INT4", [0], 0))
    with pytest.raises(ArtifactError, match="`packed` is in int4"):
        weight_sparsity(file, Format.TFLITE)


@pytest.mark.tf
@pytest.mark.parametrize("format", Format)
def test_a_pruned_model_is_as_sparse_once_it_is_emitted(build: Callable[[str], Any], emit: Any, format: Format) -> None:
    """Batch normalization is folded on the way: a zero times its scale is a zero."""
    from edgecc.compiler.compression.kernels import prunable_kernels
    from edgecc.compiler.compression.masks import Masks
    from edgecc.compiler.session import fresh_keras
    from edgecc.variant import MagnitudePruning

    keras = fresh_keras(0, needed_by="a test")
    model = build("cnn")
    kernels = prunable_kernels(keras, model, ())
    whole = weight_sparsity(emit(model, format).path, format)
    section = MagnitudePruning(method="magnitude", sparsity=0.75, schedule="constant", epochs=0)
    Masks(kernels, section).begin(0)
    pruned = weight_sparsity(emit(model, format).path, format)

    assert sum(tensor.zeros for tensor in whole) == 0
    expected = sorted((kernel.values.size, int((kernel.values == 0).sum())) for kernel in kernels)
    assert sorted((tensor.weights, tensor.zeros) for tensor in pruned if tensor.zeros) == expected
