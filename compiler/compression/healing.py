"""Training on after pruning: the pruned model heals on the labels, and on what the unpruned model answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.frontend.distillation import Lesson, answers_of, taught
from edgecc.compiler.frontend.model import accuracy_metrics, compile_for_training
from edgecc.compiler.frontend.train import TrainingData, fit
from edgecc.errors import ModelError
from edgecc.training import Cosine, TrainSection
from edgecc.variant import Healing


@dataclass(frozen=True)
class Answers:
    """What the unpruned model answers, an array for each of its outputs."""

    training: list[npt.NDArray[np.float32]]
    validation: list[npt.NDArray[np.float32]]


def teacher_outputs(keras: Any, unpruned: Any, data: TrainingData, section: Healing) -> Answers | None:
    """What the unpruned model answers on the samples; None where the labels alone teach."""
    lesson = lesson_of(section, data)
    if lesson.alpha == 1:
        return None
    samples = (data.x, data.validation_x)
    return Answers(*(answers_of(keras, unpruned, x, classes=lesson.classes) for x in samples))


def heal(
    keras: Any,
    model: Any,
    data: TrainingData,
    section: Healing,
    *,
    batch_size: int,
    epochs: int,
    callbacks: list[Any],
    teacher_outputs: Answers | None = None,
) -> dict[str, list[float]]:
    """Fine-tune `model` in place with Adam, the rate falling along half a cosine, and give each epoch's losses.

    Raises:
        ModelError: the labels are not classes and are to be learnt from, or the loss is not finite.
    """
    lesson = lesson_of(section, data)
    _compile(keras, model, data, lesson)
    rate = Cosine(schedule="cosine", initial=section.learning_rate, final=0.0)
    settings = TrainSection(epochs=epochs, batch_size=batch_size, learning_rate=rate)
    if teacher_outputs is None:
        return fit(keras, model, data, settings, epochs=epochs, callbacks=callbacks)
    healed = taught(keras, model, lesson, accuracy_metrics(keras, model, data.description))
    data = replace(data, y={"labels": data.y, "answers": teacher_outputs.training})
    if not lesson.classes:  # labels without a known loss cannot validate either
        data = replace(data, validation_y={"labels": data.validation_y, "answers": teacher_outputs.validation})
    return fit(keras, healed, data, settings, epochs=epochs, callbacks=callbacks)


def lesson_of(section: Healing, data: TrainingData) -> Lesson:
    """How much is learnt from the labels: all where they are classes, nothing otherwise, or what the section says."""
    classes = data.description.task == "classification"
    alpha = float(classes) if section.alpha is None else section.alpha
    return Lesson(section.temperature, alpha, classes)


def _compile(keras: Any, model: Any, data: TrainingData, lesson: Lesson) -> None:
    if lesson.classes:
        compile_for_training(keras, model, data.description)
    elif lesson.alpha == 0:
        model.compile(optimizer=keras.optimizers.Adam(), loss="mse")
    else:
        raise ModelError(
            f"expected alpha = 0 in `prune`: labels that are not classes have no known loss; got {lesson.alpha}",
            hint="leave `alpha` out: the pruned model then learns from the unpruned one alone",
        )
