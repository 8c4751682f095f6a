"""A network for 28 by 28 images that is a fraction of its teacher; `hp` chooses its width."""

import keras
import keras_tuner as kt
import numpy as np
import numpy.typing as npt

SHIFT = 1
"""Pixels by which a view may be moved, in each direction."""


def student(hp: kt.HyperParameters) -> keras.Model:
    width = hp.Int("width", 16, 48, step=8, default=32)

    inputs = keras.Input((28, 28, 1))
    x = _convolution(inputs, width, 4, strides=2)
    x = keras.layers.Add()([x, _convolution(x, width, 3)])
    x = _convolution(x, 48, 3, strides=2)
    x = _convolution(x, 48, 3, strides=2)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int, size: int, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)


def shifted(x: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """Each image moved by up to a pixel."""
    size = x.shape[1]
    padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    rows, columns = generator.integers(0, 2 * SHIFT + 1, (2, len(x)))
    moved = np.empty_like(x)
    for row, column in np.ndindex(2 * SHIFT + 1, 2 * SHIFT + 1):
        chosen = (rows == row) & (columns == column)
        moved[chosen] = padded[chosen, row : row + size, column : column + size]
    return moved


def shifted_and_blended(x: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """The same, and six in ten images blended with another: no label fits those, but the teacher has an answer."""
    x = shifted(x, generator)
    share = generator.uniform(0.5, 1, (len(x), 1, 1, 1)).astype(np.float32)
    share[generator.random(len(x)) < 0.4] = 1
    return share * x + (1 - share) * x[generator.permutation(len(x))]
