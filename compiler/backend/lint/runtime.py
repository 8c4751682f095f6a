"""Rules about what a runtime makes of a file, found by asking it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Operator
from edgecc.compiler.backend.checks import EDGES
from edgecc.compiler.backend.lint.finding import Severity
from edgecc.compiler.backend.lint.probe import ProbeError, optimized, undelegated
from edgecc.compiler.backend.lint.qdq import unfused_nodes
from edgecc.compiler.backend.lint.rule import Inspected, Rule, Spot

SMALL = 1024
"""An operator on fewer values than this cannot cost much, whichever kernel runs it: it is a note."""


def _not_accelerated(file: Inspected) -> Iterator[Spot]:
    if any(operator.domain for operator in file.graph.operators):
        yield Spot("", "not checked: the runtime does not know the custom operators", Severity.NOTE)
        return
    try:
        left_over = undelegated(file.path)
    except ProbeError as error:
        yield Spot("", f"not checked: LiteRT cannot prepare the file: {error}", Severity.NOTE)
        return
    for index in left_over:
        operator = file.graph.operators[index]
        yield _spot(operator, "runs on a plain kernel", _values(operator))


def _spot(operator: Operator, found: str, values: int | None) -> Spot:
    if values is None or values >= SMALL:
        return Spot(operator.label, found)
    return Spot(operator.label, f"{found}, on {values:,} values only", Severity.NOTE)


def _values(operator: Operator | None) -> int | None:
    """The size of the largest tensor it reads or writes, at batch 1; None where that is not known."""
    tensors = (*operator.inputs, *operator.outputs) if operator is not None else ()
    if not tensors or any(not tensor.dtype or min(tensor.shape[1:], default=0) < 0 for tensor in tensors):
        return None
    return max(math.prod(map(abs, tensor.shape)) for tensor in tensors)


def _unfused_qdq(file: Inspected) -> Iterator[Spot]:
    if not any(operator.kind in EDGES for operator in file.graph.operators):
        return
    try:
        after = optimized(file.path)
    except ProbeError as error:
        yield Spot("", f"not checked: ONNX Runtime cannot load the file: {error}", Severity.NOTE)
        return
    producers = file.graph.producers()
    for node in unfused_nodes(file.graph, after):
        same = next((producers[tensor.key] for tensor in node.outputs if tensor.key in producers), None)
        yield _spot(node, "runs in float between quantized ones", _values(same))


RULES = (
    Rule(
        "not-accelerated",
        Severity.WARNING,
        expected="operators that XNNPACK takes",
        advice="measure what it costs, or use a layer that LiteRT's CPU delegate runs in this format",
        check=_not_accelerated,
        formats=frozenset({Format.TFLITE}),
    ),
    Rule(
        "unfused-qdq",
        Severity.WARNING,
        expected="operators that ONNX Runtime runs on integers",
        advice="use a layer with an integer kernel, or keep its neighbours in float as well",
        check=_unfused_qdq,
        formats=frozenset({Format.ONNX}),
    ),
)
