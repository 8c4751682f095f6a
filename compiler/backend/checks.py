"""What must not be left in an artifact: float compute where everything is int8, and batch normalization to fold."""

from __future__ import annotations

from collections.abc import Iterator

from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
_EDGES = frozenset({"QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear"})


def float_operators(graph: Graph) -> list[Operator]:
    """Operators that read or write floating-point tensors, but for those that only quantize and dequantize."""

    def touches_float(operator: Operator) -> bool:
        return any(tensor.dtype in _FLOATS for tensor in (*operator.inputs, *operator.outputs))

    return [each for each in graph.operators if each.kind not in _EDGES and touches_float(each)]


_LINEAR = frozenset(
    {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
     "Conv", "ConvTranspose", "Gemm", "MatMul"}
)  # fmt: skip
_PER_CHANNEL = frozenset({"MUL", "ADD", "SUB", "DIV", "Mul", "Add", "Sub", "Div", "BatchNormalization"})
_LAYOUT = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})


def unfolded_batch_norms(graph: Graph) -> list[str]:
    """Name the outputs of per-channel scales and shifts that belong into the linear operator before them.

    Found is an arithmetic operator with a constant vector of two elements or more, or a batch normalization, that
    alone consumes a convolution's or matrix product's output, be it through a change of layout. The first addition
    after one that has no bias of its own is its bias.
    """
    consumers = _consumers(graph)
    starts = [operator for operator in graph.operators if _is_linear(operator)]
    return [operator.outputs[0].name for start in starts for operator in _scales_after(start, consumers)]


def _scales_after(start: Operator, consumers: dict[str, list[Operator]]) -> Iterator[Operator]:
    may_be_bias = len(start.inputs) < 3
    operator = _only_consumer(start, consumers)
    while operator is not None and (operator.kind in _LAYOUT or _scales_channels(operator)):
        if operator.kind not in _LAYOUT:
            if not (may_be_bias and operator.kind in ("Add", "ADD")):
                yield operator
            may_be_bias = False
        operator = _only_consumer(operator, consumers)


def _is_linear(operator: Operator) -> bool:
    return operator.kind in _LINEAR and operator.inputs[1].constant


def _scales_channels(operator: Operator) -> bool:
    if operator.kind not in _PER_CHANNEL:
        return False
    return any(_is_vector(tensor) for tensor in operator.inputs)


def _is_vector(tensor: Tensor) -> bool:
    return tensor.constant and len([size for size in tensor.shape if size > 1]) == 1


def _consumers(graph: Graph) -> dict[str, list[Operator]]:
    consumers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            consumers.setdefault(tensor.name, []).append(operator)
    return consumers


def _only_consumer(operator: Operator, consumers: dict[str, list[Operator]]) -> Operator | None:
    if operator.fused_activation:
        return None
    after = [each for tensor in operator.outputs for each in consumers.get(tensor.name, [])]
    return after[0] if len(after) == 1 else None
