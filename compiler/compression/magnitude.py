"""Magnitude pruning: the smallest weights become zero, a few more at a time, while the others make up for them.

Zhu and Gupta 2017, "To prune, or not to prune" (arXiv:1710.01878), through the core of tfmot.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from edgecc.compiler.compression.healing import heal, teacher_outputs
from edgecc.compiler.compression.kernels import Kernel, prunable_kernels
from edgecc.compiler.compression.masks import Masks, masking
from edgecc.compiler.frontend.keras_file import write_keras_file
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.frontend.precision import as_float32
from edgecc.compiler.frontend.train import (
    COMPARED_SAMPLES,
    TrainingData,
    epoch_reporter,
    read_training_data,
    validation_accuracy,
)
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.files import write_atomically
from edgecc.samples import take
from edgecc.training import TrainSection
from edgecc.variant import MagnitudePruning


def prune(context: StageContext) -> Metrics:
    """Prune and fine-tune; write `model.keras` and `sparsity.json`: {layer: {"sparsity": fraction, "weights": count}}.

    Options: `model` (a ModelSection), `train` (its batch size where pruning has none) and `prune` (a
    MagnitudePruning). It starts from the beginning after a kill: only then are its bytes those of an undisturbed run.

    Raises:
        ModelError: nothing to prune, a wrong name in `exclude`, a pattern that does not fit, a loss that is not
            finite, or a sparsity that is not the one asked for.
    """
    section = MagnitudePruning.model_validate(context.options["prune"])
    settings = TrainSection.model_validate(context.options["train"])
    data = read_training_data(context)
    keras = fresh_keras(context.seed, needed_by="the prune stage")
    model = read_model(context)
    kernels = prunable_kernels(keras, model, section.exclude)
    masks = Masks(kernels, section)
    before = validation_accuracy(model, data)
    with context.progress.task("prune", total=section.epochs) as task:
        _fine_tune(keras, model, data, masks, section, settings, epoch_reporter(keras, task))
    masks.check()
    final = as_float32(keras, model, take(data.validation_x, slice(COMPARED_SAMPLES)))
    write_keras_file(final, context.output_dir / "model.keras")
    by_layer = _sparsity_by_layer(kernels)
    write_atomically(context.output_dir / "sparsity.json", json.dumps(by_layer, indent=1) + "\n")
    _tell_empty(context, by_layer)
    weights = sum(layer["weights"] for layer in by_layer.values())
    return {
        "sparsity": sum(layer["sparsity"] * layer["weights"] for layer in by_layer.values()) / weights,
        "sparsity_by_layer": {name: layer["sparsity"] for name, layer in by_layer.items()},
        "weights": weights,
        "parameters": final.count_params(),
        "epochs": section.epochs,
        "validation_accuracy_before": before,
        "validation_accuracy": validation_accuracy(final, data),
    }


def _fine_tune(
    keras: Any,
    model: Any,
    data: TrainingData,
    masks: Masks,
    section: MagnitudePruning,
    settings: TrainSection,
    reporter: Any,
) -> None:
    if section.epochs == 0:
        masks.begin(steps=0)
        return
    answers = teacher_outputs(keras, model, data, section)
    heal(
        keras, model, data, section, batch_size=section.batch_size or settings.batch_size, epochs=section.epochs,
        callbacks=[masking(keras, masks), reporter], teacher_outputs=answers,
    )  # fmt: skip


def _sparsity_by_layer(kernels: list[Kernel]) -> dict[str, dict[str, Any]]:
    values: dict[str, list[Any]] = {}
    for kernel in kernels:
        values.setdefault(kernel.layer, []).append(kernel.values.ravel())
    joined = {layer: np.concatenate(arrays) for layer, arrays in values.items()}
    return {layer: {"sparsity": float(np.mean(each == 0)), "weights": each.size} for layer, each in joined.items()}


def _tell_empty(context: StageContext, by_layer: dict[str, dict[str, Any]]) -> None:
    for name, layer in by_layer.items():
        if layer["sparsity"] == 1:
            context.progress.note(f"prune: no weight of `{name}` is left; exclude it, or ask for less sparsity")
