"""What must not be left in an artifact: float compute where everything is int8, and batch normalization to fold."""

from __future__ import annotations

from collections.abc import Iterator

from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor

FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})
QUANTIZERS = frozenset({"QUANTIZE", "QuantizeLinear"})
DEQUANTIZERS = frozenset({"DEQUANTIZE", "DequantizeLinear"})
EDGES = QUANTIZERS | DEQUANTIZERS
"""They only translate between integers and floats."""


def touches_float(operator: Operator) -> bool:
    """Whether it reads or writes a floating-point tensor."""
    return any(tensor.dtype in FLOATS for tensor in (*operator.inputs, *operator.outputs))


def float_operators(graph: Graph) -> list[Operator]:
    """Operators that read or write floating-point tensors, but for those that only quantize and dequantize."""
    return [each for each in graph.operators if each.kind not in EDGES and touches_float(each)]


LINEAR = frozenset(
    {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED",
     "Conv", "ConvTranspose", "Gemm", "MatMul"}
)  # fmt: skip
_PER_CHANNEL = frozenset({"MUL", "ADD", "SUB", "DIV", "Mul", "Add", "Sub", "Div", "BatchNormalization"})
_LAYOUT = frozenset({"RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})


def unfolded_batch_norms(graph: Graph) -> list[str]:
    """Name the outputs of per-channel scales and shifts that belong into the linear operator before them.

    Found is an arithmetic operator with a constant vector of two elements or more, or a batch normalization, that
    alone consumes a convolution's or matrix product's output, be it through a change of layout. The first addition
    after one that has no bias of its own is its bias. What comes after a QuantizeLinear is left alone: a ReLU may have
    gone into it.
    """
    consumers, constants = graph.consumers(), graph.constant_keys()
    starts = [each for each in graph.operators if is_weighted(each, constants)]
    return [operator.outputs[0].name for start in starts for operator in _scales_after(start, consumers, constants)]


def is_weighted(operator: Operator, constants: set[str]) -> bool:
    """Whether it is a convolution or matrix product by constant weights."""
    return operator.kind in LINEAR and len(operator.inputs) > 1 and operator.inputs[1].key in constants


def _scales_after(start: Operator, consumers: dict[str, list[Operator]], constants: set[str]) -> Iterator[Operator]:
    may_be_bias = len(start.inputs) < 3
    operator = _only_consumer(start, consumers)
    while operator is not None and (operator.kind in _LAYOUT or _scales_channels(operator, constants)):
        if operator.kind not in _LAYOUT:
            if not (may_be_bias and operator.kind in ("Add", "ADD")):
                yield operator
            may_be_bias = False
        operator = _only_consumer(operator, consumers)


def _scales_channels(operator: Operator, constants: set[str]) -> bool:
    return operator.kind in _PER_CHANNEL and any(_is_vector(tensor, constants) for tensor in operator.inputs)


def _is_vector(tensor: Tensor, constants: set[str]) -> bool:
    return tensor.key in constants and len([size for size in tensor.shape if size > 1]) == 1


def _only_consumer(operator: Operator, consumers: dict[str, list[Operator]]) -> Operator | None:
    if operator.fused_activation:
        return None
    after = [each for tensor in operator.outputs for each in consumers.get(tensor.key, [])]
    return after[0] if len(after) == 1 else None
