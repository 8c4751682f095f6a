"""Initial weights that fit the activation: He for ReLU-like ones, LeCun for SELU, Glorot for the others.

He et al. 2015 (arXiv:1502.01852), Klambauer et al. 2017 (arXiv:1706.02515), Glorot and Bengio 2010.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgecc.compiler.frontend.layer_graph import following_activation, models_within

_RELU_LIKE = frozenset(
    {
        "celu", "elu", "gelu", "hardsilu", "hardswish", "leakyrelu", "mish", "prelu", "relu", "relu6", "silu", "swish",
    }
)  # fmt: skip
# A normal distribution cut off at two standard deviations has 0.8796 of its parent's standard deviation.
_TRUNCATION = 0.87962566103423978


def initialize(keras: Any, model: Any, seed: int) -> dict[str, str]:
    """Draw the kernels of all dense and convolutional layers anew, in place.

    Whatever initializers or weights the builder gave these layers are replaced; biases and other weights are kept.

    Returns:
        The initializer used for each layer, by the layer's path.
    """
    chosen: dict[str, str] = {}
    for part in models_within(model):
        for layer in part.layers:
            activation = following_activation(layer, part)
            for kernel, fan_in, fan_out, followed_by in _kernels(keras, layer, activation):
                if kernel.path not in chosen:
                    chosen[kernel.path] = _choose(followed_by)
                    kernel_seed = int(np.random.SeedSequence([seed, len(chosen)]).generate_state(1)[0])
                    kernel.assign(_draw(keras, chosen[kernel.path], kernel.shape, fan_in, fan_out, kernel_seed))
    return chosen


def _choose(activation: str) -> str:
    if activation in _RELU_LIKE:
        return "he_normal"
    return "lecun_normal" if activation == "selu" else "glorot_uniform"


def _draw(keras: Any, initializer: str, shape: Any, fan_in: float, fan_out: float, seed: int) -> Any:
    if initializer == "glorot_uniform":
        limit = math.sqrt(6 / (fan_in + fan_out))
        return keras.initializers.RandomUniform(-limit, limit, seed=seed)(shape)
    scale = 2 if initializer == "he_normal" else 1
    stddev = math.sqrt(scale / fan_in) / _TRUNCATION
    return keras.initializers.TruncatedNormal(stddev=stddev, seed=seed)(shape)


def _kernels(keras: Any, layer: Any, activation: str) -> list[tuple[Any, float, float, str]]:
    """The layer's kernels, each with its fans and the activation that follows it."""
    layers = keras.layers
    if isinstance(layer, layers.Dense):
        return [(layer.kernel, *layer.kernel.shape, activation)]
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        return [
            (layer.depthwise_kernel, *_depthwise_fans(layer.depthwise_kernel.shape), "linear"),
            (layer.pointwise_kernel, *layer.pointwise_kernel.shape[-2:], activation),
        ]
    if isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
        return [(layer.kernel, *_depthwise_fans(layer.kernel.shape), activation)]
    if isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose):
        *window, outputs, inputs = layer.kernel.shape
        return [(layer.kernel, math.prod(window) * inputs, math.prod(window) * outputs, activation)]
    if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D):
        *window, inputs, outputs = layer.kernel.shape
        return [(layer.kernel, math.prod(window) * inputs, math.prod(window) * outputs / layer.groups, activation)]
    return []


def _depthwise_fans(shape: Any) -> tuple[float, float]:
    """Each output of a depthwise convolution sees one channel, unlike what Keras's own initializers assume."""
    *window, _, multiplier = shape
    return math.prod(window), math.prod(window) * multiplier
