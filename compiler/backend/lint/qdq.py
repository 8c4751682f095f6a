"""Which nodes of an ONNX file are quantized, where QuantizeLinear and DequantizeLinear stand around nodes in float.

ONNX Runtime turns such a node with its neighbours into one integer kernel
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#quantized-model-formats).
"""

from __future__ import annotations

from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor
from edgecc.compiler.backend.checks import DEQUANTIZERS, EDGES, FLOATS, LINEAR, QUANTIZERS, touches_float

MOVES = frozenset(
    {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Identity", "Expand",
     "Tile", "DepthToSpace", "SpaceToDepth", "Shape", "Size"}
)  # fmt: skip
"""They hand values on as they are."""
_TAKE_SCALES = MOVES | {"Relu", "Clip", "MaxPool", "Pad", "Resize", "Concat"}
"""They may stand between another node and its QuantizeLinear."""

_COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})


def float_nodes(graph: Graph) -> list[Operator]:
    """Nodes that no quantization surrounds, so that they compute in float.

    A convolution or matrix product is quantized where it reads quantized values and weights alone, and so is a softmax
    that gives an output of the model, which is float; another node where it writes quantized values as well. Integers,
    such as token ids, may be cast to be compared: nothing computes on them.
    """
    view = _View(graph)
    nodes = [each for each in graph.operators if each.kind not in EDGES and touches_float(each)]
    return [node for node in nodes if not view.is_quantized(node) and not view.compares_integers(node)]


class _View:
    def __init__(self, graph: Graph) -> None:
        self.producers, self.consumers = graph.producers(), graph.consumers()
        self.results = {tensor.key for tensor in graph.outputs}

    def is_quantized(self, node: Operator) -> bool:
        if node.kind in _TAKE_SCALES:
            moved = node.kind in MOVES and self._comes_quantized(node.inputs[0])
            return moved or self._goes_quantized(node.outputs[0])
        reads = all(self._comes_quantized(tensor) for tensor in node.inputs if tensor.dtype in FLOATS)
        return reads and (
            node.kind in LINEAR
            or (node.kind == "Softmax" and self._is_result(node))
            or all(self._goes_quantized(each) for each in node.outputs if each.dtype in FLOATS)
        )

    def compares_integers(self, node: Operator) -> bool:
        if node.kind == "Cast":
            after = self.consumers.get(node.outputs[0].key, [])
            return self._is_cast_integer(node.outputs[0]) and bool(after) and all(map(self._compares, after))
        return self._compares(node)

    def _compares(self, node: Operator) -> bool:
        return node.kind in _COMPARISONS and all(each.constant or self._is_cast_integer(each) for each in node.inputs)

    def _is_cast_integer(self, tensor: Tensor) -> bool:
        producer = self.producers.get(tensor.key)
        return producer is not None and producer.kind == "Cast" and producer.inputs[0].dtype not in FLOATS

    def _is_result(self, node: Operator) -> bool:
        return all(tensor.key in self.results for tensor in node.outputs)

    def _comes_quantized(self, tensor: Tensor) -> bool:
        producer = self.producers.get(tensor.key)
        while producer is not None and producer.kind in MOVES:
            producer = self.producers.get(producer.inputs[0].key)
        return producer is not None and producer.kind in DEQUANTIZERS

    def _goes_quantized(self, tensor: Tensor) -> bool:
        after = self.consumers.get(tensor.key, [])
        return bool(after) and tensor.key not in self.results and all(self._quantizes(node) for node in after)

    def _quantizes(self, node: Operator) -> bool:
        return node.kind in QUANTIZERS or (node.kind in _TAKE_SCALES and self._goes_quantized(node.outputs[0]))


def unfused_nodes(stored: Graph, optimized: Graph) -> list[Operator]:
    """Nodes that are quantized in the file, and that ONNX Runtime's optimized model still computes in float.

    `optimized` is the same model as ONNX Runtime writes it after its own graph optimizations.
    """
    known = {tensor.key for node in float_nodes(stored) for tensor in node.outputs}
    producers, consumers = optimized.producers(), optimized.consumers()

    def stands_between(node: Operator) -> bool:
        before = [producers[tensor.key].kind for tensor in node.inputs if tensor.key in producers]
        after = [each.kind for tensor in node.outputs for each in consumers.get(tensor.key, [])]
        return any(kind in DEQUANTIZERS for kind in before) or any(kind in QUANTIZERS for kind in after)

    return [
        node
        for node in optimized.operators
        if node.kind not in EDGES | MOVES
        and stands_between(node)
        and not known & {tensor.key for tensor in node.outputs}
    ]
