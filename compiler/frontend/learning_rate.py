"""The learning rate over the epochs: a pure function, and the Keras callbacks that follow it."""

from __future__ import annotations

import math
from typing import Any

from edgecc.errors import ModelError
from edgecc.training import ConstantThenExponential, Cosine, LearningRate, Plateau, Step


def rate_at(schedule: LearningRate, epoch: int, epochs: int) -> float:
    """The learning rate of one epoch.

    During the warm-up, epoch e of w has (e + 1) / (w + 1) of `initial`, so that the first epoch learns something
    and epoch w is the first at the full rate. The schedule itself starts after the warm-up and is spread over
    the epochs that are left. A plateau's rate falls during training only; here it stays at `initial`.

    Args:
        schedule: the schedule with its parameters.
        epoch: counted from 0.
        epochs: how many there are.
    """
    warmup = schedule.warmup_epochs
    if epoch < warmup:
        return schedule.initial * (epoch + 1) / (warmup + 1)
    return _after_warmup(schedule, epoch - warmup, epochs - warmup)


def _after_warmup(schedule: LearningRate, epoch: int, epochs: int) -> float:
    match schedule:
        case ConstantThenExponential():
            return schedule.initial * schedule.decay_rate ** max(0, epoch - schedule.constant_epochs + 1)
        case Cosine():
            # Loshchilov and Hutter 2017, equation 5, without restarts: `final` is reached after the last epoch.
            share = (1 + math.cos(math.pi * epoch / epochs)) / 2
            return schedule.final + (schedule.initial - schedule.final) * share
        case Step():
            return schedule.initial * schedule.factor ** (epoch // schedule.every_epochs)
        case Plateau():
            return schedule.initial


def learning_rate_callbacks(keras: Any, model: Any, schedule: LearningRate | None, epochs: int) -> list[Any]:
    """The callbacks that set the rate at the start of each epoch; none where there is no schedule."""
    if schedule is None:
        return []
    callbacks = [_rate_setter(keras, model.optimizer, schedule, epochs)]
    if isinstance(schedule, Plateau):
        callbacks.append(_plateau_after_warmup(keras, schedule))
    return callbacks


def check_optimizer(optimizer: Any, schedule: LearningRate | None) -> None:
    """Refuse two schedules at once.

    Raises:
        ModelError: the builder's optimizer has a schedule of its own, and the project asks for another.
    """
    if schedule is None:
        return
    try:
        optimizer.learning_rate = schedule.initial
    except TypeError as error:
        raise ModelError(
            "the builder's optimizer has a learning rate schedule of its own, and the project asks for another",
            hint="drop [train.learning_rate], or give the optimizer a plain number",
        ) from error


def _rate_setter(keras: Any, optimizer: Any, schedule: LearningRate, epochs: int) -> Any:
    # A plateau's rate belongs to ReduceLROnPlateau once the warm-up is over.
    last = schedule.warmup_epochs if isinstance(schedule, Plateau) else epochs

    def set_rate(epoch: int, _logs: Any) -> None:
        if epoch <= last:
            optimizer.learning_rate = rate_at(schedule, epoch, epochs)

    def log_rate(_epoch: int, logs: Any) -> None:
        logs["learning_rate"] = float(optimizer.learning_rate)

    return keras.callbacks.LambdaCallback(on_epoch_begin=set_rate, on_epoch_end=log_rate)


def _plateau_after_warmup(keras: Any, schedule: Plateau) -> Any:
    class PlateauAfterWarmup(keras.callbacks.ReduceLROnPlateau):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch >= schedule.warmup_epochs:
                super().on_epoch_end(epoch, logs)

    return PlateauAfterWarmup(
        monitor="val_loss", factor=schedule.factor, patience=schedule.patience, min_lr=schedule.minimum
    )
