"""One spelling for an ONNX graph: the libraries that write one name and order things as they like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

IR_VERSION = 8
"""The one that belongs to opset 17."""
BATCH = "batch"
"""What an open batch is called, the same in every input and output: so many samples in, so many out."""


def canonical(model: Any, keep: Sequence[str] = ()) -> Any:
    """The same model, ordered and named by its structure alone.

    Inputs and outputs lose what follows a colon: `input:0` becomes `input`. Nodes come in the order in which the
    outputs need them, and those that no output needs are left out. A node is named by its operator and a counter,
    its outputs after it, an initializer after the first node that reads it; tensors in `keep` stay as they are
    called. What does not change the result (documentation, value infos, producers) is dropped. Subgraphs are not
    supported: models with loops and branches never get here.
    """
    import onnx

    graph = model.graph
    nodes = list(in_order(graph))
    names = canonical_names(model, keep)
    renamed = [_renamed(node, name, names) for node, name in zip(nodes, _node_names(nodes, keep), strict=True)]
    domains = {node.domain for node in renamed}
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            renamed,
            "model",
            [_value(value, names) for value in graph.input],
            [_value(value, names) for value in graph.output],
            _initializers(graph, names),
        ),
        opset_imports=sorted(
            (each for each in model.opset_import if each.domain in domains), key=lambda each: each.domain
        ),
        ir_version=IR_VERSION,
        producer_name="edgecc",
    )


def canonical_names(model: Any, keep: Sequence[str] = ()) -> dict[str, str]:
    """The name that `canonical` gives each tensor, by its old one, in the order in which the nodes meet them."""
    graph = model.graph
    nodes = list(in_order(graph))
    edges = [value.name for value in (*graph.input, *graph.output)]
    # An input that is left out stays empty.
    names = {"": ""} | {name: name for name in keep} | {name: name.partition(":")[0] for name in edges}
    for node, node_name in zip(nodes, _node_names(nodes, keep), strict=True):
        for index, old in enumerate(node.input):
            names.setdefault(old, f"{node_name}.input{index}")
        for index, old in enumerate(node.output):
            names.setdefault(old, f"{node_name}.output{index}")
    return names


def in_order(graph: Any) -> Iterator[Any]:
    """The nodes that the outputs need: depth first from each output in turn, each node after what it reads."""
    producers = {name: node for node in graph.node for name in node.output}
    done: set[int] = set()
    pending = [(producers[value.name], False) for value in reversed(graph.output) if value.name in producers]
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


def share_constants(model: Any) -> None:
    """Let nodes that read equal constants, of one type, shape and value, read the first of them; in place."""
    import onnx

    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    names = {}
    for tensor in model.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        names[tensor.name] = first.setdefault((tensor.data_type, tuple(tensor.dims), content), tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _node_names(nodes: list[Any], keep: Sequence[str]) -> Iterator[str]:
    """Names that tensors in `keep` are not called after, so that no two tensors get one name."""
    taken = {name.rpartition(".")[0] for name in keep}
    counts: Counter[str] = Counter()
    for node in nodes:
        while (name := f"{node.op_type}_{counts[node.op_type]}") in taken:
            counts[node.op_type] += 1
        counts[node.op_type] += 1
        yield name


def _initializers(graph: Any, names: dict[str, str]) -> list[Any]:
    import onnx

    old = {tensor.name: tensor for tensor in graph.initializer}
    read = {name for node in in_order(graph) for name in node.input}
    return [
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(old[name]), new)
        for name, new in names.items()
        if name in old and name in read
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


def _value(value: Any, names: dict[str, str]) -> Any:
    import onnx

    kind = value.type.tensor_type
    # An open dimension has no value; the first of them is the batch's.
    shape = [size.dim_value or (None if index else BATCH) for index, size in enumerate(kind.shape.dim)]
    return onnx.helper.make_tensor_value_info(names[value.name], kind.elem_type, shape)
