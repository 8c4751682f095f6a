"""One spelling for an ONNX graph: tf2onnx names and orders things differently from call to call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

IR_VERSION = 8
"""The one that belongs to opset 17."""


def canonical(model: Any) -> Any:
    """The same model with one input `input` and one output `output`, ordered and named by its structure alone.

    Nodes come in the order in which the output needs them, and those it does not need are left out. A node is named
    by its operator and a counter, its outputs after it, an initializer after the first node that reads it. What does
    not change the result (documentation, value infos, producers) is dropped. Subgraphs are not supported: models
    with loops and branches never get here.
    """
    import onnx

    graph = model.graph
    nodes = list(_in_order(graph))
    names = _new_names(graph, nodes)
    initializers = _initializers(graph, names)
    renamed = [_renamed(node, name, names) for node, name in zip(nodes, _node_names(nodes), strict=True)]
    domains = {node.domain for node in renamed}
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            renamed, "model", [_value(graph.input[0], "input")], [_value(graph.output[0], "output")], initializers
        ),
        opset_imports=sorted(
            (each for each in model.opset_import if each.domain in domains), key=lambda each: each.domain
        ),
        ir_version=IR_VERSION,
        producer_name="edgecc",
    )


def _in_order(graph: Any) -> Iterator[Any]:
    """Depth first from the output, each node after what it reads."""
    producers = {name: node for node in graph.node for name in node.output}
    done: set[int] = set()
    pending = [(producers[graph.output[0].name], False)]
    while pending:
        node, inputs_are_done = pending.pop()
        if id(node) in done:
            continue
        if inputs_are_done:
            done.add(id(node))
            yield node
        else:
            pending.append((node, True))
            pending.extend((producers[name], False) for name in reversed(node.input) if name in producers)


def _node_names(nodes: list[Any]) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for node in nodes:
        yield f"{node.op_type}_{counts[node.op_type]}"
        counts[node.op_type] += 1


def _new_names(graph: Any, nodes: list[Any]) -> dict[str, str]:
    """New tensor names by old ones, in the order in which the nodes meet them. An input left out stays empty."""
    names = {"": "", graph.input[0].name: "input", graph.output[0].name: "output"}
    for node, node_name in zip(nodes, _node_names(nodes), strict=True):
        for index, old in enumerate(node.input):
            names.setdefault(old, f"{node_name}.input{index}")
        for index, old in enumerate(node.output):
            names.setdefault(old, f"{node_name}.output{index}")
    return names


def _initializers(graph: Any, names: dict[str, str]) -> list[Any]:
    import onnx

    old = {tensor.name: tensor for tensor in graph.initializer}
    return [
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(old[name]), new)
        for name, new in names.items()
        if name in old
    ]


def _renamed(node: Any, name: str, names: dict[str, str]) -> Any:
    import onnx

    new = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=name)
    new.input.extend(names[old] for old in node.input)
    new.output.extend(names[old] for old in node.output)
    new.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    for attribute in new.attribute:
        attribute.doc_string = ""
        if attribute.HasField("t"):
            attribute.t.name = ""
    return new


def _value(value: Any, name: str) -> Any:
    import onnx

    kind = value.type.tensor_type
    return onnx.helper.make_tensor_value_info(name, kind.elem_type, [size.dim_value for size in kind.shape.dim])
