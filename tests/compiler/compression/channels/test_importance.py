from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.compression.channels.groups import find_channels
from edgecc.compiler.compression.channels.importance import batch_norm_scale, kernel_norm, taylor
from edgecc.compiler.frontend.data import DataDescription
from edgecc.compiler.frontend.train import TrainingData
from edgecc.errors import ModelError

pytestmark = pytest.mark.tf


def _tied(keras: Any) -> Any:
    """Two layers of two channels that are added, with kernels that can be counted by hand."""
    source = keras.Input((2,))
    one, other = keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="other")
    total = keras.layers.Add()([one(source), other(source)])
    model = keras.Model(source, keras.layers.Dense(2, name="head")(total))
    one.set_weights([np.array([[3.0, 0.0], [-4.0, 1.0]]), np.zeros(2)])
    other.set_weights([np.array([[10.0, 0.0], [0.0, 30.0]]), np.zeros(2)])
    return model


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # Norms 7 and 1 with the mean 4, and 10 and 30 with the mean 20.
        (1, [(7 / 4 + 10 / 20) / 2, (1 / 4 + 30 / 20) / 2]),
        # Norms 5 and 1 with the mean 3.
        (2, [(5 / 3 + 10 / 20) / 2, (1 / 3 + 30 / 20) / 2]),
    ],
)
def test_norms_are_relative_to_their_layer_and_averaged_over_tied_layers(
    keras: Any, order: Any, expected: list[float]
) -> None:
    channels = find_channels(_tied(keras))
    np.testing.assert_allclose(kernel_norm(channels, order)[channels.groups[0].units], expected)


def test_a_unit_of_several_positions_has_the_norm_of_all_of_them(keras: Any) -> None:
    stack = [keras.Input((1,)), keras.layers.Dense(4, name="made"), keras.layers.Reshape((2, 2))]
    model = keras.Sequential([*stack, keras.layers.Conv1D(1, 1), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.get_layer("made").set_weights([np.array([[3.0, 1.0, 4.0, 1.0]]), np.zeros(4)])
    channels = find_channels(model)
    norms = np.array([5.0, np.sqrt(2)])  # of the positions 0 and 2, and of 1 and 3
    np.testing.assert_allclose(kernel_norm(channels, 2)[channels.groups[0].units], norms / norms.mean())


def test_a_layer_of_zeros_has_no_importance(keras: Any) -> None:
    model = _tied(keras)
    for name in ("one", "other"):
        model.get_layer(name).set_weights([np.zeros((2, 2)), np.zeros(2)])
    assert kernel_norm(find_channels(model), 2).max() < np.inf


def test_batch_norm_scales_are_those_the_unit_goes_through(keras: Any) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((4, 3)), layers.Conv1D(2, 1), layers.BatchNormalization(name="norm"), layers.ReLU(),
         layers.BatchNormalization(name="again"), layers.Flatten(), layers.Dense(2)]
    )  # fmt: skip
    model.get_layer("norm").gamma.assign([-3.0, 1.0])
    model.get_layer("again").gamma.assign([1.0, 0.5])
    channels = find_channels(model)
    np.testing.assert_allclose(batch_norm_scale(channels)[channels.groups[0].units], [2.0, 0.75])


def test_without_batch_norm_there_is_no_scale_and_the_layers_are_named(build: Callable[[str], Any]) -> None:
    with pytest.raises(ModelError, match=r"`point`, `separable`, `squeezed`$") as caught:
        batch_norm_scale(find_channels(build("depthwise")))
    assert "exclude" in str(caught.value.hint)


def _data(x: Any, y: Any, task: Any = "classification") -> TrainingData:
    description = DataDescription(task=task, input_shape=x.shape[1:], classes=4, labels=None)
    return TrainingData(description, x, y, x, y)


def _loss(model: Any, x: Any, y: Any) -> float:
    logits = np.asarray(model(x, training=False), dtype=np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(y)), y].mean())


def test_taylor_is_the_slope_of_the_loss_along_what_readers_read(keras: Any, build: Callable[[str], Any]) -> None:
    model = build("concatenating")
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 8, 8, 3)).astype(np.float32), random.integers(0, 4, 20)
    channels = find_channels(model)

    scores = taylor(keras, model, channels, _data(x, y), seed=0)

    readers = [weight for followed in channels.followed.values() for weight in followed.flow.weights if weight.reads]
    step = 1e-2
    for unit in channels.groups[0].units[::3].tolist():
        losses = []
        for scale in (1 + step, 1 - step):
            before = [weight.variable.numpy() for weight in readers]
            for weight, value in zip(readers, before, strict=True):
                labels = weight.axes[weight.reads]
                factors = np.where(labels == unit, scale, 1.0)
                shape = [-1 if axis == weight.reads else 1 for axis in range(value.ndim)]
                weight.variable.assign(value * factors.reshape(shape))
            losses.append(_loss(model, x, y))
            for weight, value in zip(readers, before, strict=True):
                weight.variable.assign(value)
        slope = abs(losses[0] - losses[1]) / (2 * step)
        np.testing.assert_allclose(scores[unit], slope, rtol=2e-2, atol=1e-4)
    assert scores[channels.groups[0].units].max() > 1e-3
    assert not model.compiled


def test_taylor_draws_its_samples_from_the_seed(keras: Any, build: Callable[[str], Any]) -> None:
    model = build("plain")
    random = np.random.default_rng(0)
    data = _data(random.normal(size=(80, 8, 8, 3)).astype(np.float32), random.integers(0, 4, 80))
    channels = find_channels(model)

    scores = [taylor(keras, model, channels, data, seed=seed) for seed in (0, 0, 1)]

    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_taylor_needs_a_loss(keras: Any, build: Callable[[str], Any]) -> None:
    model = build("plain")
    data = _data(np.zeros((4, 8, 8, 3), np.float32), np.zeros((4, 4), np.float32), task="other")
    with pytest.raises(ModelError, match="labels that are classes"):
        taylor(keras, model, find_channels(model), data, seed=0)
