"""How many weights of an emitted artifact are exactly zero, counted in the file itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import Format
from edgecc.errors import ArtifactError, MissingExtraError

Array = npt.NDArray[Any]

_WEIGHT_DTYPES = frozenset({"float16", "float32", "float64", "int8", "uint8", "int16"})
"""Wider integers are shapes, indices and biases."""
_NOT_COUNTED = frozenset({"bfloat16", "int2", "int4", "uint4"})
"""Types of weights whose zeros cannot be counted here."""
_QUANTIZED_ONNX_INPUTS = {
    "DequantizeLinear": (0, 2, 1),
    "MatMulInteger": (1, 3, -1),
    "ConvInteger": (1, 3, 0),
    "QLinearMatMul": (3, 5, -1),
    "QLinearConv": (3, 5, 0),
}
"""Positions of the weights and of their zero point among an operator's inputs, and the axis of several of them."""


@dataclass(frozen=True)
class WeightSparsity:
    """Zeros of one constant tensor. In integers, a zero is what equals the zero point."""

    name: str
    shape: tuple[int, ...]
    zeros: int
    weights: int


def weight_sparsity(path: Path, format: Format) -> tuple[WeightSparsity, ...]:
    """Count the zeros of each constant weight tensor (two dimensions or more) of an artifact.

    Raises:
        ArtifactError: the file is not a model of that format, or has weights of fewer than eight bits or in bfloat16.
        MissingExtraError: an ONNX file, and onnx is not installed.
    """
    readers = {Format.TFLITE: _tflite_weights, Format.ONNX: _onnx_weights}
    try:
        return tuple(readers[format](path))
    except (ArtifactError, MissingExtraError):
        raise
    except Exception as error:  # the parsers raise whatever a damaged file leads them into
        raise ArtifactError(f"{path}: expected a model in the format {format}; it cannot be parsed: {error}") from error


def artifact_sparsity(path: Path, format: Format) -> float:
    """The share of zeros among all the weights of an artifact; 0 where it has none.

    Raises:
        ArtifactError, MissingExtraError: as `weight_sparsity`.
    """
    tensors = weight_sparsity(path, format)
    return sum(tensor.zeros for tensor in tensors) / max(1, sum(tensor.weights for tensor in tensors))


def _counted(name: str, values: Array, zero_point: Array, axis: int) -> WeightSparsity:
    if zero_point.size > 1:
        zero_point = zero_point.reshape([-1 if each == axis % values.ndim else 1 for each in range(values.ndim)])
    zeros = int(np.count_nonzero(values == zero_point))
    return WeightSparsity(name, tuple(map(int, values.shape)), zeros, values.size)


def _is_weight(path: Path, name: str, dtype: str, rank: int) -> bool:
    if rank >= 2 and dtype in _NOT_COUNTED:
        raise ArtifactError(f"{path}: expected weights in {', '.join(sorted(_WEIGHT_DTYPES))}; `{name}` is in {dtype}")
    return rank >= 2 and dtype in _WEIGHT_DTYPES


def _tflite_weights(path: Path) -> Iterator[WeightSparsity]:
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError("it does not begin as a TFLite file does")
    model = schema.ModelT.InitFromPackedBuf(content)
    dtypes = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    counted = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = _tflite_bytes(model.buffers[tensor.buffer], content)
            name, dtype = (tensor.name or b"").decode(), dtypes[tensor.type]
            shape = () if tensor.shape is None else tuple(tensor.shape)
            if data and tensor.buffer not in counted and _is_weight(path, name, dtype, len(shape)):
                counted.add(tensor.buffer)
                values = np.frombuffer(data, dtype).reshape(shape)
                yield _counted(name, values, *_tflite_zero_point(tensor.quantization))


def _tflite_bytes(buffer: Any, content: bytes) -> bytes:
    # Models beyond 2 GB keep their bytes behind the flatbuffer, at an offset.
    if buffer.size > 1:
        return content[buffer.offset : buffer.offset + buffer.size]
    return b"" if buffer.data is None else bytes(buffer.data)


def _tflite_zero_point(quantization: Any) -> tuple[Array, int]:
    if quantization is None or quantization.zeroPoint is None or len(quantization.zeroPoint) == 0:
        return np.zeros(1, np.int64), 0
    return np.asarray(quantization.zeroPoint), int(quantization.quantizedDimension)


def _onnx_weights(path: Path) -> Iterator[WeightSparsity]:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="reading an ONNX file", library="onnx", extra="compile") from error

    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    zero_points = dict(_onnx_zero_points(graph, constants))
    for name, tensor in constants.items():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name
        if _is_weight(path, name, dtype, len(tensor.dims)):
            zero_point, axis = zero_points.get(name, (np.zeros(1, np.int64), 0))
            yield _counted(name, onnx.numpy_helper.to_array(tensor), zero_point, axis)


def _onnx_zero_points(graph: Any, constants: dict[str, Any]) -> Iterator[tuple[str, tuple[Array, int]]]:
    import onnx

    for node in graph.node:
        weights, zero_point, axis = _QUANTIZED_ONNX_INPUTS.get(node.op_type, (0, len(node.input), 0))
        if zero_point < len(node.input) and node.input[zero_point] in constants:
            given = [attribute.i for attribute in node.attribute if attribute.name == "axis"]
            values = onnx.numpy_helper.to_array(constants[node.input[zero_point]])
            yield node.input[weights], (values, given[0] if given else axis)
