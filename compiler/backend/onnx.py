"""Emits ONNX in float32, byte for byte the same every time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from edgecc.artifact import Format
from edgecc.compiler.backend.emission import Source, describe, prepare, write_artifact, write_layers
from edgecc.compiler.backend.onnx_bias import merge_biases
from edgecc.compiler.backend.onnx_names import canonical, canonical_names, in_order
from edgecc.compiler.backend.origins import layer_path, origin_of
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import MissingExtraError, ModelError

OPSET = 17
"""The newest that tf2onnx writes well; every ONNX Runtime since 1.12 runs it."""


def emit(context: StageContext) -> Metrics:
    """Convert the stage's Keras model to ONNX, with the names of its inputs and outputs.

    Options: `model` (the project's `[model]`) and `dynamic_batch`, without which it takes one sample at a time.
    Beside the artifact, `layers.json` has the Keras layer of every tensor that an operator gives, where it is known.

    Raises:
        ModelError: a layer needs an operator that ONNX does not have.
        MissingExtraError: tf2onnx is not installed.
    """
    source = prepare(context, needed_by="emitting ONNX", batch_size=None if context.options["dynamic_batch"] else 1)
    model = _convert(source)
    _refuse_unknown_operators(model, source)
    merge_biases(model)
    graph = write_artifact(context, _serialized(canonical(model)), Format.ONNX)
    write_layers(context, _layers(model, source))
    return describe(source, graph)


def _convert(source: Source) -> Any:
    try:
        import tf2onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="emitting ONNX", library="tf2onnx", extra="compile") from error
    with _quiet("tf2onnx", "tensorflow"):
        model, _ = tf2onnx.convert.from_graph_def(
            source.function.graph.as_graph_def(),
            input_names=[tensor.name for tensor in source.function.inputs],
            output_names=[tensor.name for tensor in source.function.outputs],
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc_as_erf, [])},
        )
    return model


def _erfc_as_erf(graph: Any, node: Any, *_: Any) -> None:
    """ONNX has no erfc(x), which GELU uses; it is 1 - erf(x). Of the signature that tf2onnx calls."""
    from tf2onnx.utils import make_name

    node.type, node.domain = "Erf", ""
    one = graph.make_const(make_name("one"), np.array(1, dtype=np.float32))
    graph.insert_new_node_on_output(
        "Sub", node.output[0], inputs=[one.output[0], node.output[0]], name=make_name("erfc")
    )


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence loggers that report deprecations inside tf2onnx, and its unknown operators, which raise below."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _refuse_unknown_operators(model: Any, source: Source) -> None:
    """tf2onnx copies what it cannot convert into the graph as it is."""
    import onnx

    unknown = [node for node in model.graph.node if not onnx.defs.has(node.op_type, OPSET, node.domain)]
    if unknown:
        found = {f"{origin_of(source.model, node.name)} needs {node.op_type}" for node in unknown}
        raise ModelError(
            f"expected layers that ONNX has operators for; {', '.join(sorted(found))}, which is not one of them",
            hint="replace the layer with one made of supported operators, or emit this variant as tflite only",
        )


def _layers(model: Any, source: Source) -> dict[str, str]:
    """The path of the Keras layer by the name of each tensor in the artifact."""
    names = canonical_names(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    layers: dict[str, str] = {}
    for node in in_order(model.graph):
        path = _layer_of(node, constants, source.model)
        layers |= {names[name]: path for name in node.output if path is not None}
    return layers


def _layer_of(node: Any, constants: Collection[str], model: Any) -> str | None:
    """By the node's name, which holds its scopes, or by its constants: a node that was merged has a new name."""
    paths = (layer_path(model, name) for name in (node.name, *(name for name in node.input if name in constants)))
    return next((path for path in paths if path is not None), None)


def _serialized(model: Any) -> bytes:
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
