"""Rules about how a file is made, whatever it claims: foreign operators, dead ones, waste."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, StoredConstant
from edgecc.compiler.backend.checks import DEQUANTIZERS, EDGES, QUANTIZERS, touches_float, unfolded_batch_norms
from edgecc.compiler.backend.lint.finding import Severity
from edgecc.compiler.backend.lint.rule import Inspected, Rule, Spot

_ONNX_RUNTIMES_OWN = frozenset({"com.microsoft", "com.microsoft.nchwc"})
_MIN_DUPLICATE_BYTES = 256


def _flex_operators(file: Inspected) -> Iterator[Spot]:
    for operator in file.graph.operators:
        if operator.domain == "flex":
            yield Spot(operator.label, "runs only with TensorFlow's kernels linked in")


def _custom_operators(file: Inspected) -> Iterator[Spot]:
    for operator in file.graph.operators:
        if operator.domain in _ONNX_RUNTIMES_OWN:
            found = f"is of the domain {operator.domain}: ONNX Runtime's own"
            yield Spot(operator.label, found, Severity.WARNING)
        elif operator.domain not in ("", "flex"):
            of = "" if file.format is Format.TFLITE else f", of the domain {operator.domain}"
            yield Spot(operator.label, f"is a custom operator{of}")


def _constant_outputs(file: Inspected) -> Iterator[Spot]:
    graph = file.graph
    written = {tensor.key for each in (graph.inputs, *(one.outputs for one in graph.operators)) for tensor in each}
    constants = graph.constant_keys()
    for tensor in graph.outputs:
        if tensor.key in constants:
            yield Spot(f"output `{tensor.name}`", "is the same whatever the input is")
        elif tensor.key not in written:
            yield Spot(f"output `{tensor.name}`", "is written by no operator")


def _dead_operators(file: Inspected) -> Iterator[Spot]:
    live = _live(file.graph)
    for operator in file.graph.operators:
        if operator.outputs and not any(tensor.key in live for tensor in operator.outputs):
            yield Spot(operator.label, "computes what no output needs")


def _unused_inputs(file: Inspected) -> Iterator[Spot]:
    live = _live(file.graph)
    for tensor in file.graph.inputs:
        if tensor.key not in live:
            yield Spot(f"input `{tensor.name}`", "changes no output")


def _live(graph: Graph) -> set[str]:
    """Tensors that an output needs, be it through a variable that an operator without outputs writes."""
    producers = graph.producers()
    roots = [each for operator in graph.operators if not operator.outputs for each in operator.inputs]
    pending = [*graph.outputs, *graph.body_outputs, *roots]
    live: set[str] = set()
    while pending:
        key = pending.pop().key
        if key not in live:
            live.add(key)
            pending += producers[key].inputs if key in producers else ()
    return live


def _round_trips(file: Inspected) -> Iterator[Spot]:
    graph = file.graph
    producers, consumers = graph.producers(), graph.consumers()
    for operator in graph.operators:
        after = [each for tensor in operator.outputs for each in consumers.get(tensor.key, [])]
        if operator.kind == "QUANTIZE" and any(each.kind == "DEQUANTIZE" for each in after):
            yield Spot(operator.label, "is dequantized at once")
        elif operator.kind in DEQUANTIZERS and operator.inputs and not operator.inputs[0].constant:
            if any(each.kind in QUANTIZERS for each in after):
                yield Spot(operator.label, "is quantized again at once")
            elif file.format is Format.TFLITE and file.claims is None and operator.inputs[0].key in producers:
                yield from _detours(operator, consumers)


def _detours(start: Operator, consumers: dict[str, list[Operator]]) -> Iterator[Spot]:
    """Float operators between integer ones; where the file claims integers, `float-compute` names each of them."""
    pending, seen, back = [start], [], False
    while pending:
        for tensor in pending.pop().outputs:
            for operator in consumers.get(tensor.key, []):
                back = back or operator.kind in QUANTIZERS
                if operator.kind not in EDGES and touches_float(operator) and operator not in seen:
                    seen.append(operator)
                    pending.append(operator)
    if back:
        kinds = ", ".join(dict.fromkeys(operator.kind for operator in seen))
        yield Spot(start.label, f"leaves the integers for {kinds}, which are quantized again")


def _unfolded(file: Inspected) -> Iterator[Spot]:
    for name in unfolded_batch_norms(file.graph):
        yield Spot(f"tensor `{name}`", "scales or shifts the channels of the operator before it")


def _duplicates(file: Inspected) -> Iterator[Spot]:
    same: dict[str, list[StoredConstant]] = defaultdict(list)
    for constant in file.graph.stored:
        if constant.size_bytes >= _MIN_DUPLICATE_BYTES:
            same[constant.sha256].append(constant)
    for first, *others in same.values():
        if others:
            names = ", ".join(f"`{other.name}`" for other in others)
            wasted = first.size_bytes * len(others)
            yield Spot(f"constant `{first.name}`", f"holds the same bytes as {names}: {wasted:,} B wasted")


RULES = (
    Rule(
        "flex-operator",
        Severity.ERROR,
        expected="operators that TFLite has built in",
        advice="replace the layer: runtimes on devices have no TensorFlow to fall back on",
        check=_flex_operators,
        formats=frozenset({Format.TFLITE}),
    ),
    Rule(
        "custom-operator",
        Severity.ERROR,
        expected="operators of the format itself",
        advice="replace the layer, or be sure that every device's runtime has the operator registered",
        check=_custom_operators,
    ),
    Rule(
        "constant-output",
        Severity.ERROR,
        expected="outputs that depend on an input",
        advice="look in the model for what cuts the output off from its inputs, or take the output away",
        check=_constant_outputs,
    ),
    Rule(
        "dead-operator",
        Severity.WARNING,
        expected="operators whose results an output needs",
        advice="take the branch out of the model before it is converted",
        check=_dead_operators,
    ),
    Rule(
        "unused-input",
        Severity.WARNING,
        expected="inputs that an output depends on",
        advice="take the input away: each call copies it for nothing",
        check=_unused_inputs,
    ),
    Rule(
        "round-trip",
        Severity.WARNING,
        expected="values that stay in one number format",
        advice="quantize the operators between, or convert the model anew so that the pair goes away",
        check=_round_trips,
    ),
    Rule(
        "unfolded-batch-norm",
        Severity.WARNING,
        expected="per-channel scales folded into the weights before them",
        advice="put the batch normalization right after its convolution or dense layer, and compile anew",
        check=_unfolded,
    ),
    Rule(
        "duplicate-weights",
        Severity.WARNING,
        expected="each constant stored once",
        advice="share one layer where two hold the same weights, or convert with a tool that merges them",
        check=_duplicates,
    ),
)
