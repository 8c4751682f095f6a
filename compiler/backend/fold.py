"""Batch normalization is folded into the layer before it: at inference it is a scale and a shift of each channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldedModel:
    """A model that computes what the original does, with fewer layers. Layers of nested models are `outer/inner`."""

    model: Any
    folded: tuple[str, ...]
    """Batch normalizations that are gone."""
    kept: Mapping[str, str]
    """Those that are still there, with the reason."""


def fold_batch_normalization(model: Any) -> FoldedModel:
    """Fold each batch normalization into the convolution or dense layer that alone feeds it.

    With scale s = gamma / sqrt(variance + epsilon), the layer's kernel becomes s * kernel and its bias
    s * (bias - mean) + beta (Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2). Layers that do not
    change are shared with `model`, which stays as it was.
    """
    graph = _functional_graph(model)
    if graph is None:
        return FoldedModel(model, (), dict.fromkeys(_batch_norms_inside(model), f"inside `{model.name}`"))
    return _Folding(graph).run()


class _Folding:
    """One pass over one functional graph."""

    def __init__(self, graph: Any) -> None:
        depths = sorted(graph._nodes_by_depth.items(), reverse=True)
        self.graph = graph
        self.nodes = [node for _, nodes in depths for node in nodes]
        self.producers = {id(tensor): node for node in self.nodes for tensor in node.output_tensors}
        consumed = [tensor for node in self.nodes for tensor in node.input_tensors] + graph.outputs
        self.consumers = Counter(map(id, consumed))
        self.uses = Counter(id(node.operation) for node in self.nodes)
        self.replaced: dict[int, Any] = {}
        self.dropped: set[int] = set()
        self.folded: list[str] = []
        self.kept: dict[str, str] = {}

    def run(self) -> FoldedModel:
        import keras

        for node in self.nodes:
            layer = node.operation
            if isinstance(layer, keras.layers.BatchNormalization):
                self._visit_batch_norm(node)
            elif isinstance(layer, keras.layers.Layer) and id(layer) not in self.replaced:
                self._visit_other(layer)
        model = self._rebuilt(keras) if self.folded else self.graph
        return FoldedModel(model, tuple(self.folded), self.kept)

    def _visit_batch_norm(self, node: Any) -> None:
        batch_norm = node.operation
        producer = self.producers[id(node.input_tensors[0])]
        obstacle = self._obstacle(node, producer)
        if obstacle is not None:
            self.kept[batch_norm.name] = obstacle
            return
        self.replaced[id(producer.operation)] = _folded_layer(producer, batch_norm)
        self.dropped.add(id(batch_norm))
        self.folded.append(batch_norm.name)

    def _visit_other(self, layer: Any) -> None:
        """Fold inside a nested model; name what lies inside any other layer."""
        inside = f"inside `{layer.name}`"
        graph = _functional_graph(layer)
        calls = [other for other in self.nodes if other.operation is layer]
        if graph is None or any(call.arguments.kwargs.get("training") for call in calls):
            self.kept |= dict.fromkeys(_batch_norms_inside(layer), inside)
            return
        nested = _Folding(graph).run()
        self.replaced[id(layer)] = nested.model if nested.folded else layer
        self.folded += [f"{layer.name}/{name}" for name in nested.folded]
        self.kept |= {f"{layer.name}/{name}": reason for name, reason in nested.kept.items()}

    def _obstacle(self, node: Any, producer: Any) -> str | None:
        """Why the batch normalization at `node` cannot go into `producer`; None where it can."""
        tensor, layer = node.input_tensors[0], producer.operation
        if self.uses[id(node.operation)] > 1:
            return "used more than once"
        if node.arguments.kwargs.get("training"):
            return "called with training=True"
        if node.operation.axis not in (-1, len(tensor.shape) - 1):
            return f"normalizes axis {node.operation.axis}, not the last one"
        if self.uses[id(layer)] > 1:
            return f"follows `{layer.name}`, which is used more than once"
        if self.consumers[id(tensor)] > 1:
            return f"follows `{layer.name}`, whose output is also used elsewhere"
        return _obstacle_in(layer)

    def _rebuilt(self, keras: Any) -> Any:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if id(layer) not in self.dropped:
                return layer(*args, **kwargs)
            return args[0] if args else kwargs["inputs"]

        return keras.models.clone_model(
            self.graph, clone_function=lambda layer: self.replaced.get(id(layer), layer), call_function=call
        )


def _functional_graph(model: Any) -> Any:
    """The model as a functional one that shares its layers; None where its graph is not known."""
    import keras
    from keras.src.models.functional import Functional  # keras exports no public name for it

    if type(model) is keras.Sequential and model.built:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model if type(model) is Functional else None


def _batch_norms_inside(layer: Any) -> list[str]:
    import keras

    inside = layer._flatten_layers(include_self=False)
    return [f"{layer.name}/{each.name}" for each in inside if isinstance(each, keras.layers.BatchNormalization)]


def _obstacle_in(layer: Any) -> str | None:
    import keras

    # Exact types: a subclass may compute something else.
    if type(layer) not in _channel_shapes():
        return f"follows `{layer.name}` ({type(layer).__name__})"
    if layer.activation is not keras.activations.linear:
        return f"follows `{layer.name}`, which has an activation"
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return f"follows `{layer.name}`, whose channels come first"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return f"follows `{layer.name}`, which is quantized or has LoRA weights"
    return None


def _channel_shapes() -> dict[type, tuple[int, ...]]:
    """Layers that can be scaled, with the shape that lines their channels up with the last weight before the bias.

    0 stands for the size that this weight has there.
    """
    from keras import layers

    plain = (
        layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.SeparableConv1D, layers.SeparableConv2D, layers.Dense,
    )  # fmt: skip
    depthwise = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
    transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
    return dict.fromkeys(plain, (-1,)) | dict.fromkeys(depthwise, (-2, -1)) | dict.fromkeys(transposed, (-2,))


def _folded_layer(producer: Any, batch_norm: Any) -> Any:
    layer = producer.operation
    scale, shift = _scale_and_shift(batch_norm)
    weights = [weight.astype(np.float64) for weight in layer.get_weights()]
    bias = weights.pop() if layer.use_bias else np.zeros_like(shift)
    weights[-1] *= _lined_up(scale, weights[-1].shape, _channel_shapes()[type(layer)])
    clone = type(layer).from_config(layer.get_config() | {"use_bias": True})
    clone.build(producer.input_tensors[0].shape)
    clone.set_weights([*weights, scale * bias + shift])
    return clone


def _scale_and_shift(batch_norm: Any) -> tuple[Floats, Floats]:
    mean, variance = _array(batch_norm.moving_mean), _array(batch_norm.moving_variance)
    gamma = _array(batch_norm.gamma) if batch_norm.scale else np.ones_like(mean)
    beta = _array(batch_norm.beta) if batch_norm.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + batch_norm.epsilon)
    return scale, beta - scale * mean


def _lined_up(scale: Floats, kernel_shape: tuple[int, ...], channel_axes: tuple[int, ...]) -> Floats:
    """The scale of each output channel, shaped to multiply a kernel whose output channels lie along `channel_axes`."""
    rank = len(kernel_shape)
    axes = {axis % rank for axis in channel_axes}
    return scale.reshape([size if axis in axes else 1 for axis, size in enumerate(kernel_shape)])


def _array(variable: Any) -> Floats:
    return np.asarray(variable.value, dtype=np.float64)
