"""The stages of distillation: the teacher answers once, and the student learns from what it said."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from edgecc.compiler.frontend.distillation import Lesson, answers_of, taught
from edgecc.compiler.frontend.keras_file import write_keras_file
from edgecc.compiler.frontend.model import accuracy_metrics, check_names, hyperparameters, read_model
from edgecc.compiler.frontend.precision import as_float32, resolve_precision
from edgecc.compiler.frontend.train import (
    COMPARED_SAMPLES,
    TrainingData,
    epoch_reporter,
    fit,
    prepare_model,
    read_training_data,
    validation_accuracy,
)
from edgecc.compiler.frontend.views import draw_view
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError
from edgecc.files import writing_to
from edgecc.samples import Arrays, sample_count, take
from edgecc.training import ModelSection, TrainSection
from edgecc.user_code import load_entry_point
from edgecc.variant import DistillSection

ANSWERS = "answers.npz"


def teach(context: StageContext) -> Metrics:
    """Let the teacher answer on every view of the training samples, and write `answers.npz`.

    Options: `model` (the `[model]` the teacher came from), `augment` and `views`.
    The file has `VIEW/OUTPUT`, shape (samples, ...), float32: logits of classes, or outputs as they are.

    Raises:
        UserCodeError: `augment` is missing, raised, or gave other samples than it should.
        ModelError: the teacher's answers are not finite.
    """
    data = read_training_data(context)
    keras = fresh_keras(context.seed, needed_by="the teach stage")
    teacher = read_model(context)
    classes = data.description.task == "classification"
    views = context.options["views"]
    answers: dict[str, Any] = {}
    with context.progress.task("teach", total=views) as task:
        for index in range(views):
            x = _view(context, data.x, context.options["augment"], index)
            for output, answer in enumerate(answers_of(keras, teacher, x, classes=classes)):
                _check_finite(answer, teacher.name)
                answers[f"{index}/{output}"] = answer
            task.advance()
    with writing_to(context.output_dir):
        np.savez(context.output_dir / ANSWERS, **answers)
    return {
        "views": views,
        "parameters": teacher.count_params(),
        "validation_accuracy": validation_accuracy(teacher, data),
    }


def distill(context: StageContext) -> Metrics:
    """Train the student on the labels and on the teacher's answers; write `model.keras` and `history.json`.

    Options: `model` (a ModelSection whose builder is the student), `train` (how it is trained) and `distill`.
    With alpha = 1 there is no teacher: the same student, trained as long on the same views.

    Raises:
        UserCodeError: the student's builder or `augment` is missing, raised or returned something else.
        ModelError: the student cannot be compiled, does not answer as its teacher does, or its loss is not finite.
    """
    section = ModelSection.model_validate(context.options["model"])
    settings = TrainSection.model_validate(context.options["train"])
    distilling = DistillSection.model_validate(context.options["distill"])
    data = read_training_data(context)
    keras = fresh_keras(context.seed, needed_by="the distill stage")
    precision = resolve_precision(settings.precision)
    hp = hyperparameters(section.hp)
    builder = load_entry_point(distilling.student, context.project_dir)
    student = prepare_model(keras, builder, hp, section, settings, precision, data, context.seed)
    check_names(section.hp, hp, distilling.student, key="distill.hp")
    answers = _read_answers(context, distilling.views)
    model = student
    if answers is not None:
        _check_outputs_match(student, answers[0], distilling.student)
        classes = data.description.task == "classification"
        lesson = Lesson(distilling.temperature, distilling.alpha, classes)
        model = taught(keras, student, lesson, accuracy_metrics(keras, student, data.description))
    batches = _batches(keras, context, data, distilling, settings.batch_size, answers)
    with context.progress.task("distill", total=settings.epochs) as task:
        callbacks = [epoch_reporter(keras, task)]
        history = fit(keras, model, data, settings, epochs=settings.epochs, callbacks=callbacks, batches=batches)
    final = as_float32(keras, student, take(data.validation_x, slice(COMPARED_SAMPLES)))
    write_keras_file(final, context.output_dir / "model.keras")
    (context.output_dir / "history.json").write_text(json.dumps(history, indent=1, sort_keys=True) + "\n")
    return {
        "epochs": len(history["loss"]),
        "steps": int(model.optimizer.iterations),
        "validation_accuracy": validation_accuracy(final, data),
        "parameters": final.count_params(),
        "policy": precision.policy,
    }


def _view(context: StageContext, x: Arrays, augment: str | None, index: int) -> Arrays:
    function = None if augment is None else load_entry_point(augment, context.project_dir)
    return draw_view(x, function, context.seed, index, spec=str(augment))


def _check_finite(answer: Any, teacher: str) -> None:
    if not np.isfinite(answer).all():
        raise ModelError(f"expected finite answers of the teacher; `{teacher}` gives NaN or infinity")


def _read_answers(context: StageContext, views: int) -> list[list[Any]] | None:
    """The teacher's answers, by view and output; None where there is no teacher."""
    files: dict[str, Path] = dict(context.inputs.get("teacher", {}))
    if not files:
        return None
    with np.load(files[ANSWERS]) as arrays:
        outputs = len(arrays.files) // views
        return [[arrays[f"{view}/{output}"] for output in range(outputs)] for view in range(views)]


def _check_outputs_match(student: Any, answers: list[Any], spec: str) -> None:
    theirs = [answer.shape[1:] for answer in answers]
    own = [tuple(output.shape[1:]) for output in student.outputs]
    # A sigmoid's single output stands for the logits of two classes.
    own = [(2,) if shape == (1,) and (2,) in theirs else shape for shape in own]
    if own != theirs:
        raise ModelError(
            f"{spec}: expected outputs of the shapes {theirs}, as the teacher gives; the student gives {own}",
            hint="teacher and student must answer the same question: as many outputs, as many classes",
        )


def _batches(
    keras: Any,
    context: StageContext,
    data: TrainingData,
    distilling: DistillSection,
    batch_size: int,
    answers: list[list[Any]] | None,
) -> Any:
    """Batches of samples with what is to be learnt: epoch e shows view e modulo `views`, shuffled from the seed."""
    samples = sample_count(data.y)

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._begin(epoch=0)

        def _begin(self, epoch: int) -> None:
            self.epoch = epoch
            self.view = epoch % distilling.views
            self.x = _view(context, data.x, distilling.augment, self.view)
            self.order = np.random.default_rng([context.seed, distilling.views + epoch]).permutation(samples)

        def __len__(self) -> int:
            return math.ceil(samples / batch_size)

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            chosen = self.order[index * batch_size : (index + 1) * batch_size]
            y = _batch(data.y, chosen)
            if answers is not None:
                y = {"labels": y, "answers": _batch(answers[self.view], chosen)}
            return _batch(self.x, chosen), y

        def on_epoch_end(self) -> None:
            self._begin(self.epoch + 1)

    return Batches()


def _batch(arrays: Arrays, chosen: Any) -> Any:
    """These samples; several arrays as a tuple, since tf.data takes a list for one array."""
    batch = take(arrays, chosen)
    return tuple(batch) if isinstance(batch, list) else batch
