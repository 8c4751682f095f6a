"""The smaller model: the same layers, without the channels that are taken out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.compression.channels.groups import Channels, FollowedLayer
from edgecc.compiler.compression.channels.layers import Weight
from edgecc.compiler.compression.channels.ties import Labels
from edgecc.compiler.frontend.keras_file import cause_in_words
from edgecc.errors import ModelError


def without_channels(model: Any, channels: Channels, removed: Collection[int]) -> Any:
    """Build the model anew without these units; `model` stays as it was, and shares no weights with the new one,
    which is not compiled.

    It computes what the original does when the removed channels are set to zero wherever a kernel reads them, after
    batch normalization and activation.

    Args:
        model: what `channels` was found in.
        channels: the result of `find_channels`.
        removed: units of its groups. Every producer must keep at least one channel.

    Raises:
        ModelError: a layer cannot be made again from its configuration.
    """
    return _Surgery(channels, removed).rebuilt(model)


class _Surgery:
    def __init__(self, channels: Channels, removed: Collection[int]) -> None:
        self.channels = channels
        self.removed = np.array(sorted(removed), dtype=np.int64)
        self.renewed: dict[int, Any] = {}

    def rebuilt(self, model: Any) -> Any:
        """The model or a nested one, on new inputs: a nested one's may have lost channels."""
        import keras

        pairs: list[tuple[Any, Any]] = []

        def renew(layer: Any) -> Any:
            if id(layer) in self.channels.graphs or not isinstance(layer, keras.layers.Layer):
                return layer
            if id(layer) not in self.renewed:
                self.renewed[id(layer)] = self._renewed(layer)
                pairs.append((layer, self.renewed[id(layer)]))
            return self.renewed[id(layer)]

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if id(layer) in self.channels.graphs:
                layer = self._nested(layer)
            return layer(*args, **kwargs)

        graph = self.channels.graphs[id(model)]
        inputs = keras.tree.map_structure(self._smaller_input, graph.input)
        smaller = keras.models.clone_model(graph, input_tensors=inputs, clone_function=renew, call_function=call)
        for old, new in pairs:
            self._copy_weights(old, new)
        return _as_sequential(keras, smaller) if type(model) is keras.Sequential else smaller

    def _nested(self, model: Any) -> Any:
        if id(model) not in self.renewed:
            self.renewed[id(model)] = self.rebuilt(model)
        return self.renewed[id(model)]

    def _smaller_input(self, tensor: Any) -> Any:
        import keras

        shape = list(tensor.shape)
        if len(labels := self.channels.tensors[id(tensor)]):
            shape[-1] = len(self._kept(labels))
        return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor._keras_history.operation.name)

    def _renewed(self, layer: Any) -> Any:
        config = layer.get_config()
        followed = self.channels.followed.get(id(layer))
        if followed is not None and followed.flow.resized is not None:
            config |= self._resized(followed)
        # The code of a Lambda layer that is loaded already has been let in already.
        trusted = {"safe_mode": False} if type(layer).__name__ == "Lambda" else {}
        try:
            return type(layer).from_config(config, **trusted)
        except Exception as error:  # whatever a custom layer's constructor raises
            raise ModelError(
                f"layer {layer.name} ({type(layer).__name__}) cannot be made again from its configuration: "
                f"{cause_in_words(error)}",
                hint="a custom layer needs `get_config()` that returns what its `__init__` takes, `**kwargs` included",
            ) from error

    def _resized(self, followed: FollowedLayer) -> dict[str, Any]:
        output, resized = followed.flow.output, followed.flow.resized
        kept = len(self._kept(output))
        return dict(resized(kept)) if resized is not None and kept < len(output) else {}

    def _copy_weights(self, old: Any, new: Any) -> None:
        followed = self.channels.followed.get(id(old))
        cut = {} if followed is None else {id(weight.variable): weight for weight in followed.flow.weights}
        values = [self._cut(cut[id(variable)]) if id(variable) in cut else variable.numpy() for variable in old.weights]
        new.set_weights(values)

    def _cut(self, weight: Weight) -> npt.NDArray[Any]:
        value: npt.NDArray[Any] = weight.variable.numpy()
        for axis, labels in enumerate(weight.axes):
            if labels is not None:
                value = value.take(self._kept(labels), axis=axis)
        return value

    def _kept(self, labels: Labels) -> npt.NDArray[np.int64]:
        """Positions of the channels that stay."""
        return np.flatnonzero(~np.isin(labels, self.removed))


def _as_sequential(keras: Any, graph: Any) -> Any:
    (tensor,) = graph.inputs
    inputs = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
    layers = [layer for layer in graph.layers if not isinstance(layer, keras.layers.InputLayer)]
    return keras.Sequential([inputs, *layers], name=graph.name)
