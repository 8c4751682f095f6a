"""Recurrent layers as a row of steps: a loop becomes operators that both formats have, and that can be quantized."""

from __future__ import annotations

from typing import Any

from edgecc.compiler.frontend.keras_file import cause_in_words
from edgecc.errors import EdgeccError, ModelError


def unroll_recurrent(model: Any) -> Any:
    """Rebuild a model whose recurrent layers loop over time with one copy of their cell for each step.

    Weights are the same, and so are the outputs. The number of steps must be known when the model is called. `model`
    stays as it was; without such layers it is what is returned.

    Raises:
        ModelError: a layer keeps its state between samples, or the model cannot be made again from its configuration.
    """
    import keras

    looping = [layer for layer in model._flatten_layers(include_self=False) if _loops(keras, layer)]
    if not looping:
        return model
    if stateful := [layer.name for layer in looping if layer.stateful]:
        raise ModelError(
            f"expected layers that begin each sample anew; `{stateful[0]}` is stateful",
            hint="an artifact keeps nothing between inferences: build the layer without `stateful=True`",
        )
    try:
        unrolled = keras.models.clone_model(model, clone_function=_unrolled, recursive=True)
    except EdgeccError:
        raise
    except Exception as error:
        raise ModelError(f"{model.name} cannot be rebuilt with unrolled layers: {cause_in_words(error)}") from error
    unrolled.set_weights(model.get_weights())
    return unrolled


def _loops(keras: Any, layer: Any) -> bool:
    return isinstance(layer, keras.layers.RNN) and hasattr(layer, "unroll") and not layer.unroll


def _unrolled(layer: Any) -> Any:
    # The code of a Lambda layer that is loaded already has been let in already.
    trusted = {"safe_mode": False} if type(layer).__name__ == "Lambda" else {}
    return type(layer).from_config(_with_unroll(layer.get_config()), **trusted)


def _with_unroll(config: Any) -> Any:
    """A configuration in which every recurrent layer, those of wrappers included, is unrolled."""
    if isinstance(config, dict):
        return {key: True if key == "unroll" else _with_unroll(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_with_unroll(item) for item in config)
    return config
