"""A convolutional network for 8 by 8 images, and students of it in several sizes."""

import keras
import keras_tuner as kt


def cnn(hp: kt.HyperParameters) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = _convolution(inputs, 16)
    x = _convolution(x, 16)
    x = keras.layers.MaxPooling2D()(x)
    x = _convolution(x, 32)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(0.3)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def student(hp: kt.HyperParameters) -> keras.Model:
    filters = hp.Int("filters", 4, 16, step=4)
    depth = hp.Int("depth", 1, 3)

    inputs = keras.Input((8, 8, 1))
    x = _convolution(inputs, filters, strides=2)
    for _ in range(depth - 1):
        x = _convolution(x, filters)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int, strides: int = 1) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)
