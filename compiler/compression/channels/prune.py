"""The channel pruning stage: a smaller Keras model, iteration by iteration, each followed by fine-tuning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from edgecc.compiler.compression.channels.groups import Channels, find_channels
from edgecc.compiler.compression.channels.importance import importance
from edgecc.compiler.compression.channels.selection import choose, quotas
from edgecc.compiler.compression.channels.surgery import without_channels
from edgecc.compiler.compression.healing import heal, teacher_outputs
from edgecc.compiler.frontend.keras_file import write_keras_file
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.frontend.train import TrainingData, epoch_reporter, read_training_data, validation_accuracy
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError
from edgecc.files import writing_to
from edgecc.training import TrainSection
from edgecc.variant import ChannelPruning


def prune(context: StageContext) -> Metrics:
    """Take channels out and fine-tune; write `model.keras` and `channels.json` (each group's layers and channels).

    Options: `model` (a ModelSection), `train` (its batch size where pruning has none) and `prune` (a ChannelPruning).
    It starts from the beginning after a kill: only then are its bytes those of an undisturbed run.

    Raises:
        ModelError: `exclude` names no layer, no channel can be taken out, the importance cannot be computed on this
            model, or fine-tuning failed.
    """
    section = ChannelPruning.model_validate(context.options["prune"])
    data = read_training_data(context)
    keras = fresh_keras(context.seed, needed_by="channel pruning")
    model = read_model(context)
    before = find_channels(model, section.exclude)
    _check_prunable(model, before)
    accuracies = [validation_accuracy(model, data)]
    pruned = model
    for pruned in _iterations(keras, model, before, data, section, context):
        accuracies.append(validation_accuracy(pruned, data))
    after = find_channels(pruned, section.exclude)
    final = without_channels(pruned, after, ())  # not the compiled one, whose optimizer would be written too
    with writing_to(context.output_dir):
        write_keras_file(final, context.output_dir / "model.keras")
        text = json.dumps({"groups": _groups(before, after)}, indent=1)
        (context.output_dir / "channels.json").write_text(text + "\n")
    return _metrics(model, final, before, after, accuracies)


def _iterations(
    keras: Any, model: Any, channels: Channels, data: TrainingData, section: ChannelPruning, context: StageContext
) -> Iterator[Any]:
    """The model after each iteration, fine-tuned."""
    settings = TrainSection.model_validate(context.options["train"])
    batch_size = section.batch_size or settings.batch_size
    answers = teacher_outputs(keras, model, data, section) if section.epochs else None
    asked = quotas(channels, section.scope)
    with context.progress.task("prune", total=section.iterations * section.epochs) as task:
        for iteration in range(1, section.iterations + 1):
            scores = importance(keras, model, channels, section.importance, data, seed=context.seed)
            removed = choose(channels, scores, asked, section.sparsity * iteration / section.iterations)
            model = without_channels(model, channels, removed)
            channels = find_channels(model, section.exclude)
            if section.epochs:
                heal(
                    keras, model, data, section, batch_size=batch_size, epochs=section.epochs,
                    callbacks=[epoch_reporter(keras, task)], teacher_outputs=answers,
                )  # fmt: skip
            yield model


def _check_prunable(model: Any, channels: Channels) -> None:
    if not channels.groups:
        reasons = "; ".join(f"`{path}`: {reason}" for path, reason in channels.left_whole.items())
        raise ModelError(
            f"prune: no channel of `{model.name}` can be taken out: {reasons or 'it has no layer that makes channels'}"
        )


def _groups(before: Channels, after: Channels) -> list[dict[str, Any]]:
    widths, left = before.widths(), after.widths()
    return [
        {
            "layers": list(group.layers),
            "channels_before": {path: widths[path] for path in group.layers},
            "channels_after": {path: left[path] for path in group.layers},
        }
        for group in before.groups
    ]


def _metrics(
    model: Any, pruned: Any, before: Channels, after: Channels, accuracies: list[float | None]
) -> dict[str, Any]:
    left = after.widths()
    pruned_layers = [path for group in before.groups for path in group.layers]
    widths = before.widths()
    return {
        "sparsity": 1 - sum(left[path] for path in pruned_layers) / sum(widths[path] for path in pruned_layers),
        "parameters_before": model.count_params(),
        "parameters": pruned.count_params(),
        "channels": {path: [width, left[path]] for path, width in widths.items()},
        "left_whole": dict(before.left_whole),
        "validation_accuracy_before": accuracies[0],
        "validation_accuracy_by_iteration": accuracies[1:],
        "validation_accuracy": accuracies[-1],
    }
