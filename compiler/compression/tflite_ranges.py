"""Ranges for litert-quantizer: those of activations as they were observed, those of weights as their biases need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.backend.tflite_file import FLOAT32, kinds_of
from edgecc.variant import Quantization

Floats = npt.NDArray[np.float32]
Range = tuple[float, float]

_MAX_BIAS = 2**30
"""Largest quantized bias: half of what int32 holds, since an input's scale may yet become its producer's."""
_ALWAYS_ZERO: Range = (0.0, 1.0)
"""The range of an activation that was never anything but zero: any holds it, and a tiny one would leave the bias of the
next operator steps as tiny."""


@dataclass(frozen=True)
class Kernel:
    """Where an operator has its input, its weights and its bias, and the weights their output channels."""

    source: int
    weights: int
    bias: int
    channel_axis: int


KERNELS = {
    "CONV_2D": Kernel(0, 1, 2, channel_axis=0),
    "DEPTHWISE_CONV_2D": Kernel(0, 1, 2, channel_axis=3),
    "FULLY_CONNECTED": Kernel(0, 1, 2, channel_axis=0),
    "TRANSPOSE_CONV": Kernel(2, 1, 3, channel_axis=0),
}


def activations(model: Any) -> list[str]:
    """The float tensors of an unpacked model that are computed or come in, in the order in which they appear."""
    main = model.subgraphs[0]
    indices = [*main.inputs, *(index for operator in main.operators for index in operator.outputs)]
    tensors = [main.tensors[index] for index in dict.fromkeys(indices)]
    return [tensor.name.decode() for tensor in tensors if tensor.type == FLOAT32]


def statistics(
    model: Any, ranges: Mapping[str, Range], scheme: Quantization, *, per_channel: bool
) -> dict[str, dict[str, Floats]]:
    """`min` and `max` of every activation, and of the weights of every operator that has a bias.

    A bias is stored in steps of (input's step) * (weights' step). Where the weights of a channel are so small that
    its bias would not fit into int32 (a pruned channel, a batch normalization that scales to nothing), the weights
    get a larger step: they hardly matter there, and without it the bias would be cut off.
    """
    live = {name: ranges[name] if any(ranges[name]) else _ALWAYS_ZERO for name in activations(model)}
    bounds: dict[str, Floats] = {}
    for name, bound in _weight_bounds(model, live, scheme, per_channel):
        bounds[name] = np.maximum(bound, bounds.get(name, bound))
    found = {name: {"min": _vector(low), "max": _vector(high)} for name, (low, high) in live.items()}
    return found | {name: {"min": -bound, "max": bound} for name, bound in bounds.items()}


def _vector(value: float) -> Floats:
    return np.array([value], np.float32)


def _weight_bounds(
    model: Any, ranges: Mapping[str, Range], scheme: Quantization, per_channel: bool
) -> Iterator[tuple[str, Floats]]:
    main, kinds = model.subgraphs[0], kinds_of(model)
    for operator in main.operators:
        kernel = KERNELS.get(kinds[operator.opcodeIndex])
        if kernel is None or len(operator.inputs) <= kernel.bias:
            continue
        weights, bias = (_values(model, operator.inputs[index]) for index in (kernel.weights, kernel.bias))
        if weights is not None and bias is not None:
            source, target = (main.tensors[operator.inputs[index]] for index in (kernel.source, kernel.weights))
            step = _step(ranges[source.name.decode()], scheme)
            yield target.name.decode(), _bound(weights, bias, step, kernel.channel_axis if per_channel else None)


def _values(model: Any, index: int) -> Floats | None:
    """A constant's values; None for a tensor that is computed or left out."""
    if index < 0:
        return None
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    return None if data is None or not len(data) else np.frombuffer(data, np.float32).reshape(tensor.shape)


def _step(range: Range, scheme: Quantization) -> float:
    low, high = min(range[0], 0.0), max(range[1], 0.0)
    return (high - low) / 255 if scheme is Quantization.INT8 else max(-low, high) / 32767


def _bound(weights: Floats, bias: Floats, step: float, channel_axis: int | None) -> Floats:
    """The largest magnitude that the weights' int8 must reach: per channel, or of all together."""
    others = tuple(axis for axis in range(weights.ndim) if axis != channel_axis)
    largest = np.abs(weights).max(axis=others, keepdims=True)
    needed = 127 * np.abs(bias) / (step * _MAX_BIAS)
    needed = needed.max() if channel_axis is None else needed.reshape(largest.shape)
    return np.asarray(np.maximum(largest, needed), np.float32)
