"""The data. Replace this with your own: arrays or tf.data, one (x, y) for each of train, validation and test."""

import numpy as np


def load() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(3, 16))
    y = random.integers(0, 3, size=3000)
    x = centres[y] + random.normal(size=(3000, 16))
    return {"train": (x[:2000], y[:2000]), "validation": (x[2000:2500], y[2000:2500]), "test": (x[2500:], y[2500:])}
