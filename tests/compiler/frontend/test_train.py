from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend.data import read_samples
from edgecc.compiler.frontend.keras_file import read_keras_file
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.frontend.train import train
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import MissingExtraError, ModelError, UserCodeError

pytestmark = pytest.mark.tf

CNN = """
return keras.Sequential([
    keras.Input((6, 6, 1)),
    keras.layers.Conv2D(hp.Int("filters", 4, 16, default=8), 3),
    keras.layers.BatchNormalization(),
    keras.layers.ReLU(),
    keras.layers.Flatten(),
    keras.layers.Dropout(0.1),
    keras.layers.Dense(3),
])
"""
Run = Callable[..., StageContext]


@pytest.fixture
def run(
    make_context: Callable[..., StageContext], data_files: dict[str, Path], write_builder: Callable[..., None]
) -> Run:
    """Run the train stage on a builder's body."""

    def run(
        body: str = CNN,
        name: str = "train",
        hp: Any = None,
        tuned: Path | None = None,
        before: str = "",
        **settings: Any,
    ) -> StageContext:
        write_builder(body, before)
        options = {
            "model": {"builder": "models:build", "hp": hp or {}},
            "train": {"epochs": 3, "batch_size": 16, "precision": "float32", **settings},
        }
        inputs: dict[str, Any] = {"data": data_files}
        if tuned is not None:
            inputs["tune"] = {"hp.json": tuned}
        context = make_context(options, inputs, name=name)
        object.__setattr__(context, "metrics", train(context))
        return context

    return run


def metrics(context: StageContext) -> dict[str, Any]:
    return context.metrics  # type: ignore[attr-defined, no-any-return]


def history(context: StageContext) -> dict[str, list[float]]:
    return json.loads((context.output_dir / "history.json").read_text())  # type: ignore[no-any-return]


def trained_model(context: StageContext) -> Any:
    keras = fresh_keras(0, needed_by="a test")
    return read_keras_file(keras, context.output_dir / "model.keras", context.project_dir)


def test_a_model_is_trained_and_written(run: Run, data_files: dict[str, Path]) -> None:
    context = run(epochs=6)
    x, y = read_samples(data_files["validation.npz"])
    accuracy = float(np.mean(trained_model(context).predict(x, verbose=0).argmax(axis=1) == y))
    assert accuracy > 0.8  # chance is 0.33
    expected = {"epochs": 6, "steps": 36, "validation_accuracy": accuracy, "policy": "float32"}
    assert expected.items() <= metrics(context).items()
    assert metrics(context)["parameters"] == 80 + 32 + 8 * 16 * 3 + 3
    assert history(context)["loss"][-1] < history(context)["loss"][0]
    assert context.progress.steps == 6  # type: ignore[attr-defined]
    assert context.progress.descriptions[0].startswith("loss ")  # type: ignore[attr-defined]


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from edgecc.compiler.frontend.train import train
from edgecc.project_code import importable
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.progress import Silent
data, output, project = map(Path, sys.argv[1:])
options = {
    "model": {"builder": "models:build"},
    "train": {"epochs": 3, "batch_size": 16, "precision": "float32", "initializer": "auto"},
}
inputs = {"data": {path.name: path for path in data.iterdir()}}
with importable(project):
    train(StageContext(options, inputs, output, output, output, project, 0, Silent(), None))
"""


def test_training_gives_the_same_bytes_here_again_and_in_another_process(run: Run, tmp_path: Path) -> None:
    first = run(name="first", initializer="auto")
    second = run(name="second", initializer="auto")
    third = tmp_path / "third"
    third.mkdir()
    data = next(path for path in tmp_path.glob("data/output"))
    subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, data, third, first.project_dir], check=True)
    for name in ("model.keras", "history.json"):
        content = (first.output_dir / name).read_bytes()
        assert content == (second.output_dir / name).read_bytes()
        assert content == (third / name).read_bytes()


def test_tuned_hyperparameters_are_used_and_fixed_ones_win(run: Run, tmp_path: Path) -> None:
    tuned = tmp_path / "hp.json"
    tuned.write_text('{"filters": 5}')
    assert trained_model(run(tuned=tuned, epochs=1)).layers[0].filters == 5
    assert trained_model(run(name="fixed", tuned=tuned, hp={"filters": 7}, epochs=1)).layers[0].filters == 7


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trained_in_mixed_precision_is_float32_afterwards(
    run: Run, data_files: dict[str, Path], policy: str
) -> None:
    context = run(precision=policy, epochs=6)
    model = trained_model(context)
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    assert metrics(context)["policy"] == policy
    assert metrics(context)["validation_accuracy"] > 0.8


ACTIVATION = """
@keras.saving.register_keras_serializable()
def doubled(x):
    return 2 * keras.ops.relu(x)
