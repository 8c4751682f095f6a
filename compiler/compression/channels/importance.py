"""How much each unit of tied channels matters: the least important ones are taken out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgecc.compiler.compression.channels.groups import Channels
from edgecc.compiler.compression.channels.layers import Weight
from edgecc.compiler.frontend.model import compile_for_training
from edgecc.compiler.frontend.train import TrainingData
from edgecc.errors import ModelError
from edgecc.samples import sample_count, take

Scores = npt.NDArray[np.float64]
"""Shape (channels.count,): the importance of each unit; zero for labels that are none."""

TAYLOR_SAMPLES = 1024
"""Training samples, drawn from the seed, on which the gradients are taken."""
TAYLOR_BATCH_SIZE = 32


def importance(keras: Any, model: Any, channels: Channels, kind: str, data: TrainingData, *, seed: int) -> Scores:
    """Rate the units of every group by `kind`: "l1", "l2", "batch_norm" or "taylor".

    Raises:
        ModelError: there is no batch normalization to rate a layer by, or no loss to take gradients of.
    """
    if kind == "taylor":
        return taylor(keras, model, channels, data, seed=seed)
    return batch_norm_scale(channels) if kind == "batch_norm" else kernel_norm(channels, 1 if kind == "l1" else 2)


def kernel_norm(channels: Channels, order: Literal[1, 2]) -> Scores:
    """The norm of what makes each unit (Li et al. 2017, arXiv:1608.08710), relative to its layer.

    A unit's norm within one kernel is divided by the mean norm of all of that kernel's units, and averaged over the
    kernels that make it: so layers of every size, fan-in and scale have the mean importance 1, and `global` scope
    compares how far below its layer's average a unit is.
    """
    totals, kernels = np.zeros(channels.count), np.zeros(channels.count)
    for weight, axis in _made(channels):
        labels = _labels(weight, axis)
        powers = _sum_but(np.abs(_array(weight.variable)) ** order, axis)
        norms = np.bincount(labels, powers, minlength=channels.count) ** (1 / order)
        units = np.unique(labels)
        mean = norms[units].mean()
        totals += norms / mean if mean > 0 else norms
        kernels[units] += 1
    return totals / np.maximum(kernels, 1)


def batch_norm_scale(channels: Channels) -> Scores:
    """|gamma| of the batch normalizations that a unit goes through, averaged (Liu et al. 2017, arXiv:1708.06519).

    It is not normalized by layer: what comes out of a batch normalization has the same scale everywhere.

    Raises:
        ModelError: some units go through none; names their layers.
    """
    totals, scales = np.zeros(channels.count), np.zeros(channels.count)
    for followed in channels.followed.values():
        for weight in followed.flow.weights:
            if weight.variable is getattr(followed.layer, "gamma", None):
                labels = _labels(weight, 0)
                totals += np.bincount(labels, np.abs(_array(weight.variable)), minlength=channels.count)
                scales += np.bincount(labels, minlength=channels.count)
    bare = [name for group in channels.groups if not scales[group.units].all() for name in group.layers]
    if bare:
        raise ModelError(
            'prune.importance = "batch_norm": expected a batch normalization with a scale after every layer that is '
            f"pruned; there is none after {', '.join(f'`{name}`' for name in bare)}",
            hint='name these in `exclude`, or set `importance = "l2"`',
        )
    return totals / np.maximum(scales, 1)


def taylor(keras: Any, model: Any, channels: Channels, data: TrainingData, *, seed: int) -> Scores:
    """How much the loss changes, to first order, when a unit is set to zero where kernels read it.

    That is |sum of a * dL/da| over the unit's values a at every reader (Molchanov et al. 2019, arXiv:1906.10771, with
    the gate after batch normalization and activation), averaged over batches of training samples. A kernel is linear
    in what it reads, so the sum equals that of w * dL/dw over the weights that read the unit. It is not normalized by
    layer: changes of the loss compare.

    Raises:
        ModelError: the labels are not classes and there is no loss.
    """
    if data.description.task != "classification":
        raise ModelError(
            'prune.importance = "taylor": expected labels that are classes; without them the loss is not known here',
            hint='set `importance = "l2"`',
        )
    graph = channels.graphs[id(model)]
    compile_for_training(keras, rater := keras.Model(graph.input, graph.output), data.description)
    readers = list(_read(channels))
    batches = list(_batches(sample_count(data.x), seed))
    totals = np.zeros(channels.count)
    for chosen in batches:
        gradients = _gradients(rater, take(data.x, chosen), take(data.y, chosen), [weight for weight, _ in readers])
        changes = np.zeros(channels.count)
        for (weight, axis), gradient in zip(readers, gradients, strict=True):
            by_channel = _sum_but(_array(weight.variable) * gradient, axis)
            changes += np.bincount(_labels(weight, axis), by_channel, minlength=channels.count)
        totals += np.abs(changes)
    return totals / len(batches)


def _batches(samples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    drawn = np.random.default_rng(seed).permutation(samples)[:TAYLOR_SAMPLES]
    yield from np.array_split(drawn, math.ceil(len(drawn) / TAYLOR_BATCH_SIZE))


def _gradients(model: Any, x: Any, y: Any, weights: list[Weight]) -> list[npt.NDArray[np.float64]]:
    """Of the loss on the labels alone, as the model computes at inference."""
    import tensorflow as tf

    variables = [weight.variable.value for weight in weights]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        outputs = model(x, training=False)
        loss = model.compute_loss(x=x, y=y, y_pred=outputs, training=False) - sum(model.losses)
    found = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [np.asarray(gradient, dtype=np.float64) for gradient in found]


def _made(channels: Channels) -> Iterator[tuple[Weight, int]]:
    for followed in channels.followed.values():
        yield from ((weight, weight.makes) for weight in followed.flow.weights if weight.makes is not None)


def _read(channels: Channels) -> Iterator[tuple[Weight, int]]:
    for followed in channels.followed.values():
        yield from ((weight, weight.reads) for weight in followed.flow.weights if weight.reads is not None)


def _labels(weight: Weight, axis: int) -> npt.NDArray[np.int64]:
    labels = weight.axes[axis]
    if labels is None:
        raise ValueError(f"{weight.variable.path} has no channels along axis {axis}")
    return labels


def _sum_but(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """The sum over all axes but one."""
    return np.asarray(values.sum(axis=tuple(other for other in range(values.ndim) if other != axis)))


def _array(variable: Any) -> npt.NDArray[np.float64]:
    return np.asarray(variable.value, dtype=np.float64)
