"""The train stage: one model, trained as the project says, in float32 when it comes out."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgecc.compiler.frontend.data import DataDescription, read_description, read_samples
from edgecc.compiler.frontend.initialization import initialize
from edgecc.compiler.frontend.keras_file import write_keras_file
from edgecc.compiler.frontend.learning_rate import check_optimizer, learning_rate_callbacks
from edgecc.compiler.frontend.model import build_model, check_names, compile_for_training, hyperparameters
from edgecc.compiler.frontend.precision import (
    Precision,
    as_float32,
    compute_outputs_in_float32,
    dtype_policy,
    resolve_precision,
)
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import EdgeccError, MissingExtraError, ModelError
from edgecc.progress import Task
from edgecc.samples import Arrays, take
from edgecc.training import ModelSection, TrainSection
from edgecc.user_code import load_entry_point

COMPARED_SAMPLES = 64
"""Validation samples on which a model rebuilt in float32 must answer as it did."""


@dataclass(frozen=True)
class TrainingData:
    """What a model is trained and validated on."""

    description: DataDescription
    x: Arrays
    y: Any
    """Arrays, or what a loss of edgecc's own takes."""
    validation_x: Arrays
    validation_y: Any
    """As `y`."""


def train(context: StageContext) -> Metrics:
    """Build, train and write `model.keras` (float32) and `history.json`.

    It starts from the beginning after a kill: only then are its bytes those of an undisturbed run.

    Raises:
        UserCodeError: the builder is missing or raised.
        ModelError: the model cannot be compiled, does not fit the data, or its loss is not finite.
    """
    section = ModelSection.model_validate(context.options["model"])
    settings = TrainSection.model_validate(context.options["train"])
    data = read_training_data(context)
    keras = fresh_keras(context.seed, needed_by="the train stage")
    precision = resolve_precision(settings.precision)
    hp = hyperparameters(_tuned(context) | dict(section.hp))
    builder = load_entry_point(str(section.builder), context.project_dir)

    model = prepare_model(keras, builder, hp, section, settings, precision, data, context.seed)
    check_names(section.hp, hp, str(section.builder))
    with context.progress.task("train", total=settings.epochs) as task:
        callbacks = [epoch_reporter(keras, task), *_optional_callbacks(keras, settings, context.log_dir)]
        history = fit(keras, model, data, settings, epochs=settings.epochs, callbacks=callbacks)
    steps = int(model.optimizer.iterations)
    final = as_float32(keras, model, take(data.validation_x, slice(COMPARED_SAMPLES)))
    write_keras_file(final, context.output_dir / "model.keras")
    (context.output_dir / "history.json").write_text(json.dumps(history, indent=1, sort_keys=True) + "\n")
    return {
        "epochs": len(history["loss"]),
        "steps": steps,
        "validation_accuracy": validation_accuracy(final, data),
        "parameters": final.count_params(),
        "policy": precision.policy,
        "policy_reason": precision.reason,
        "device": _device(),
    }


def read_training_data(context: StageContext) -> TrainingData:
    """Read the files of the `data` role."""
    files = context.inputs["data"]
    return TrainingData(
        read_description(files["data.json"]),
        *read_samples(files["train.npz"]),
        *read_samples(files["validation.npz"]),
    )


def prepare_model(
    keras: Any,
    builder: Callable[..., Any],
    hp: Any,
    section: ModelSection,
    settings: TrainSection,
    precision: Precision,
    data: TrainingData,
    seed: int,
) -> Any:
    """Build a model under the policy, initialized and compiled, ready to fit.

    Raises:
        UserCodeError: the builder raised.
        ModelError: what it returned cannot be trained on these data.
    """
    with dtype_policy(keras, precision.policy):
        model = build_model(keras, builder, hp, section, data.description)
    if precision.policy != "float32":
        compute_outputs_in_float32(model)
    if settings.initializer == "auto":
        initialize(keras, model, seed)
    compile_for_training(keras, model, data.description)
    check_optimizer(model.optimizer, settings.learning_rate)
    return model


def fit(
    keras: Any,
    model: Any,
    data: TrainingData,
    settings: TrainSection,
    *,
    epochs: int,
    callbacks: list[Any],
    batches: Any = None,
) -> dict[str, list[float]]:
    """Train on the training samples, or on `batches` of them, and give each epoch's losses and metrics.

    Raises:
        ModelError: the loss became NaN or infinite, or Keras cannot train this model on these data.
    """
    if epochs == 0:
        return {"loss": []}
    own = [_stop_if_not_finite(keras), *learning_rate_callbacks(keras, model, settings.learning_rate, epochs)]
    try:
        history = model.fit(
            **({"x": data.x, "y": data.y, "batch_size": settings.batch_size} if batches is None else {"x": batches}),
            validation_data=(data.validation_x, data.validation_y),
            epochs=epochs, verbose=0, callbacks=[*own, *callbacks],
        )  # fmt: skip
    except EdgeccError:
        raise
    except Exception as error:  # shapes, losses and memory: Keras and TensorFlow share no base class
        raise ModelError(f"training failed: {type(error).__name__}: {_cause(error)}") from error
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def _cause(error: Exception) -> str:
    """What TensorFlow says last, after the stack that it prints into the message of an error within a graph."""
    text = str(error).strip()
    return text.rpartition("\n\n")[2].splitlines()[0] if text.startswith("Graph execution error") else text


def _tuned(context: StageContext) -> dict[str, Any]:
    """The winner's hyperparameters of the tune stage, where there is one."""
    files: Mapping[str, Path] = context.inputs.get("tune", {})
    return dict(json.loads(files["hp.json"].read_text())) if files else {}


def _optional_callbacks(keras: Any, settings: TrainSection, log_dir: Path) -> list[Any]:
    callbacks = []
    if settings.early_stopping is not None:
        patience = settings.early_stopping.patience
        callbacks.append(
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience, restore_best_weights=True)
        )
    if settings.tensorboard:
        _need_tensorboard()
        callbacks.append(keras.callbacks.TensorBoard(log_dir=str(log_dir / "tensorboard")))
    return callbacks


def _need_tensorboard() -> None:
    try:
        importlib.import_module("tensorboard")
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="`tensorboard = true`", library="TensorBoard", extra="tensorboard") from error


def epoch_reporter(keras: Any, task: Task) -> Any:
    """A callback that shows each epoch's loss and advances the task."""

    def report(_epoch: int, logs: Any) -> None:
        shown = [name for name in ("loss", "val_accuracy") if name in logs]
        task.describe(", ".join(f"{name} {logs[name]:.4f}" for name in shown))
        task.advance()

    return keras.callbacks.LambdaCallback(on_epoch_end=report)


def _stop_if_not_finite(keras: Any) -> Any:
    def check(epoch: int, logs: Any) -> None:
        for name in ("loss", "val_loss"):
            if not math.isfinite(logs[name]):
                raise ModelError(
                    f"training failed: {name} is {logs[name]} after epoch {epoch + 1}",
                    hint='a smaller learning rate, scaled inputs, or `precision = "float32"`',
                )

    return keras.callbacks.LambdaCallback(on_epoch_end=check)


def validation_accuracy(model: Any, data: TrainingData) -> float | None:
    """Share of the validation samples whose class the model tells; None for another task."""
    if data.description.task != "classification":
        return None
    outputs = model.predict(data.validation_x, verbose=0)
    predicted = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
    return float(np.mean(predicted == data.validation_y))


def _device() -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return "CPU" if not gpus else str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
