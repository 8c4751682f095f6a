"""Small networks of every kind that channel pruning follows, with weights that hide nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def _plain(keras: Any) -> Any:
    layers = keras.layers
    stack = [
        keras.Input((8, 8, 3)), layers.Conv2D(6, 3, name="conv1"), layers.BatchNormalization(),
        layers.Activation("sigmoid"), layers.MaxPooling2D(), layers.Conv2D(8, 3, name="conv2"), layers.PReLU(),
        layers.Dropout(0.2), layers.Flatten(), layers.Dense(10, activation="tanh", name="dense"),
        layers.BatchNormalization(), layers.Dense(4, name="head"),
    ]  # fmt: skip
    return keras.Sequential(stack, name="plain")


def _residual(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((8, 8, 3))
    stem = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="stem")(source)))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="inner")(stem)))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="outer")(x))
    x = layers.ReLU()(layers.Add()([stem, x]))
    x = layers.BatchNormalization()(layers.Conv2D(12, 3, strides=2, name="wide")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(4, activation="softmax", name="head")(x), name="residual")


def _depthwise(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((10, 10, 3))
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, name="stem")(source))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6", name="deep")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(8, 1, activation="sigmoid", name="point")(x)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2, activation="elu", name="separable")(x)
    x = layers.GlobalMaxPooling2D(keepdims=True)(x)
    x = layers.Conv2D(5, 1, name="squeezed")(x)
    return keras.Model(source, layers.Dense(4, name="head")(layers.Flatten()(x)), name="depthwise")


def _concatenating(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((8, 8, 3))
    a = layers.Conv2D(4, 3, padding="same", activation="softplus", name="a")(source)
    b = layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same", name="b")(a))
    x = layers.Concatenate()([a, b, source])
    c = layers.Conv2D(10, 1, name="c")(x)
    x = layers.Add()([c, layers.Concatenate()([b, layers.AveragePooling2D(1)(a)])])
    x = layers.Concatenate(axis=1)([layers.Conv2D(5, 3, name="top")(x), layers.Conv2D(5, 3, name="bottom")(x)])
    return keras.Model(source, layers.Dense(4, name="head")(layers.Flatten()(x)), name="concatenating")


def _excited(keras: Any) -> Any:
    """Squeeze and excite, and a spatial gate of a single channel."""
    layers = keras.layers
    source = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="stem")(source)
    gate = layers.Dense(4, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, 8))(layers.Dense(8, activation="sigmoid", name="excite")(gate))
    x = layers.Multiply()([x, gate])
    x = layers.Multiply()([x, layers.Conv2D(1, 1, activation="sigmoid", name="spatial")(x)])
    x = layers.Conv2D(6, 3, name="last")(x)
    return keras.Model(source, layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x)), name="excited")


def _decoder(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((12,))
    x = layers.Dense(3 * 3 * 8, activation="gelu", name="seed")(source)
    x = layers.Reshape((3, 3, 8))(x)
    x = layers.Conv2DTranspose(10, 3, strides=2, padding="same", activation="leaky_relu", name="up1")(x)
    x = layers.ZeroPadding2D(1)(layers.BatchNormalization()(x))
    x = layers.Cropping2D(((1, 0), (0, 1)))(layers.UpSampling2D(2)(x))
    x = layers.Conv2DTranspose(6, 3, name="up2")(x)
    return keras.Model(source, layers.Conv2D(3, 3, name="image")(x), name="decoder")


def _dense(keras: Any) -> Any:
    layers = keras.layers
    stack = [
        keras.Input((12,)), layers.Dense(16, activation="relu", name="first"), layers.BatchNormalization(),
        layers.Dense(9, activation="sigmoid", name="second"), layers.RepeatVector(3), layers.Dense(7, name="third"),
        layers.Flatten(), layers.Dense(4, name="head"),
    ]  # fmt: skip
    return keras.Sequential(stack, name="dense")


def _one_dimensional(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((20, 3))
    x = layers.Conv1D(8, 3, name="conv")(source)
    x = layers.DepthwiseConv1D(3, name="deep")(x)
    x = layers.SeparableConv1D(6, 3, name="separable")(layers.PReLU(shared_axes=[1])(x))
    x = layers.Conv1DTranspose(5, 3, name="up")(x)
    x = layers.Maximum()([layers.Conv1D(7, 2, name="left")(x), layers.Conv1D(7, 2, name="right")(x)])
    return keras.Model(source, layers.Dense(4, name="head")(layers.GlobalMaxPooling1D()(x)), name="one_dimensional")


def _nested(keras: Any) -> Any:
    """A nested convolutional base as transfer learning has it, and a nested head."""
    layers = keras.layers
    inner = keras.Input((8, 8, 4))
    y = layers.BatchNormalization()(layers.Conv2D(6, 3, name="inner1")(inner))
    base = keras.Model(inner, layers.Conv2D(8, 3, activation="relu", name="inner2")(y), name="base")
    head = keras.Sequential(
        [keras.Input((8,)), layers.Dense(6, name="hidden"), layers.Dense(4, name="out")], name="top"
    )
    source = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 1, name="stem")(source)
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    return keras.Model(source, head(x), name="nested")


def _shared(keras: Any) -> Any:
    """Layers and a nested model that are called twice: one set of weights for both."""
    layers = keras.layers
    conv = layers.Conv2D(6, 3, padding="same", name="twice")
    encoder = keras.Sequential([keras.Input((8, 8, 6)), layers.Conv2D(5, 3, name="encoded")], name="encoder")
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    left = encoder(conv(layers.Conv2D(4, 3, padding="same", name="left")(a)))
    right = encoder(conv(layers.Conv2D(4, 3, padding="same", name="right")(b)))
    x = layers.GlobalAveragePooling2D()(layers.Subtract()([left, right]))
    return keras.Model([a, b], layers.Dense(4, name="head")(x), name="shared")


def _several_outputs(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((8, 8, 3))
    stem = layers.Conv2D(6, 3, name="stem")(source)
    features = layers.Conv2D(5, 3, name="features")(stem)
    hidden = layers.Dense(8, activation="relu", name="hidden")(layers.GlobalAveragePooling2D()(features))
    outputs = {"features": features, "classes": layers.Dense(4, name="classes")(hidden)}
    return keras.Model(source, outputs, name="several_outputs")


def _volume(keras: Any) -> Any:
    layers = keras.layers
    stack = [
        keras.Input((5, 5, 5, 2)), layers.Conv3D(4, 2, name="conv"), layers.BatchNormalization(),
        layers.SpatialDropout3D(0.1), layers.Conv3DTranspose(6, 2, name="up"), layers.GlobalAveragePooling3D(),
        layers.Dense(3, name="head"),
    ]  # fmt: skip
    return keras.Sequential(stack, name="volume")


NETWORKS = {
    function.__name__.lstrip("_"): function
    for function in (
        _plain, _residual, _depthwise, _concatenating, _excited, _decoder, _dense, _one_dimensional, _nested, _shared,
        _several_outputs, _volume,
    )
}  # fmt: skip


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras on TensorFlow."""
    from edgecc.compiler.session import fresh_keras

    return fresh_keras(0, needed_by="a test")


@pytest.fixture
def build(keras: Any) -> Callable[[str], Any]:
    """Builds a network by name."""

    def build(name: str) -> Any:
        keras.utils.clear_session(free_memory=False)
        model = NETWORKS[name](keras)
        randomize(model)
        return model

    return build


def randomize(model: Any) -> None:
    """Biases and batch statistics start as zeros and ones, which would hide what a wrong channel does."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        low, high = (0.5, 2.0) if len(weight.shape) == 1 else (-0.5, 0.5)
        weight.assign(random.uniform(low, high, weight.shape))


@pytest.fixture
def samples_for() -> Callable[[Any], Any]:
    """Seeded samples that fit a model: an array, or a list of them for several inputs."""

    def samples(model: Any) -> Any:
        random = np.random.default_rng(0)
        arrays = [random.normal(size=(4, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]
        return arrays if len(arrays) > 1 else arrays[0]

    return samples
