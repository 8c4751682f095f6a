"""What each kind of layer does with channels: makes them, reads them, carries them on, or ties them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgecc.compiler.compression.channels.ties import Labels, Ties


@dataclass(frozen=True)
class Weight:
    """A weight of a layer, and the channels along its axes."""

    variable: Any
    axes: tuple[Labels | None, ...]
    """For each axis the labels of its channels; None where it has none."""
    makes: int | None = None
    """The axis along which this kernel makes channels."""
    reads: int | None = None
    """The axis along which this kernel sums channels up."""


@dataclass(frozen=True)
class Flow:
    """What one call of a layer does with channels."""

    output: Labels
    """The channels along the last axis of what it gives."""
    weights: tuple[Weight, ...] = ()
    resized: Callable[[int], Mapping[str, Any]] | None = None
    """How its configuration changes when so many channels of `output` are left."""


@dataclass(frozen=True)
class Call:
    """One call of a layer in a graph."""

    layer: Any
    inputs: tuple[Labels, ...]
    input_shapes: tuple[tuple[int | None, ...], ...]
    output_shape: tuple[int | None, ...]
    ties: Ties


class UnfollowedError(Exception):
    """The channels cannot be followed through this layer; says why."""


def follow(call: Call) -> Flow:
    """The flow of channels through a layer.

    Raises:
        UnfollowedError: no rule is known for it.
    """
    layer = call.layer
    rule = _rules().get(type(layer))  # exact types: a subclass may compute something else
    if rule is None:
        raise UnfollowedError("its channels cannot be followed")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnfollowedError("its channels come first")
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        raise UnfollowedError("it is quantized or has LoRA weights")
    if len(call.inputs) != 1 and rule not in (_merge, _concatenate):
        raise UnfollowedError("it is called on several tensors")
    return rule(call)


@functools.cache
def _rules() -> dict[type, Callable[[Call], Flow]]:
    from keras import layers

    by_rule: dict[Callable[[Call], Flow], str] = {
        _convolution: "Conv1D Conv2D Conv3D",
        _transposed: "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        _depthwise: "DepthwiseConv1D DepthwiseConv2D",
        _separable: "SeparableConv1D SeparableConv2D",
        _dense: "Dense",
        _batch_norm: "BatchNormalization",
        _prelu: "PReLU",
        _carry: "ReLU LeakyReLU ELU Identity ActivityRegularization Dropout GaussianDropout GaussianNoise AlphaDropout "
        "SpatialDropout1D SpatialDropout2D SpatialDropout3D "
        "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D "
        "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D "
        "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D "
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D "
        "UpSampling1D UpSampling2D UpSampling3D Resizing RepeatVector",
        _activation: "Activation",
        _reshape: "Flatten Reshape",
        _merge: "Add Subtract Multiply Average Maximum Minimum",
        _concatenate: "Concatenate",
    }
    return {getattr(layers, name): rule for rule, names in by_rule.items() for name in names.split()}


def _convolution(call: Call) -> Flow:
    if call.layer.groups != 1:
        raise UnfollowedError(f"it has {call.layer.groups} groups")
    return _producer(call, "kernel", "filters", makes=-1, reads=-2)


def _transposed(call: Call) -> Flow:
    return _producer(call, "kernel", "filters", makes=-2, reads=-1)


def _dense(call: Call) -> Flow:
    return _producer(call, "kernel", "units", makes=-1, reads=-2)


def _separable(call: Call) -> Flow:
    """Its depthwise kernel (..., channels, m) gives the channels i*m to i*m + m - 1 for channel i."""
    (channels,) = call.inputs
    depthwise = _weight(call.layer.depthwise_kernel, {-2: channels}, reads=-2)
    inner = np.repeat(channels, call.layer.depth_multiplier)
    flow = _producer(call, "pointwise_kernel", "filters", makes=-1, reads=-2, read=inner)
    made, *bias = flow.weights
    pointwise = _weight(made.variable, {-1: flow.output, -2: inner}, makes=-1)
    return Flow(flow.output, (depthwise, pointwise, *bias), flow.resized)


def _producer(call: Call, kernel: str, size: str, *, makes: int, reads: int, read: Labels | None = None) -> Flow:
    layer = call.layer
    made = call.ties.fresh(getattr(layer, size))
    if not _is_elementwise(layer.activation):
        call.ties.hold(made, f"its activation `{_name(layer.activation)}` may mix channels")
    axes = {makes: made, reads: call.inputs[0] if read is None else read}
    weights = [_weight(getattr(layer, kernel), axes, makes=makes, reads=reads)]
    if layer.use_bias:
        weights.append(_weight(layer.bias, {0: made}))
    return Flow(made, tuple(weights), lambda kept: {size: kept})


def _depthwise(call: Call) -> Flow:
    layer, (channels,) = call.layer, call.inputs
    if not _is_elementwise(layer.activation):
        raise UnfollowedError(f"its activation `{_name(layer.activation)}` may mix channels")
    output = np.repeat(channels, layer.depth_multiplier)
    bias = (_weight(layer.bias, {0: output}),) if layer.use_bias else ()
    return Flow(output, (_weight(layer.kernel, {-2: channels}), *bias))


def _batch_norm(call: Call) -> Flow:
    if call.layer.axis not in (-1, len(call.input_shapes[0]) - 1):
        raise UnfollowedError(f"it normalizes axis {call.layer.axis}, not the last one")
    (channels,) = call.inputs
    per_channel = [weight for weight in call.layer.weights if len(weight.shape) == 1]
    return Flow(channels, tuple(_weight(weight, {0: channels}) for weight in per_channel))


def _prelu(call: Call) -> Flow:
    alpha, (channels,) = call.layer.alpha, call.inputs
    is_shared = alpha.shape[-1] != len(channels)
    return Flow(channels, () if is_shared else (_weight(alpha, {-1: channels}),))


def _activation(call: Call) -> Flow:
    if not _is_elementwise(call.layer.activation):
        raise UnfollowedError(f"its activation `{_name(call.layer.activation)}` may mix channels")
    return _carry(call)


def _carry(call: Call) -> Flow:
    return Flow(call.inputs[0])


def _reshape(call: Call) -> Flow:
    """Position p of the flattened tensor belongs to channel p modulo the channels, before and after."""
    sizes, target = _known_sizes(call.input_shapes[0]), _known_sizes(call.output_shape)
    positions = np.tile(call.inputs[0], math.prod(sizes[:-1]))
    rows = positions.reshape(-1, target[-1])
    for row in np.unique(call.ties.resolve(rows), axis=0):
        call.ties.tie(rows[0], row)
    if not hasattr(call.layer, "target_shape"):
        return Flow(rows[0])
    return Flow(rows[0], resized=lambda kept: {"target_shape": (*target[:-1], kept)})


def _known_sizes(shape: tuple[int | None, ...]) -> list[int]:
    """All but the batch's."""
    known = [size for size in shape[1:] if size is not None]
    if not known or len(known) < len(shape) - 1:
        raise UnfollowedError("its input or output has an open dimension, or none beside the batch")
    return known


