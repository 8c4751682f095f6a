"""Questions about a model's layers: its inputs and outputs, what computes them, which activation follows a layer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

_TRANSPARENT = frozenset({"BatchNormalization", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Add"})
"""What lies between a layer and its activation without being one; `Add` is a residual connection."""
_ACTIVATIONS = frozenset(
    {
        "celu", "elu", "exponential", "gelu", "hardsigmoid", "hardsilu", "hardswish", "hardtanh", "leakyrelu",
        "logsoftmax", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
        "softsign", "swish", "tanh",
    }
)  # fmt: skip


def input_names(model: Any) -> list[str]:
    """The names of the model's inputs, in the order of `model.inputs`."""
    return [tensor._keras_history.operation.name for tensor in model.inputs]


def output_names(model: Any) -> list[str]:
    """The names of the model's outputs, in the order of `model.outputs`: its own for a dict, else the last layers'."""
    if isinstance(struct := getattr(model, "_outputs_struct", None), dict):
        import keras

        return [str(path[0]) for path, _ in keras.tree.flatten_with_path(struct)]
    return [tensor._keras_history.operation.name for tensor in model.outputs]


def call(model: Any, samples: Any) -> Any:
    """The model's outputs, as Keras gives them, for samples as it takes them: an array, a list or a dict of them."""
    import keras

    # Keras takes tensors for models that were made with a list of one input, but warns of arrays.
    return model(keras.tree.map_structure(keras.ops.convert_to_tensor, samples), training=False)


def output_operations(model: Any) -> list[Any]:
    """The layers or operations that compute the model's outputs, inside nested models too."""
    found = [tensor._keras_history for tensor in model.outputs]
    return [
        output_operations(each.operation)[each.tensor_index] if _is_model(each.operation) else each.operation
        for each in found
    ]


def output_activation(model: Any) -> str | None:
    """The activation that the model's first output goes through: "softmax" and "sigmoid" give probabilities."""
    return activation_name(output_operations(model)[0])


def activation_name(operation: Any) -> str | None:
    """The activation that a layer or operation applies itself: "relu", "linear", ...; None where it has none."""
    own = getattr(operation, "activation", None)
    if own is not None:
        return _plain(getattr(own, "__name__", type(own).__name__))
    name = _plain(type(operation).__name__)
    return name if name in _ACTIVATIONS else None


def following_activation(layer: Any, model: Any) -> str:
    """The activation that a layer's output goes through: its own, or else that of what follows it in the model.

    "linear" where something else follows.
    """
    own = activation_name(layer)
    if own not in (None, "linear"):
        return str(own)
    for consumer in _consumers(layer, model):
        name = activation_name(consumer)
        if name is not None and not hasattr(consumer, "kernel"):
            return name
        if type(consumer).__name__ in _TRANSPARENT:
            return following_activation(consumer, model)
    return "linear"


def models_within(model: Any) -> Iterator[Any]:
    """The model itself and every model nested in it."""
    return (layer for layer in model._flatten_layers() if _is_model(layer))


def _is_model(operation: Any) -> bool:
    return hasattr(operation, "fit")


def _consumers(operation: Any, model: Any) -> list[Any]:
    if not hasattr(model, "operations"):  # Sequential
        return [after for before, after in pairwise(model.layers) if before is operation]
    # Shared layers have consumers in other models too.
    own = {id(member) for member in model.operations}
    return [node.operation for node in operation._outbound_nodes if id(node.operation) in own]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
