"""Reads an ONNX file with the onnx library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecc.compiler.backend.artifact_graph import Graph, Operator, StoredConstant, Tensor
from edgecc.errors import MissingExtraError

_NARROW = frozenset({"int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16"})
_STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def read_onnx(path: Path) -> Graph:
    """Read the nodes, those in the bodies of loops and branches as well.

    Constant nodes are read as constants. A node reads what its bodies read of the graph around them.

    Raises:
        MissingExtraError: onnx is not installed. Else whatever a damaged file leads the parser into.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="reading an ONNX file", library="onnx", extra="compile") from error
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    reader = _Reader(graph)
    bodies = list(_bodies(graph))
    nodes = [node for each in (graph, *bodies) for node in each.node]
    operators = [reader.operator(node) for node in nodes if node.op_type != "Constant"]
    return Graph(
        operators=tuple(operators),
        inputs=reader.tensors(value.name for value in graph.input if value.name not in reader.constants),
        outputs=reader.tensors(value.name for value in graph.output),
        body_outputs=reader.tensors(value.name for body in bodies for value in body.output),
        stored=tuple(_stored(tensor, name) for name, tensor in reader.constants.items()),
    )


class _Reader:
    """Tensors by name."""

    def __init__(self, graph: Any) -> None:
        graphs = [graph, *_bodies(graph)]
        self.constants = {name: tensor for each in graphs for name, tensor in _constants(each)}
        self.values = {value.name: value for each in graphs for value in (*each.value_info, *each.input, *each.output)}
        self.quantized = {name for each in graphs for node in each.node for name in _quantized(node)}

    def operator(self, node: Any) -> Operator:
        """A node as an operator."""
        domain = "" if node.domain in _STANDARD_DOMAINS else node.domain
        read = (*node.input, *(name for body in _bodies_of(node) for name in _captured(body)))
        return Operator(node.op_type, self.tensors(read), self.tensors(node.output), name=node.name, domain=domain)

    def tensors(self, names: Any) -> tuple[Tensor, ...]:
        """The tensors behind names; an empty name is an input left out."""
        return tuple(self._tensor(name) for name in names if name)

    def _tensor(self, name: str) -> Tensor:
        if name in self.constants:
            tensor = self.constants[name]
            dtype, shape = _dtype(tensor.data_type), tuple(tensor.dims)
        elif name in self.values:
            kind = self.values[name].type.tensor_type
            dtype = _dtype(kind.elem_type)
            shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
        else:
            dtype, shape = "", ()
        quantized = name in self.quantized and dtype in _NARROW
        return Tensor(name, dtype, shape, name in self.constants, quantized)


def _bodies_of(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from ([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _bodies(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        for body in _bodies_of(node):
            yield body
            yield from _bodies(body)


def _captured(body: Any) -> Iterator[str]:
    """What a body reads that it does not make itself."""
    own = {value.name for value in body.input} | {name for node in body.node for name in node.output}
    for node in body.node:
        inner = (name for deeper in _bodies_of(node) for name in _captured(deeper))
        yield from (name for name in (*node.input, *inner) if name and name not in own)
    yield from (value.name for value in body.output if value.name not in own)


def _constants(graph: Any) -> Iterator[tuple[str, Any]]:
    import onnx

    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and node.domain in _STANDARD_DOMAINS:
            (attribute,) = node.attribute
            value = onnx.helper.get_attribute_value(attribute)
            is_tensor = isinstance(value, onnx.TensorProto)
            yield node.output[0], value if is_tensor else _as_tensor(value)


def _as_tensor(value: Any) -> Any:
    """Of a constant that is given as a plain number, text or list of them, or sparse."""
    import numpy as np
    import onnx

    if isinstance(value, onnx.SparseTensorProto):
        return value.values
    array = np.asarray(value)
    plain = {"f": np.float32, "S": object}
    return onnx.numpy_helper.from_array(array.astype(plain.get(array.dtype.kind, array.dtype)))


def _quantized(node: Any) -> Iterator[str]:
    """Names that are quantized where their type is an integer."""
    if any(word in node.op_type for word in ("Quantize", "Dequantize", "QLinear", "QGemm", "Integer")):
        yield from (*node.input, *node.output)


def _stored(tensor: Any, name: str) -> StoredConstant:
    import onnx

    text = b"\0".join(tensor.string_data)
    content = text or tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
    return StoredConstant(name, len(content), hashlib.sha256(content).hexdigest())


def _dtype(code: int) -> str:
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(code).name) if code else ""
