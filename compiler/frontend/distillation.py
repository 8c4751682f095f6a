"""The loss that a student learns from: its own on the labels, and how far it is from its teacher.

Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.frontend.layer_graph import output_activation

_SMALLEST_PROBABILITY = 1e-7
BATCH_SIZE = 256
"""Samples at once when a teacher answers."""


@dataclass(frozen=True)
class Lesson:
    """How much of the loss comes from the labels, and how soft the teacher's answers are made."""

    temperature: float
    alpha: float
    """Weight of the labels."""
    classes: bool
    """True where the outputs are scores of classes; other outputs are compared by their mean squared error."""


def answers_of(keras: Any, teacher: Any, x: Any, *, classes: bool) -> list[npt.NDArray[np.float32]]:
    """What the teacher answers on the samples `x`: logits of classes (samples, classes), or its outputs as they are.

    Returns:
        One array for each of the teacher's outputs.
    """
    outputs = teacher.predict(x, batch_size=BATCH_SIZE, verbose=0)
    outputs = keras.tree.flatten(outputs)
    if classes:
        activation = output_activation(teacher)
        outputs = [keras.ops.convert_to_numpy(_logits(keras, output, activation)) for output in outputs]
    return [np.asarray(output, dtype=np.float32) for output in outputs]


def taught(keras: Any, student: Any, lesson: Lesson, metrics: list[Any]) -> Any:
    """A model around the compiled `student` that trains it in place on y = {"labels": y, "answers": answers_of(...)}.

    Its metrics are those on the labels alone; so is a validation loss, unless it is given answers as well.
    """
    activation = output_activation(student) if lesson.classes else None

    class Taught(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name=f"{student.name}_taught")
            self.student = student

        def call(self, x: Any, training: bool | None = None) -> Any:
            return self.student(x, training=training)

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            if not _has_answers(y):
                return super().compute_loss(x, y, y_pred, sample_weight, training)
            penalties = sum(self.losses)
            from_teacher = _distance(keras, y["answers"], y_pred, lesson, activation)
            if lesson.alpha == 0:
                return from_teacher + penalties
            own = super().compute_loss(x, y["labels"], y_pred, sample_weight, training) - penalties
            return lesson.alpha * own + (1 - lesson.alpha) * from_teacher + penalties

        def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
            labels = y["labels"] if _has_answers(y) else y
            return super().compute_metrics(x, labels, y_pred, sample_weight)

    model = Taught()
    model.compile(optimizer=student.optimizer, loss=student.loss, metrics=metrics)
    return model


def _has_answers(y: Any) -> bool:
    return isinstance(y, dict) and set(y) == {"labels", "answers"}


def _distance(keras: Any, answers: list[Any], outputs: Any, lesson: Lesson, activation: str | None) -> Any:
    """Mean over the samples, summed over the model's outputs."""
    outputs = keras.tree.flatten(outputs)
    distances = [
        _divergence(keras, answer, _logits(keras, output, activation), lesson.temperature)
        if lesson.classes
        else keras.ops.mean(keras.ops.square(answer - output))
        for answer, output in zip(answers, outputs, strict=True)
    ]
    return sum(distances)


def _divergence(keras: Any, teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """temperature^2 * KL(teacher || student) of the softened distributions: equation 4 and section 2 of the paper."""
    ops = keras.ops
    log_teacher = ops.log_softmax(teacher_logits / temperature)
    log_student = ops.log_softmax(student_logits / temperature)
    per_sample = ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)
    return temperature**2 * ops.mean(per_sample)


def _logits(keras: Any, outputs: Any, activation: str | None) -> Any:
    """Logits up to a constant of each sample, which no softmax sees; two for the single output of a sigmoid."""
    ops = keras.ops
    if activation not in ("softmax", "sigmoid"):
        return outputs
    clipped = ops.clip(outputs, _SMALLEST_PROBABILITY, 1 - _SMALLEST_PROBABILITY)
    if activation == "softmax":
        return ops.log(clipped)
    return ops.concatenate([ops.log(1 - clipped), ops.log(clipped)], axis=-1)
