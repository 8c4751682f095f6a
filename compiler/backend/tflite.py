"""Emits TFLite in float32. Never Flex or custom operators."""

from __future__ import annotations

import re

from edgecc.artifact import Format
from edgecc.compiler.backend.emission import Source, describe, prepare, write_artifact, write_layers
from edgecc.compiler.backend.origins import origin_of
from edgecc.compiler.backend.tflite_layers import layers_of_tensors
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import ModelError


def emit(context: StageContext) -> Metrics:
    """Convert the stage's Keras model to TFLite at batch 1.

    Options: `model` (the project's `[model]`). Beside the artifact, `layers.json` has the Keras layer of every tensor
    that an operator gives, where it is known.

    Raises:
        ModelError: a layer needs an operator that TFLite does not have built in.
    """
    source = prepare(context, needed_by="emitting TFLite")
    graph = write_artifact(context, _convert(source), Format.TFLITE)
    write_layers(context, layers_of_tensors(graph, source))
    return describe(source, graph)


def _convert(source: Source) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    # The function is given as its own owner: the converter then takes it as it is, without a SavedModel between.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source.function], source.function)
    try:
        return bytes(converter.convert())
    except (ConverterError, RuntimeError, ValueError) as error:
        raise _unsupported(source, str(error)) from error


def _unsupported(source: Source, message: str) -> ModelError:
    """Name the layers whose operators the converter refused."""
    refused = set(re.findall(r"\btf\.(\w+)(?=\(tensor)", message))
    operations = [each for each in source.function.graph.get_operations() if each.type in refused]
    if not operations:
        return ModelError(f"`{source.model.name}` cannot be converted to TFLite: {_last_error(message)}")
    found = {f"{origin_of(source.model, each.name)} needs {each.type}" for each in operations}
    return ModelError(
        f"expected layers that TFLite has operators for; {', '.join(sorted(found))}, which is not built into TFLite",
        hint="replace the layer with one made of supported operators: runtimes on devices have no TensorFlow to fall "
        "back on",
    )


def _last_error(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), lines[0] if lines else "no reason given")
