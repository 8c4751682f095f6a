"""Rules about what a file claims: the number format of its compute, its weights and its edges."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor
from edgecc.compiler.backend.checks import DEQUANTIZERS, FLOATS, LINEAR, float_operators
from edgecc.compiler.backend.lint.finding import Scheme, Severity
from edgecc.compiler.backend.lint.qdq import float_nodes
from edgecc.compiler.backend.lint.rule import Inspected, Rule, Spot

_STATIC = frozenset({Scheme.INT8, Scheme.INT16X8})
_WEIGHTS_ALONE = frozenset({Scheme.DYNAMIC, Scheme.WEIGHT_ONLY})
_FLOATING = _WEIGHTS_ALONE | {Scheme.FLOAT32, Scheme.FLOAT16}
_EIGHT_BITS, _SIXTEEN_BITS = frozenset({"int8", "uint8"}), frozenset({"int16", "uint16"})
_QUANTIZE_AS_THEY_RUN = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})
_WEIGHTED = LINEAR | {
    "BATCH_MATMUL", "GATHER", "EMBEDDING_LOOKUP", "SVDF", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "GRU", "LSTM",
    "BIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "Gather",
}  # fmt: skip
_LOOKUPS = frozenset({"GATHER", "Gather"})
_LARGE = 1024
"""Elements from which weights count: TensorFlow's converter leaves smaller ones as they are when they alone are
quantized (`min_num_elements_for_weights` in its quantization passes)."""
_STORED_AS = {
    Scheme.FLOAT32: frozenset({"float32", "float64"}),
    Scheme.FLOAT16: frozenset({"float16"}),
    Scheme.DYNAMIC: frozenset({"int2", "int4", "uint4"}) | _EIGHT_BITS,
    Scheme.WEIGHT_ONLY: frozenset({"int2", "int4", "uint4"}) | _EIGHT_BITS,
}


def _float_compute(file: Inspected) -> Iterator[Spot]:
    find = float_operators if file.format is Format.TFLITE else float_nodes
    for operator in find(file.graph):
        dtypes = {tensor.dtype for tensor in (*operator.inputs, *operator.outputs)} & FLOATS
        found = f"computes in {', '.join(sorted(dtypes))}"
        if file.keeps(operator):
            yield Spot(operator.label, f"{found}, kept by the recipe", Severity.NOTE)
        else:
            yield Spot(operator.label, found)


def _integer_compute(file: Inspected) -> Iterator[Spot]:
    weights_alone = file.scheme in _WEIGHTS_ALONE
    looked_up = _looked_up(file.graph)
    for operator in file.graph.operators:
        narrow = [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor.quantized]
        if weights_alone:
            as_it_runs = operator.kind in _QUANTIZE_AS_THEY_RUN
            narrow = [] if as_it_runs else [tensor for tensor in narrow if tensor.key not in looked_up]
        if narrow:
            yield Spot(operator.label, f"works on {', '.join(sorted({tensor.dtype for tensor in narrow}))}")


def _looked_up(graph: Graph) -> set[str]:
    """Constants, and the rows that a lookup takes of one: weights are what they were quantized as."""
    keys = {tensor.key for operator in graph.operators for tensor in operator.inputs if tensor.constant}
    lookups = [each for each in graph.operators if each.kind in _LOOKUPS and each.inputs[0].key in keys]
    return keys | {tensor.key for operator in lookups for tensor in operator.outputs}


def _activation_width(file: Inspected) -> Iterator[Spot]:
    allowed = _EIGHT_BITS if file.scheme is Scheme.INT8 else _SIXTEEN_BITS
    for operator in file.graph.operators:
        for tensor in operator.outputs:
            if tensor.quantized and tensor.dtype in (_EIGHT_BITS | _SIXTEEN_BITS) - allowed:
                yield Spot(operator.label, f"writes {tensor.dtype}")


def _weight_dtype(file: Inspected) -> Iterator[Spot]:
    allowed = _STORED_AS[file.scheme]
    weights = list(_weights(file.graph))
    as_claimed = any(tensor.dtype in allowed for _, tensor in weights)
    for operator, tensor in weights:
        counts = math.prod(tensor.shape) >= _LARGE or not as_claimed
        if tensor.dtype in FLOATS - allowed and counts:
            kept = file.keeps(operator)
            found = f"reads weights `{tensor.name}` in {tensor.dtype}{', kept by the recipe' if kept else ''}"
            yield Spot(operator.label, found, Severity.NOTE if kept else None)


def _weights(graph: Graph) -> Iterator[tuple[Operator, Tensor]]:
    """Constants of two dimensions or more, as they are stored, by the operator that multiplies by them."""
    producers = graph.producers()
    for operator in graph.operators:
        for tensor in operator.inputs if operator.kind in _WEIGHTED else ():
            stored = _stored(tensor, producers)
            if stored.constant and len(stored.shape) >= 2:
                yield operator, stored


def _stored(tensor: Tensor, producers: dict[str, Operator]) -> Tensor:
    """The constant behind a tensor that is only dequantized from it."""
    producer = producers.get(tensor.key)
    return producer.inputs[0] if producer is not None and producer.kind in DEQUANTIZERS else tensor


def _float_edge(file: Inspected) -> Iterator[Spot]:
    for role, tensors in (("input", file.graph.inputs), ("output", file.graph.outputs)):
        for tensor in tensors:
            if tensor.dtype in FLOATS:
                yield Spot(f"{role} `{tensor.name}`", f"is {tensor.dtype}")


RULES = (
    Rule(
        "float-compute",
        Severity.ERROR,
        expected="{scheme} throughout",
        advice="use a layer that can be quantized, or name it in `quantize.keep`",
        check=_float_compute,
        schemes=_STATIC,
    ),
    Rule(
        "integer-compute",
        Severity.ERROR,
        expected="{scheme}, with nothing quantized ahead of time",
        advice="it is a quantized file: claim what it is, or convert it without quantization",
        check=_integer_compute,
        schemes=_FLOATING,
    ),
    Rule(
        "activation-width",
        Severity.ERROR,
        expected="activations as wide as {scheme} says",
        advice="claim the scheme that the file was quantized with, or quantize it anew",
        check=_activation_width,
        schemes=_STATIC,
    ),
    Rule(
        "weight-dtype",
        Severity.ERROR,
        expected="large weights as {scheme} stores them",
        advice="the quantizer passed the layer over: replace it, or name it in `quantize.keep`",
        check=_weight_dtype,
        schemes=_FLOATING,
    ),
    Rule(
        "float-edge",
        Severity.ERROR,
        expected="integer inputs and outputs",
        advice="convert with integer inputs and outputs: some devices have no floats",
        check=_float_edge,
        schemes=_STATIC,
        formats=frozenset({Format.TFLITE}),
    ),
)
