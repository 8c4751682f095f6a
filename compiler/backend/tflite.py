"""Emits TFLite: float32, or int8 throughout with int8 inputs and outputs. Never Flex or custom operators."""

from __future__ import annotations

import re
import warnings
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph
from edgecc.compiler.backend.checks import float_operators
from edgecc.compiler.backend.emission import Source, describe, prepare, write_artifact
from edgecc.compiler.backend.origins import origin_of
from edgecc.compiler.compression.calibration import Calibration, read_calibration
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import DataError, ModelError
from edgecc.project import Quantization


def emit(context: StageContext) -> Metrics:
    """Convert the stage's Keras model to TFLite at batch 1.

    Options: `model` (the project's `[model]`) and `quantize` (None or "int8").

    Raises:
        ModelError: a layer needs an operator that TFLite does not have built in, or not in int8.
        DataError: int8 without representative samples that fit the model.
    """
    source = prepare(context, needed_by="emitting TFLite")
    if context.options["quantize"] is None:
        graph = write_artifact(context, _convert(source), Format.TFLITE)
        return describe(source, graph)
    calibration = _calibration(context, source)
    graph = write_artifact(context, _convert(source, calibration), Format.TFLITE)
    _check_all_integer(graph, source.model)
    return {**describe(source, graph), "calibration_samples": len(calibration)}


def _calibration(context: StageContext, source: Source) -> Calibration:
    quantize = Quantization(context.options["quantize"])
    if "data" not in context.inputs:
        raise DataError(f"quantizing to {quantize} needs representative samples; there are none")
    return read_calibration(context.inputs["data"]["representative.npz"], tuple(source.model.inputs[0].shape[1:]))


def _convert(source: Source, calibration: Calibration | None = None) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    # The function is given as its own owner: the converter then takes it as it is, without a SavedModel between.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source.function], source.function)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # Said of every model that is quantized after training.
        warnings.filterwarnings("ignore", message="Statistics for quantized inputs were expected")
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


def _check_all_integer(graph: Graph, model: Any) -> None:
    edges = [tensor.name for tensor in (*graph.inputs, *graph.outputs) if tensor.dtype != "int8"]
    if edges:
        raise ModelError(f"expected int8 inputs and outputs; the converter left {', '.join(edges)} in another type")
    found = [
        f"{origin_of(model, operator.outputs[0].name)} computes {operator.kind} in float "
        f"(tensor `{operator.outputs[0].name}`)"
        for operator in float_operators(graph)
    ]
    if found:
        raise ModelError(
            f"expected int8 throughout; {'; '.join(found)}",
            hint="replace the layer, or emit this variant without `quantize`",
        )
