"""A convolutional network for 28 by 28 images; `hp` chooses its size."""

import keras
import keras_tuner as kt


def cnn(hp: kt.HyperParameters) -> keras.Model:
    filters = hp.Choice("filters", [12, 16])
    separable = hp.Boolean("separable", default=False)
    dropout = hp.Float("dropout", 0.1, 0.3, step=0.1)

    inputs = keras.Input((28, 28, 1))
    x = _block(inputs, filters, separable=False)
    x = _block(x, 2 * filters, separable)
    x = _block(x, 4 * filters, separable)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _block(x: keras.KerasTensor, filters: int, separable: bool) -> keras.KerasTensor:
    convolution = keras.layers.SeparableConv2D if separable else keras.layers.Conv2D
    x = convolution(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    return keras.layers.MaxPooling2D()(x)
