"""A small convolutional network for 8 by 8 images; `hp` chooses its size."""

import keras
import keras_tuner as kt


def cnn(hp: kt.HyperParameters) -> keras.Model:
    filters = hp.Int("filters", 12, 16, step=2)
    deep = hp.Boolean("deep", default=True)
    dropout = hp.Float("dropout", 0.3, 0.5, step=0.1)

    inputs = keras.Input((8, 8, 1))
    x = _convolution(inputs, filters)
    if deep:
        x = _convolution(x, filters)
    x = keras.layers.MaxPooling2D()(x)
    x = _convolution(x, 2 * filters)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _convolution(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x)
