"""Whether a quantized TFLite file is what its scheme says: never float in disguise."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor, read_graph
from edgecc.compiler.backend.checks import LINEAR, float_operators
from edgecc.compiler.compression.not_held import NotHeld, NotHeldError
from edgecc.errors import ModelError
from edgecc.variant import STATIC, Quantization

_EDGE = {Quantization.INT8: "int8", Quantization.INT16X8: "int16"}
_WEIGHT = {Quantization.DYNAMIC: "int8", Quantization.WEIGHT_ONLY: "int8", Quantization.FLOAT16: "float16"}
_WEIGHTS_AT = {**dict.fromkeys(LINEAR, 1), "EMBEDDING_LOOKUP": 1, "GATHER": 0}
_FREE = (Quantization.DYNAMIC, Quantization.WEIGHT_ONLY, Quantization.FLOAT16)
_NEAREST = {
    Quantization.INT8: _FREE,
    Quantization.INT16X8: (Quantization.INT8, *_FREE),
    **{scheme: tuple(other for other in (*_FREE, Quantization.INT8) if other is not scheme) for scheme in _FREE},
}
_NO_WAY = {
    "GATHER": frozenset(_FREE),
    "CONV_3D": frozenset(Quantization) - {Quantization.FLOAT16},
}
"""The schemes in which the quantizer passes these over."""


def require_scheme(original: bytes, quantized: bytes, scheme: Quantization, keep: Collection[str]) -> None:
    """Check a quantized file against its float original.

    In the static schemes every operator outside `keep` computes in integers, and so do inputs and outputs; in the
    others every convolution, matrix product and lookup outside `keep` has weights of the scheme's type.

    Raises:
        NotHeldError: an operator is not; names it, its tensor and the nearest way.
        ModelError: an input or output is not.
    """
    before, after = _graph(original), _graph(quantized)
    found = list(_left_in_float(after, keep) if scheme in STATIC else _wrong_weights(after, scheme, keep))
    if found:
        no_way = {other for each in found for other in _NO_WAY.get(each.kind, ())}
        raise NotHeldError(scheme, found, [other for other in _NEAREST[scheme] if other not in no_way])
    if scheme in STATIC:
        _require_edges(before, after, _EDGE[scheme])


def _graph(content: bytes) -> Graph:
    with tempfile.TemporaryDirectory(prefix="edgecc-") as folder:
        path = Path(folder) / "model"
        path.write_bytes(content)
        return read_graph(path, Format.TFLITE)


def _left_in_float(graph: Graph, keep: Collection[str]) -> Iterator[NotHeld]:
    for operator in float_operators(graph):
        if not _is_kept(operator, keep):
            yield NotHeld(operator.kind, operator.outputs[0].name, "computes in float")


def _wrong_weights(graph: Graph, scheme: Quantization, keep: Collection[str]) -> Iterator[NotHeld]:
    for operator in graph.operators:
        weights = _weights(graph, operator)
        if weights is not None and weights.dtype != _WEIGHT[scheme] and not _is_kept(operator, keep):
            yield NotHeld(operator.kind, operator.outputs[0].name, f"has weights in {weights.dtype}")


def _weights(graph: Graph, operator: Operator) -> Tensor | None:
    """The constant behind an operator's weights, be it through DEQUANTIZE; None where it has none."""
    if operator.kind not in _WEIGHTS_AT:
        return None
    tensor = operator.inputs[_WEIGHTS_AT[operator.kind]]
    producer = graph.producers().get(tensor.key)
    if producer is not None and producer.kind == "DEQUANTIZE":
        tensor = producer.inputs[0]
    return tensor if tensor.constant else None


def _is_kept(operator: Operator, keep: Collection[str]) -> bool:
    return any(tensor.name in keep for tensor in operator.outputs)


def _require_edges(before: Graph, after: Graph, dtype: str) -> None:
    pairs = zip((*before.inputs, *before.outputs), (*after.inputs, *after.outputs), strict=True)
    wrong = [f"`{new.name}` is {new.dtype}" for old, new in pairs if old.dtype == "float32" and new.dtype != dtype]
    if wrong:
        raise ModelError(f"expected inputs and outputs in {dtype}; {', '.join(wrong)}")
