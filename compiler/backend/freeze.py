"""A Keras model as one TensorFlow function of constants: what both emitters start from."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgecc.compiler.backend.origins import origin_of
from edgecc.compiler.frontend.layer_graph import input_names, output_names
from edgecc.errors import ModelError

_LOOPS = ("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase")


def freeze(model: Any, names: Interface | None = None, batch_size: int | None = 1) -> Any:
    """Trace `model` for inference and turn its variables into constants.

    Without this, both converters leave variables behind and batch normalization unfolded.

    Args:
        model: a Sequential or functional model.
        names: of its inputs and outputs; without them, those of `interface_of`.
        batch_size: how many samples it takes at once; None for any number.

    Returns:
        A concrete function of the model's inputs and outputs in their order, each of shape (batch_size, ...) and called
        by its name: `input:0`, `output:0` where there is one.

    Raises:
        ModelError: an input that is not float32 or int32 or has an open dimension, a layer that does not compute in
            float32, loops or branches, or a layer that fails on so many samples.
    """
    check_interface(model)
    _refuse_other_precision(model)
    names = names or interface_of(model)
    function = _trace(model, names, batch_size)
    _refuse_loops(function.graph, model)
    return function.prune([f"{name}:0" for name in names.inputs], [f"{name}:0" for name in names.outputs])


@dataclass(frozen=True)
class Interface:
    """What an artifact's inputs and outputs are called, in the order of the model's own."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def interface_of(model: Any) -> Interface:
    """Call one input `input` and one output `output`; several by the model's own names, made fit for every format."""
    sources = ["input"] if len(model.inputs) == 1 else input_names(model)
    sinks = ["output"] if len(model.outputs) == 1 else output_names(model)
    fit = [re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_-") or "tensor" for name in (*sources, *sinks)]
    # The scope of the model's own operations has its name, with or without a counter.
    taken = [model.name, f"{model.name}_1"]
    names = _distinct([*taken, *fit])[len(taken) :]
    return Interface(tuple(names[: len(sources)]), tuple(names[len(sources) :]))


def _distinct(names: list[str]) -> list[str]:
    """The names, with a counter behind those that were there before."""
    distinct: list[str] = []
    for name in names:
        candidates = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(1)))
        distinct.append(next(each for each in candidates if each not in distinct))
    return distinct


def check_interface(model: Any) -> None:
    """Check that `model` takes tensors of known shape, in float32 or int32.

    Raises:
        ModelError: it does not.
    """
    if not getattr(model, "inputs", None):
        raise ModelError(
            f"expected a Sequential or functional model with known inputs; got `{type(model).__name__}`",
            hint="build the model from a keras.Input",
        )
    for source in model.inputs:
        if source.dtype not in ("float32", "int32"):
            raise ModelError(f"expected the input `{source.name}` to be float32 or int32; got {source.dtype}")
        if None in source.shape[1:]:
            raise ModelError(
                f"expected the input `{source.name}` to have a known shape, but for the batch; got {source.shape}",
                hint="give keras.Input every dimension, the number of time steps among them",
            )


def _refuse_other_precision(model: Any) -> None:
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16", "float64"):
            raise ModelError(
                f"expected a model that computes in float32; layer `{layer.name}` computes in {layer.compute_dtype}",
                hint="build the model under the dtype policy float32 and copy the weights into it",
            )


def _trace(model: Any, names: Interface, batch_size: int | None) -> Any:
    import tensorflow as tf
    from keras import tree
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    def infer(*inputs: Any) -> Any:
        outputs = tree.flatten(model(_as_taken(model, inputs), training=False))
        return [tf.identity(output, name=name) for output, name in zip(outputs, names.outputs, strict=True)]

    signature = [
        tf.TensorSpec((batch_size, *source.shape[1:]), source.dtype, name=name)
        for source, name in zip(model.inputs, names.inputs, strict=True)
    ]
    function = tf.function(infer, input_signature=signature, autograph=False)
    try:
        traced = function.get_concrete_function()
    except Exception as error:  # whatever the layers' own code raises
        shapes = ", ".join(str(tuple(spec.shape)) for spec in signature)
        raise ModelError(f"`{model.name}` cannot be traced on inputs of shape {shapes}: {_reason(error)}") from error
    # Control flow stays as it is written, so that it is found below.
    return convert_variables_to_constants_v2(traced, lower_control_flow=False)


def _as_taken(model: Any, inputs: Sequence[Any]) -> Any:
    """Tensors in the order of the model's inputs, in the structure in which it was given them."""
    from keras import tree

    struct = getattr(model, "_inputs_struct", None)
    return inputs[0] if struct is None else tree.pack_sequence_as(struct, list(inputs))


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
                hint="a recurrent layer inside a layer of your own: build it with unroll=True",
            )
