"""The stage, end to end, on a tiny network and learnable data."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.compression.channels.groups import find_channels
from edgecc.compiler.compression.channels.prune import prune
from edgecc.compiler.frontend.data import DataDescription
from edgecc.compiler.frontend.keras_file import write_keras_file
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.errors import ModelError
from edgecc.progress import Silent

pytestmark = pytest.mark.tf

MakeContext = Callable[..., StageContext]


def _network(keras: Any) -> Any:
    layers = keras.layers
    source = keras.Input((6, 6, 1))
    stem = layers.Conv2D(8, 3, padding="same", name="stem")(source)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="conv")(stem)))
    x = layers.BatchNormalization()(layers.Add()([stem, x]))
    x = layers.Dense(10, activation="relu", name="hidden")(layers.Flatten()(x))
    x = layers.BatchNormalization()(x)
    return keras.Model(source, layers.Dense(3, activation="softmax", name="head")(x), name="network")


def _blobs(samples: int, seed: int) -> dict[str, Any]:
    y = np.arange(samples) % 3
    centres = np.random.default_rng(7).normal(size=(3, 6, 6, 1))
    x = centres[y] + 0.5 * np.random.default_rng(seed).normal(size=(samples, 6, 6, 1))
    return {"x": x.astype(np.float32), "y": y}


@pytest.fixture
def make_context(keras: Any, tmp_path: Path) -> MakeContext:
    numbers = count()
    np.savez(tmp_path / "train.npz", **_blobs(96, 1))
    np.savez(tmp_path / "validation.npz", **_blobs(48, 2))
    description = DataDescription(task="classification", input_shape=(6, 6, 1), classes=3, labels=None)
    (tmp_path / "data.json").write_text(description.model_dump_json())

    def make(options: Any, model: Any = None) -> StageContext:
        output_dir = tmp_path / f"output{next(numbers)}"
        output_dir.mkdir()
        keras.utils.set_random_seed(0)
        write_keras_file(_network(keras) if model is None else model, tmp_path / "model.keras")
        return StageContext(
            options={
                "model": {"path": "model.keras"},
                "train": {},
                "prune": {"method": "channel", "epochs": 0, **options},
            },
            inputs={
                "model": {"model.keras": tmp_path / "model.keras"},
                "data": {name: tmp_path / name for name in ("train.npz", "validation.npz", "data.json")},
            },
            output_dir=output_dir,
            work_dir=tmp_path,
            log_dir=tmp_path,
            project_dir=tmp_path,
            seed=0,
            progress=Silent(),
            run_artifact=lambda *_: pytest.fail("no artifact is run"),
        )

    return make


def _read(context: StageContext, keras: Any) -> Any:
    return keras.saving.load_model(context.output_dir / "model.keras")


@pytest.mark.parametrize("importance", ["l1", "l2", "batch_norm", "taylor"])
def test_half_of_the_channels_go(keras: Any, make_context: MakeContext, importance: str) -> None:
    context = make_context({"sparsity": 0.5, "importance": importance})

    metrics = prune(context)

    model = _read(context, keras)
    assert metrics["channels"] == {"stem": [8, 4], "conv": [8, 4], "hidden": [10, 5], "head": [3, 3]}
    assert metrics["sparsity"] == 0.5
    assert metrics["parameters"] == model.count_params()
    assert metrics["parameters_before"] == _network(keras).count_params()
    assert metrics["left_whole"] == {"head": "an output of the model"}
    assert model.get_layer("hidden").get_weights()[0].shape == (6 * 6 * 4, 5)
    assert json.loads((context.output_dir / "channels.json").read_text()) == {
        "groups": [
            {"layers": ["stem", "conv"], "channels_before": {"stem": 8, "conv": 8},
             "channels_after": {"stem": 4, "conv": 4}},
            {"layers": ["hidden"], "channels_before": {"hidden": 10}, "channels_after": {"hidden": 5}},
        ]
    }  # fmt: skip


def test_it_heals_after_each_iteration(keras: Any, make_context: MakeContext) -> None:
    options = {"sparsity": 0.6, "scope": "global", "iterations": 2, "epochs": 5, "learning_rate": 1e-2}
    context = make_context(options)

    metrics = prune(context)

    assert len(metrics["validation_accuracy_by_iteration"]) == 2
    assert metrics["validation_accuracy"] == metrics["validation_accuracy_by_iteration"][-1]
    # The model that comes in was never trained.
    assert metrics["validation_accuracy"] > max(0.8, metrics["validation_accuracy_before"])
    model = _read(context, keras)
    assert not model.compiled
    stem, hidden = find_channels(model).groups
    assert len(stem.units) + len(hidden.units) == 18 - 11  # 0.6 * 18 units is 10.8


def test_it_learns_from_the_unpruned_model_and_gives_the_same_bytes_again(make_context: MakeContext) -> None:
    options = {"sparsity": 0.5, "importance": "taylor", "epochs": 1, "alpha": 0.5}
    contexts = [make_context(options), make_context(options)]

    assert prune(contexts[0]) == prune(contexts[1])

    for name in ("model.keras", "channels.json"):
        assert (contexts[0].output_dir / name).read_bytes() == (contexts[1].output_dir / name).read_bytes()


def test_the_input_is_not_touched(keras: Any, make_context: MakeContext) -> None:
    context = make_context({"sparsity": 0.5, "exclude": ["hidden"]})
    before = context.inputs["model"]["model.keras"].read_bytes()

    metrics = prune(context)

    assert metrics["channels"]["hidden"] == [10, 10]
    assert metrics["left_whole"]["hidden"] == "excluded"
    assert context.inputs["model"]["model.keras"].read_bytes() == before


def test_nothing_to_prune_is_refused_with_the_reasons(keras: Any, make_context: MakeContext) -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3, name="head")])
    with pytest.raises(ModelError, match=r"no channel of .* can be taken out: `head`: an output of the model"):
        prune(make_context({"sparsity": 0.5}, model))


def test_a_misspelt_exclusion_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(ModelError, match="has no `hiden`") as caught:
        prune(make_context({"sparsity": 0.5, "exclude": ["hiden"]}))
    assert caught.value.hint == "did you mean `hidden`?"


def test_batch_norm_importance_is_refused_where_there_is_none(keras: Any, make_context: MakeContext) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(4, 3, name="bare"), layers.Flatten(), layers.Dense(3)]
    )
    with pytest.raises(ModelError, match="there is none after `bare`"):
        prune(make_context({"sparsity": 0.5, "importance": "batch_norm"}, model))
