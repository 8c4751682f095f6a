"""The model. Ask `hp` for whatever should be tuned; without a [tune] section it answers with its defaults."""

import keras
import keras_tuner as kt


def build(hp: kt.HyperParameters) -> keras.Model:
    units = hp.Int("units", 16, 64, step=16, default=32)
    return keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
