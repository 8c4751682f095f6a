from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.compiler.frontend.tune import tune
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.errors import ModelError, OutputError

pytestmark = pytest.mark.tf

SPACE = """
units = hp.Int("units", 2, 12)
layers = [keras.Input((6, 6, 1)), keras.layers.Flatten()]
if hp.Boolean("hidden"):
    with hp.conditional_scope("hidden", [True]):
        activation = hp.Choice("activation", ["relu", "tanh"])
    layers.append(keras.layers.Dense(units, activation=activation))
layers.append(keras.layers.Dropout(hp.Float("dropout", 0.0, 0.4, step=0.2)))
return keras.Sequential([*layers, keras.layers.Dense(3)])
"""
NARROW = """
return keras.Sequential([
    keras.Input((6, 6, 1)), keras.layers.Flatten(),
    keras.layers.Dense(hp.Int("units", 1, 60), activation="relu"), keras.layers.Dense(3),
])
"""
Run = Callable[..., StageContext]


def options(strategy: str, trials: int, epochs: int = 1, **model: Any) -> dict[str, Any]:
    return {
        "model": {"builder": "models:build", **model},
        "train": {"batch_size": 16, "precision": "float32"},
        "tune": {"strategy": strategy, "max_trials": trials, "epochs": epochs},
    }


@pytest.fixture
def run(
    make_context: Callable[..., StageContext], data_files: dict[str, Path], write_builder: Callable[..., None]
) -> Run:
    def run(body: str, *args: Any, name: str = "tune", before: str = "", **kwargs: Any) -> StageContext:
        write_builder(body, before)
        context = make_context(options(*args, **kwargs), {"data": data_files}, name=name)
        object.__setattr__(context, "metrics", tune(context))
        return context

    return run


def trials(context: StageContext) -> list[dict[str, Any]]:
    return json.loads((context.output_dir / "trials.json").read_text())["trials"]  # type: ignore[no-any-return]


def winner(context: StageContext) -> dict[str, Any]:
    return json.loads((context.output_dir / "hp.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("strategy", ["random", "grid", "bayesian", "hyperband"])
def test_every_strategy_finds_the_best_of_its_trials(
    run: Run, strategy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    context = run(SPACE, strategy, 4, epochs=3)
    found = trials(context)
    assert len(found) == 4
    assert all(trial["status"] == "completed" and 1 <= trial["epochs"] <= 3 for trial in found)
    best = max(found, key=lambda trial: trial["score"])
    assert winner(context) == best["values"]
    names = {"units", "hidden", "dropout"} | ({"activation"} if best["values"]["hidden"] else set())
    assert set(winner(context)) == names
    assert len({json.dumps(trial["values"]) for trial in found}) > 1
    assert context.progress.steps == 4  # type: ignore[attr-defined]
    assert capfd.readouterr().out == ""


def test_hyperband_gives_few_epochs_first_and_more_to_the_best(run: Run) -> None:
    context = run(NARROW, "hyperband", 20, epochs=3)
    epochs = [trial["epochs"] for trial in trials(context)]
    # Worked out from Keras Tuner's formulas for 3 epochs and factor 3: a bracket of three trials of one epoch, the
    # best of which gets three; then a bracket of two trials of three epochs at once.
    assert epochs == [1, 1, 1, 3, 3, 3]
    first, promoted = trials(context)[:3], trials(context)[3]
    assert promoted["values"] == max(first, key=lambda trial: trial["score"])["values"]


def test_fixed_hyperparameters_are_not_searched(run: Run) -> None:
    context = run(SPACE, "random", 3, hp={"hidden": True, "activation": "elu"})
    for trial in trials(context):
        assert (trial["values"]["hidden"], trial["values"]["activation"]) == (True, "elu")


def test_a_builder_without_hyperparameters_has_nothing_to_tune(run: Run) -> None:
    with pytest.raises(ModelError, match="nothing to tune: models:build asks for no hyperparameter"):
        run(NARROW, "random", 3, hp={"units": 4})


SOME_FAIL = f"""
units = hp.Int("units", 1, 4)
if units == 3:
    raise RuntimeError("three is too many")
if units == 4:
    layers = [keras.layers.Flatten(), keras.layers.Dense(4), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers])
    model.compile(keras.optimizers.SGD(1e30), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
{NARROW}
"""


def test_trials_that_fail_are_counted_and_explained(run: Run) -> None:
    context = run(SOME_FAIL, "grid", 4)
    found = {trial["values"]["units"]: trial for trial in trials(context)}
    assert [found[units]["status"] for units in (1, 2, 3, 4)] == ["completed", "completed", "failed", "failed"]
    assert "RuntimeError: three is too many" in found[3]["reason"]
    assert "loss is" in found[4]["reason"]
    assert winner(context)["units"] in (1, 2)
    assert context.metrics["failed"] == 2  # type: ignore[attr-defined]


def test_a_search_in_which_every_trial_fails_says_why(run: Run) -> None:
    body = 'hp.Int("units", 1, 9)\n' + NARROW.replace("keras.layers.Dense(3)", "keras.layers.Dense(4)")
    with pytest.raises(ModelError, match=r"all 4 trials failed, 4 of them because: .*expected outputs of shape"):
        run(body, "random", 4)


def test_a_journal_that_cannot_be_written_ends_the_search(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tune" / "work").mkdir(parents=True)
    (tmp_path / "tune" / "work" / "trials").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write to"):
        run(NARROW, "random", 2)


# --- going on after a kill -------------------------------------------------------------------------------------

COUNTED = """
import os, pathlib, signal

def count():
    file = pathlib.Path(__file__).with_name("builds")
    builds = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(builds))
    if str(builds) == os.environ.get("KILL_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
"""
CHILD = """
import json, sys
from pathlib import Path
from edgecc.compiler.frontend.tune import tune
from edgecc.project_code import importable
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.progress import Silent
data, work, project = map(Path, sys.argv[1:4])
inputs = {"data": {path.name: path for path in data.iterdir()}}
with importable(project):
    tune(StageContext(json.loads(sys.argv[4]), inputs, work, work, work, project, 0, Silent(), None))
"""


@pytest.mark.parametrize("strategy", ["bayesian", "hyperband"])
def test_a_killed_search_goes_on_and_ends_like_one_that_was_not(run: Run, tmp_path: Path, strategy: str) -> None:
    body = f"count()\n{NARROW}"
    undisturbed = run(body, strategy, 6, epochs=3, name="undisturbed", before=COUNTED)
    counter = undisturbed.project_dir / "builds"
    all_builds = int(counter.read_text())
    counter.unlink()

    work = tmp_path / "killed" / "work"
    work.mkdir(parents=True)
    arguments = [tmp_path / "data" / "output", work, undisturbed.project_dir, json.dumps(options(strategy, 6, 3))]
    killed = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env={"PATH": "", "KILL_AT": str(all_builds - 1)}, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    finished = {path.name: path.read_bytes() for path in (work / "trials").iterdir()}
    assert len(finished) == 4
    counter.unlink()

    resumed = run(body, strategy, 6, epochs=3, name="killed", before=COUNTED)
    for name in ("hp.json", "trials.json"):
        assert (resumed.output_dir / name).read_bytes() == (undisturbed.output_dir / name).read_bytes()
    assert all((work / "trials" / name).read_bytes() == content for name, content in finished.items())
    assert int(counter.read_text()) == all_builds - len(finished)
