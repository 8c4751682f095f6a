"""A depthwise-separable network for 28 by 28 images; `hp` chooses its size."""

import keras
import keras_tuner as kt


def cnn(hp: kt.HyperParameters) -> keras.Model:
    filters = hp.Choice("filters", [16, 24])
    blocks = hp.Int("blocks", 2, 3)
    dropout = hp.Float("dropout", 0.1, 0.3, step=0.1)

    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = _normalized(x)
    for block in range(blocks):
        x = keras.layers.DepthwiseConv2D(3, strides=2 if block == 0 else 1, padding="same", use_bias=False)(x)
        x = _normalized(x)
        x = keras.layers.Conv2D(filters * 2 ** (block + 1), 1, use_bias=False)(x)
        x = _normalized(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(dropout)(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def _normalized(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
