"""A network for 28 by 28 images that is a fraction of its teacher; `hp` chooses its width."""

import keras
import keras_tuner as kt
import numpy as np
import numpy.typing as npt

SHIFT = 1
"""Pixels by which a view may be moved, in each direction."""


def student(hp: kt.HyperParameters) -> keras.Model:
    width = hp.Int("width", 8, 32, step=8, default=16)

    inputs = keras.Input((28, 28, 1))
    x = _convolution(inputs, width, 4, strides=2)
    x = keras.layers.Add()([x, _convolution(x, width, 3)])
    x = _convolution(x, 3 * width, 3, strides=2)
    x = _convolution(x, 4 * width, 3, strides=2)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)


def flipped_and_shifted(x: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Half of the images mirrored, each moved by up to a pixel."""
    mirrored = generator.random(len(x)) < 0.5
    x[mirrored] = x[mirrored, :, ::-1]
    size = x.shape[1]
    padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    rows, columns = generator.integers(0, 2 * SHIFT + 1, (2, len(x)))
    moved = np.empty_like(x)
    for row, column in np.ndindex(2 * SHIFT + 1, 2 * SHIFT + 1):
        chosen = (rows == row) & (columns == column)
        moved[chosen] = padded[chosen, row : row + size, column : column + size]
    return moved
