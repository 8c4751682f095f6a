"""What an emitted artifact holds, read without running it: the same view of a TFLite and of an ONNX file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgecc.artifact import Format
from edgecc.errors import ArtifactError


@dataclass(frozen=True)
class Tensor:
    """A value that operators pass on; `shape` is empty where it is not known, `dtype` is named as numpy does."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool


@dataclass(frozen=True)
class Operator:
    """One step of the graph. Inputs that are left out are not listed."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fused_activation: bool = False


@dataclass(frozen=True)
class Graph:
    """An artifact's operators, in the order in which they run."""

    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def operator_counts(self) -> dict[str, int]:
        """How often each kind of operator is there, by name."""
        return dict(sorted(Counter(operator.kind for operator in self.operators).items()))


def read_graph(path: Path, format: Format) -> Graph:
    """Read an artifact's operators and tensors.

    Raises:
        ArtifactError: the file is not a model of that format.
    """
    readers = {Format.TFLITE: _read_tflite, Format.ONNX: _read_onnx}
    try:
        return readers[format](path)
    except Exception as error:  # the parsers raise whatever a damaged file leads them into
        raise ArtifactError(f"{path}: expected a {format} model; it cannot be parsed: {error}") from error


def _read_tflite(path: Path) -> Graph:
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError("it does not begin as a TFLite file does")
    model = schema.ModelT.InitFromPackedBuf(content)
    tensors = [[_tflite_tensor(tensor, model.buffers) for tensor in graph.tensors] for graph in model.subgraphs]
    kinds = [_tflite_kind(code) for code in model.operatorCodes]
    operators = [
        _tflite_operator(operator, kinds, own)
        for graph, own in zip(model.subgraphs, tensors, strict=True)
        for operator in graph.operators
    ]
    main = model.subgraphs[0]
    return Graph(
        operators=tuple(operators),
        inputs=tuple(tensors[0][index] for index in main.inputs),
        outputs=tuple(tensors[0][index] for index in main.outputs),
    )


def _tflite_tensor(tensor: Any, buffers: list[Any]) -> Tensor:
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    data = buffers[tensor.buffer].data
    dtype = _schema_names("TensorType")[tensor.type].lower()
    return Tensor(tensor.name.decode(), dtype, shape, constant=data is not None and len(data) > 0)


def _tflite_operator(operator: Any, kinds: list[str], tensors: list[Tensor]) -> Operator:
    def named(indices: Any) -> tuple[Tensor, ...]:
        return tuple(tensors[index] for index in indices if index >= 0)

    fused = bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))
    return Operator(kinds[operator.opcodeIndex], named(operator.inputs), named(operator.outputs), fused)


def _tflite_kind(code: Any) -> str:
    # Files from before 2020 hold the code in a field of one byte.
    return _schema_names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]


@cache
def _schema_names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    values = vars(getattr(schema, enum))
    return {value: name for name, value in values.items() if isinstance(value, int)}


def _read_onnx(path: Path) -> Graph:
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    constants = {tensor.name: _onnx_constant(tensor) for tensor in graph.initializer}
    values = {value.name: _onnx_tensor(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    tensors = values | constants

    def named(names: Any) -> tuple[Tensor, ...]:
        return tuple(tensors.get(name, Tensor(name, "", (), constant=False)) for name in names if name)

    return Graph(
        operators=tuple(Operator(node.op_type, named(node.input), named(node.output)) for node in graph.node),
        inputs=named(value.name for value in graph.input if value.name not in constants),
        outputs=named(value.name for value in graph.output),
    )


def _onnx_constant(tensor: Any) -> Tensor:
    return Tensor(tensor.name, _onnx_dtype(tensor.data_type), tuple(tensor.dims), constant=True)


def _onnx_tensor(value: Any) -> Tensor:
    kind = value.type.tensor_type
    shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    return Tensor(value.name, _onnx_dtype(kind.elem_type), shape, constant=False)


def _onnx_dtype(code: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(code).name) if code else ""
