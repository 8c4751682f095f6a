from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgecc.compiler.compression.healing import heal, teacher_outputs
from edgecc.compiler.frontend.data import DataDescription
from edgecc.compiler.frontend.train import TrainingData
from edgecc.compiler.session import fresh_keras
from edgecc.variant import ChannelPruning


@pytest.mark.tf
def test_where_no_loss_fits_the_labels_the_unpruned_models_answers_train_and_validate() -> None:
    keras = fresh_keras(0, needed_by="a test")
    unpruned, pruned = (_of_class_and_box(keras) for _ in range(2))
    x, validation_x = np.random.default_rng(0).normal(size=(2, 24, 4)).astype("float32")
    labels: Any = [np.arange(24) % 3, np.zeros((24, 2), "float32")]  # the class's have another shape than its output
    description = DataDescription(task="other", input_shape=(4,), targets=("0", "1"), classes=None, labels=None)
    data = TrainingData(description, x, labels, validation_x, labels)
    section = ChannelPruning(method="channel", sparsity=0.5)

    answers = teacher_outputs(keras, unpruned, data, section)
    history = heal(
        keras, pruned, data, section, batch_size=24, epochs=1, callbacks=[], teacher_outputs=answers,
    )  # fmt: skip

    distance = [
        np.mean((actual - wanted) ** 2)
        for actual, wanted in zip(pruned.predict(validation_x), unpruned.predict(validation_x), strict=True)
    ]
    assert history["val_loss"] == [pytest.approx(sum(distance), rel=1e-4)]


def _of_class_and_box(keras: Any) -> Any:
    inputs = keras.Input((4,))
    outputs = [keras.layers.Dense(3, activation="softmax")(inputs), keras.layers.Dense(2)(inputs)]
    return keras.Model(inputs, outputs)