"""


def test_an_activation_of_the_users_own_is_found_by_later_stages(
    run: Run, make_context: Callable[..., StageContext], project_dir: Path
) -> None:
    body = CNN.replace("keras.layers.ReLU()", "keras.layers.Activation(doubled)")
    context = run(body, before=ACTIVATION, epochs=1)
    fresh_keras(0, needed_by="a test").saving.get_custom_objects().clear()  # as in another process
    sys.modules.pop("models")
    model = read_model(
        make_context(context.options, {"model": {"model.keras": context.output_dir / "model.keras"}}, name="later")
    )
    assert model.layers[2].activation(np.float32(3)) == 6


def test_an_activation_that_is_not_registered_is_named(run: Run) -> None:
    body = CNN.replace("keras.layers.ReLU()", "keras.layers.Activation(tripled)")
    before = "def tripled(x):\n    return 3 * keras.ops.relu(x)\n"
    with pytest.raises(ModelError, match=r"layer activation \(Activation\) cannot be made again .*tripled") as caught:
        run(body, before=before, epochs=1)
    assert "register_keras_serializable" in str(caught.value.hint)


def test_early_stopping_goes_back_to_the_best_weights(run: Run, data_files: dict[str, Path]) -> None:
    # This rate is so high that the validation loss rises again at once.
    compiled = CNN.replace("return", "model =") + (
        "model.compile(keras.optimizers.Adam(0.3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))\n"
        "return model"
    )
    context = run(compiled, epochs=20, early_stopping={"patience": 2})
    losses = history(context)["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 20
    model = trained_model(context)
    model.compile(loss=fresh_keras(0, needed_by="a test").losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = read_samples(data_files["validation.npz"])
    assert model.evaluate(x, y, verbose=0) == pytest.approx(min(losses), rel=1e-4)


def test_a_schedule_is_followed(run: Run) -> None:
    schedule = {"schedule": "step", "initial": 0.008, "every_epochs": 1, "factor": 0.5, "warmup_epochs": 1}
    rates = history(run(learning_rate=schedule, epochs=4))["learning_rate"]
    assert rates == pytest.approx([0.004, 0.008, 0.004, 0.002])


def test_a_plateau_lowers_the_rate_after_the_warm_up(run: Run) -> None:
    schedule = {"schedule": "plateau", "initial": 0.5, "warmup_epochs": 2, "factor": 0.1, "patience": 1}
    result = history(run(learning_rate=schedule, epochs=8))
    expected, best, rate = [], float("inf"), 0.5
    for epoch, loss in enumerate(result["val_loss"]):
        expected.append(0.5 * (epoch + 1) / 3 if epoch < 2 else rate)
        if epoch >= 2:
            rate = rate if loss < best else rate * 0.1
            best = min(best, loss)
    assert rate < 0.5
    assert result["learning_rate"] == pytest.approx(expected)


def test_two_schedules_at_once_are_refused(run: Run) -> None:
    compiled = CNN.replace("return", "model =") + (
        "model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9)), 'mse')\nreturn model"
    )
    with pytest.raises(ModelError, match="has a learning rate schedule of its own"):
        run(compiled, learning_rate={"schedule": "cosine"})


def test_tensorboard_that_is_not_installed_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match="`tensorboard = true` needs TensorBoard") as caught:
        run(tensorboard=True, epochs=1)
    assert caught.value.hint == "pip install 'edgecc[tensorboard]'"


def test_tensorboard_logs_go_to_the_log_folder(run: Run) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: edgecc[tensorboard] brings it")
    context = run(tensorboard=True, epochs=1)
    assert list((context.log_dir / "tensorboard").rglob("*tfevents*"))
    assert sorted(path.name for path in context.output_dir.iterdir()) == ["history.json", "model.keras"]


def test_a_loss_that_is_not_finite_is_an_error(run: Run) -> None:
    compiled = CNN.replace("return", "model =") + (
        "model.compile(keras.optimizers.SGD(1e30), keras.losses.SparseCategoricalCrossentropy(from_logits=True))\n"
        "return model"
    )
    with pytest.raises(ModelError, match=r"training failed: loss is (nan|inf) after epoch 1"):
        run(compiled)


def test_a_loss_that_does_not_fit_the_labels_is_an_error(run: Run) -> None:
    compiled = CNN.replace("return", "model =") + "model.compile('adam', 'categorical_crossentropy')\nreturn model"
    with pytest.raises(ModelError, match="training failed: ValueError"):
        run(compiled)


def test_an_error_within_the_graph_is_told_without_its_stack(run: Run) -> None:
    refuse = "import tensorflow as tf\ntf.debugging.assert_less(p, -1e9, message='too large')\nreturn p\n"
    loss = "def loss(y, p):\n" + textwrap.indent(refuse, "    ")
    compiled = f"{loss}{CNN.replace('return', 'model =')}model.compile('adam', loss)\nreturn model"
    with pytest.raises(ModelError, match=r"^training failed: InvalidArgumentError: .*too large") as caught:
        run(compiled)
    assert "\n" not in caught.value.message


def test_a_builder_that_raises_is_told_with_its_line(run: Run) -> None:
    with pytest.raises(UserCodeError, match=r"models:build raised ZeroDivisionError: .*models\.py:5\)"):
        run("return 1 / 0")


def test_a_fixed_hyperparameter_that_nobody_asks_for_is_refused(run: Run) -> None:
    with pytest.raises(ModelError, match=r"hp\.filter: models:build has no such hyperparameter"):
        run(hp={"filter": 4})
