"""A small convolutional network for 8 by 8 images; `hp` chooses its size."""

import keras
import keras_tuner as kt


def cnn(hp: kt.HyperParameters) -> keras.Model:
    filters = hp.Int("filters", 8, 16, step=4)
    dropout = hp.Float("dropout", 0.0, 0.3, step=0.1)
    pooling = hp.Choice("pooling", ["max", "average"])

    inputs = keras.Input((8, 8, 1))
    x = _convolution(inputs, filters)
    x = keras.layers.MaxPooling2D()(x) if pooling == "max" else keras.layers.AveragePooling2D()(x)
    x = _convolution(x, 2 * filters)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)
