"""Reads a TFLite file by LiteRT's schema."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from edgecc.compiler.backend.artifact_graph import Graph, Operator, StoredConstant, Tensor

_INTEGERS = frozenset({"int2", "int4", "uint4", "int8", "uint8", "int16", "uint16"})
_FLEX = "Flex"
"""Begins the name of every custom operator that TensorFlow's own kernels would have to run."""


def read_tflite(path: Path) -> Graph:
    """Read the operators of every subgraph; raises whatever a damaged file leads the parser into."""
    from ai_edge_litert import schema_py_generated as schema

    content = path.read_bytes()
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError("it does not begin as a TFLite file does")
    model = schema.ModelT.InitFromPackedBuf(content)
    tensors = [
        [_tensor(tensor, model.buffers, f"{number}:{index}") for index, tensor in enumerate(graph.tensors)]
        for number, graph in enumerate(model.subgraphs)
    ]
    kinds = [_kind(code) for code in model.operatorCodes]
    operators = [
        _operator(operator, kinds, own)
        for graph, own in zip(model.subgraphs, tensors, strict=True)
        for operator in graph.operators or ()
    ]
    main = model.subgraphs[0]
    bodies = zip(model.subgraphs[1:], tensors[1:], strict=True)
    return Graph(
        operators=tuple(operators),
        inputs=tuple(tensors[0][index] for index in main.inputs),
        outputs=tuple(tensors[0][index] for index in main.outputs),
        body_outputs=tuple(own[index] for graph, own in bodies for index in graph.outputs),
        stored=tuple(_stored(model, content)),
    )


def _tensor(tensor: Any, buffers: list[Any], key: str) -> Tensor:
    shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
    dtype = _schema_names("TensorType")[tensor.type].lower()
    quantization = tensor.quantization
    scaled = quantization is not None and quantization.scale is not None and len(quantization.scale) > 0
    return Tensor(
        name=(tensor.name or b"").decode(),
        dtype=dtype,
        shape=shape,
        constant=_is_filled(buffers[tensor.buffer]),
        quantized=scaled and dtype in _INTEGERS,
        key=key,
    )


def _is_filled(buffer: Any) -> bool:
    # Models beyond 2 GB keep their bytes behind the flatbuffer, at an offset.
    return buffer.size > 1 or (buffer.data is not None and len(buffer.data) > 0)


def _operator(operator: Any, kinds: list[tuple[str, str]], tensors: list[Tensor]) -> Operator:
    def named(indices: Any) -> tuple[Tensor, ...]:
        return () if indices is None else tuple(tensors[index] for index in indices if index >= 0)

    kind, domain = kinds[operator.opcodeIndex]
    fused = bool(getattr(operator.builtinOptions, "fusedActivationFunction", 0))
    return Operator(kind, named(operator.inputs), named(operator.outputs), fused, domain=domain)


def _kind(code: Any) -> tuple[str, str]:
    # Files from before 2020 hold the code in a field of one byte.
    kind = _schema_names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]
    if kind != "CUSTOM":
        return kind, ""
    custom = (code.customCode or b"").decode()
    return custom or kind, "flex" if custom.startswith(_FLEX) else "custom"


def _stored(model: Any, content: bytes) -> Iterator[StoredConstant]:
    names: dict[int, str] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            names.setdefault(tensor.buffer, (tensor.name or b"").decode())
    for index, name in names.items():
        buffer = model.buffers[index]
        if _is_filled(buffer):
            inside = buffer.size <= 1
            data = bytes(buffer.data) if inside else content[buffer.offset : buffer.offset + buffer.size]
            yield StoredConstant(name, len(data), hashlib.sha256(data).hexdigest())


@cache
def _schema_names(enum: str) -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    values = vars(getattr(schema, enum))
    return {value: name for name, value in values.items() if isinstance(value, int)}
