"""Students in 24 sizes, and the views that they learn from."""

import keras
import keras_tuner as kt
import numpy as np
import numpy.typing as npt


def student(hp: kt.HyperParameters) -> keras.Model:
    width = hp.Int("width", 16, 48, step=8)
    tail = hp.Int("tail", 32, 64, step=16)
    residual = hp.Boolean("residual")

    inputs = keras.Input((28, 28, 1))
    x = _convolution(inputs, width, 4, strides=2)
    if residual:
        x = keras.layers.Add()([x, _convolution(x, width, 3)])
    x = _convolution(x, tail, 3, strides=2)
    x = _convolution(x, tail, 3, strides=2)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)


def blended(x: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Six in ten images blended with another: no label fits those, but the teacher has an answer."""
    share = generator.uniform(0.5, 1, (len(x), 1, 1, 1)).astype(np.float32)
    share[generator.random(len(x)) < 0.4] = 1
    return share * x + (1 - share) * x[generator.permutation(len(x))]