def _merge(call: Call) -> Flow:
    """Channels at the same place are tied; a single channel beside several is broadcast over them, and stays."""
    widest = max(call.inputs, key=len)
    for channels in call.inputs:
        if len(channels) == len(widest):
            call.ties.tie(widest, channels)
        elif not len(channels):
            raise UnfollowedError("one of its inputs has an open dimension")
        else:
            call.ties.hold(channels, f"`{call.layer.name}` broadcasts it over channels")
    return Flow(widest)


def _concatenate(call: Call) -> Flow:
    rank = len(call.output_shape)
    if call.layer.axis % rank == rank - 1:
        return Flow(np.concatenate(call.inputs))
    for channels in call.inputs[1:]:
        call.ties.tie(call.inputs[0], channels)
    return Flow(call.inputs[0])


def _weight(
    variable: Any, channels: Mapping[int, Labels], *, makes: int | None = None, reads: int | None = None
) -> Weight:
    rank = len(variable.shape)
    by_axis = {axis % rank: labels for axis, labels in channels.items()}
    axes = tuple(by_axis.get(axis) for axis in range(rank))
    return Weight(variable, axes, _positive(makes, rank), _positive(reads, rank))


def _positive(axis: int | None, rank: int) -> int | None:
    return None if axis is None else axis % rank


def _is_elementwise(activation: Any) -> bool:
    """Whether this computes each value from that value alone. Of a function of the user's own, nobody knows."""
    from keras import activations, layers

    names = (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear log_sigmoid mish "
        "relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus tanh "
        "tanh_shrink"
    )
    if activation is None or type(activation) in (layers.ReLU, layers.LeakyReLU, layers.ELU):
        return True
    return any(activation is getattr(activations, name) for name in names.split())


def _name(activation: Any) -> str:
    return str(getattr(activation, "__name__", type(activation).__name__))
