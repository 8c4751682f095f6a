"""Training in mixed precision, and getting back to the float32 model that the emitters need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.frontend.keras_file import cause_in_words
from edgecc.compiler.frontend.layer_graph import call, output_operations
from edgecc.errors import EdgeccError, ModelError
from edgecc.samples import Arrays, sample_count

_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
"""The distance from 1 to the next number of each type."""


@dataclass(frozen=True)
class Precision:
    """The dtype policy to train under, and why."""

    policy: str
    reason: str


def resolve_precision(asked: str) -> Precision:
    """Decide what `precision` means on this machine."""
    if asked != "auto":
        return Precision(asked, "as the project says")
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return Precision("mixed_float16", "auto: TensorFlow sees a GPU, which computes faster in float16")
    return Precision("float32", "auto: no GPU; on a CPU mixed_float16 trains several times slower than float32")


@contextmanager
def dtype_policy(keras: Any, policy: str) -> Iterator[None]:
    """Build layers under a policy, and set the one before again."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compute_outputs_in_float32(model: Any) -> None:
    """Let the layers that compute the outputs do so in float32: float16 is too coarse for a loss."""
    for operation in output_operations(model):
        if hasattr(operation, "dtype_policy"):
            operation.dtype_policy = "float32"


def as_float32(keras: Any, model: Any, samples: Arrays) -> Any:
    """Rebuild a model layer by layer under the float32 policy, with the same weights, uncompiled.

    Both are run on `samples`, as the model takes them. They are one function up to the roundings of the coarsest type
    that `model` computes in, so their outputs may differ, in the L2 norm over all samples relative to the float32
    outputs, by 16 times that type's machine epsilon: 1.6 % for float16, 12.5 % for bfloat16, 0.0002 % for float32.
    A wrong rebuild differs by about 100 %.

    Raises:
        ModelError: a layer cannot be made again from its configuration, or the outputs differ by more.
    """
    with dtype_policy(keras, "float32"):
        rebuilt = _cloned(keras, model)
    rebuilt.set_weights(model.get_weights())
    _check_same_function(model, rebuilt, samples)
    return rebuilt


def _cloned(keras: Any, model: Any) -> Any:
    # Keras would compile the clone as the model was, from a configuration that no loss of the user's own survives.
    compiled = [part for part in [model, *model._flatten_layers()] if getattr(part, "compiled", False)]
    try:
        for part in compiled:
            part.compiled = False
        return keras.models.clone_model(model, clone_function=_layer_in_float32, recursive=True)
    except EdgeccError:
        raise
    except Exception as error:
        raise ModelError(f"{model.name} cannot be rebuilt in float32: {cause_in_words(error)}") from error
    finally:
        for part in compiled:
            part.compiled = True


def _layer_in_float32(layer: Any) -> Any:
    config = _config_in_float32(layer.get_config())
    # The code of a Lambda layer that is loaded already has been let in already.
    trusted = {"safe_mode": False} if type(layer).__name__ == "Lambda" else {}
    try:
        return type(layer).from_config(config, **trusted)
    except Exception as error:
        raise ModelError(
            f"layer {layer.name} ({type(layer).__name__}) cannot be made again from its configuration: "
            f"{cause_in_words(error)}",
            hint="a custom layer needs `get_config()` that returns what its `__init__` takes, `**kwargs` included; "
            "a function of your own needs `@keras.saving.register_keras_serializable()`",
        ) from error


def _config_in_float32(value: Any) -> Any:
    """A layer's configuration with every floating-point dtype policy replaced, those of wrapped layers too."""
    if isinstance(value, dict):
        if value.get("class_name") == "DTypePolicy":
            return {**value, "config": {**value["config"], "name": "float32"}}
        return {
            key: _replaced_name(item) if key == "dtype" else _config_in_float32(item) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_config_in_float32(item) for item in value)
    return value


def _replaced_name(dtype: Any) -> Any:
    if isinstance(dtype, str) and dtype.removeprefix("mixed_") in _EPSILON:
        return "float32"
    return _config_in_float32(dtype)


def _check_same_function(model: Any, rebuilt: Any, samples: Arrays) -> None:
    expected, given = (_outputs(each, samples) for each in (rebuilt, model))
    coarsest = max((layer.compute_dtype for layer in model._flatten_layers()), key=lambda name: _EPSILON.get(name, 0))
    tolerance = 16 * _EPSILON[coarsest]
    difference = np.linalg.norm(given - expected) / max(float(np.linalg.norm(expected)), 1e-30)
    if not difference <= tolerance:
        raise ModelError(
            f"{model.name} in float32 does not compute what it computes in {coarsest}: expected outputs within "
            f"{tolerance:.2g} of each other on {sample_count(samples)} samples; they are {difference:.2g} apart",
            hint='the model may overflow in half precision: train it with `precision = "float32"`',
        )


def _outputs(model: Any, samples: Arrays) -> npt.NDArray[np.float64]:
    """All outputs for all samples in one vector."""
    import keras

    outputs = keras.tree.flatten(call(model, samples))
    return np.concatenate([np.asarray(output, dtype=np.float64).ravel() for output in outputs])
