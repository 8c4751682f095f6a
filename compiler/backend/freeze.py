"""A Keras model as one TensorFlow function of constants: what both emitters start from."""

from __future__ import annotations

import re
from typing import Any

from edgecc.compiler.backend.origins import origin_of
from edgecc.errors import ModelError

_LOOPS = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase")


def freeze(model: Any) -> Any:
    """Trace `model` for inference on one sample and turn its variables into constants.

    Without this, both converters leave variables behind and batch normalization unfolded.

    Returns:
        A concrete function from the tensor `input:0`, shape (1, ...), to `output:0`, both float32.

    Raises:
        ModelError: several inputs or outputs, an input that is not float32 or has an open dimension, a layer that
            does not compute in float32, loops or branches, or a layer that fails on one sample.
    """
    check_interface(model)
    _refuse_other_precision(model)
    function = _trace(model)
    _refuse_loops(function.graph, model)
    return function.prune("input:0", "output:0")


def check_interface(model: Any) -> None:
    """Check that `model` maps one float32 tensor of known shape to one other tensor.

    Raises:
        ModelError: it does not.
    """
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"expected a Sequential or functional model with known inputs; got `{type(model).__name__}`",
            hint="build the model from a keras.Input",
        )
    for kind, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            raise ModelError(f"expected a model with one {kind}; `{model.name}` has {len(tensors)}")
    source = model.inputs[0]
    if source.dtype != "float32":
        raise ModelError(f"expected the input `{source.name}` to be float32; got {source.dtype}")
    if None in source.shape[1:]:
        raise ModelError(
            f"expected the input `{source.name}` to have a known shape, but for the batch; got {source.shape}",
            hint="give keras.Input every dimension",
        )


def _refuse_other_precision(model: Any) -> None:
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16", "float64"):
            raise ModelError(
                f"expected a model that computes in float32; layer `{layer.name}` computes in {layer.compute_dtype}",
                hint="build the model under the dtype policy float32 and copy the weights into it",
            )


def _trace(model: Any) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def infer(input: Any) -> Any:
        return tf.identity(model(input, training=False), name="output")

    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(infer, input_signature=[tf.TensorSpec(shape, tf.float32, name="input")], autograph=False)
    try:
        traced = function.get_concrete_function()
    except Exception as error:  # whatever the layers' own code raises
        raise ModelError(f"`{model.name}` cannot be traced on one sample of shape {shape}: {_reason(error)}") from error
    # Control flow stays as it is written, so that it is found below.
    return convert_variables_to_constants_v2(traced, lower_control_flow=False)


def _reason(error: Exception) -> str:
    """In one line, without the colours and the arguments that Keras adds."""
    text = re.sub(r"\x1b\[\d*m", "", str(error)).partition("Arguments received by")[0]
    return " ".join(text.split()) or type(error).__name__


def _refuse_loops(graph: Any, model: Any) -> None:
    """Loops are named after counters of the process, and quantizing one kills it (TensorFlow 2.21)."""
    for operation in graph.get_operations():
        if operation.type in _LOOPS:
            raise ModelError(
                f"expected a model without loops and branches; {origin_of(model, operation.name)} has a "
                f"{operation.type} operation",
                hint="recurrent layers: build them with unroll=True",
            )
