"""Which Keras layer each tensor of an emitted TFLite file came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgecc.compiler.backend.artifact_graph import Graph, Operator
from edgecc.compiler.backend.checks import LINEAR
from edgecc.compiler.backend.emission import Source
from edgecc.compiler.backend.origins import layer_path


def layers_of_tensors(graph: Graph, source: Source) -> dict[str, str]:
    """The path of the Keras layer by the name of each tensor that an operator gives, where the layer is known."""
    given = {tensor.name.partition(":")[0]: tensor.op for tensor in source.function.outputs}
    behind = {name: operation.inputs[0].op.name for name, operation in given.items() if operation.type == "Identity"}
    layers: dict[str, str] = {}
    for operator in graph.operators:
        paths = (layer_path(source.model, name) for name in _origins(operator, behind))
        path = next((path for path in paths if path is not None), None)
        if path is not None:
            layers |= {tensor.name: path for tensor in operator.outputs}
    return layers


def _origins(operator: Operator, behind: Mapping[str, str]) -> Iterator[str]:
    """Names of TensorFlow operations that an operator was made of, the one that gave it its kind first.

    A convolution or matrix product belongs to the layer that its weights come from. Other tensors are called after
    all operations that were fused into them, `last;...;first`, and the model's outputs after the signature.
    """
    if operator.kind in LINEAR and operator.inputs[1].constant:
        yield operator.inputs[1].name
    name = operator.outputs[0].name
    yield from reversed(name.split(";"))
    if name in behind:
        yield behind[name]
