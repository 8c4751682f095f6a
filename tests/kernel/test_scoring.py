"""From real outputs to classes and scores, with the user's own metrics too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc import scoring
from edgecc.errors import UserCodeError
from edgecc.project import MetricSection
from edgecc.samples import write_arrays


def test_the_class_is_the_largest_output() -> None:
    classes = scoring.top1([np.asarray([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]])])
    assert classes.tolist() == [1, 0]  # type: ignore[union-attr]


def test_a_single_output_is_a_probability() -> None:
    classes = scoring.top1([np.asarray([[0.0], [0.5], [0.504], [0.996]])])
    assert classes.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    assert "no probability" in str(scoring.top1([np.asarray([[0.2], [-1.5]])]))


def test_an_output_with_nan_is_never_right_and_agrees_with_nothing() -> None:
    classes = scoring.top1([np.asarray([[np.nan, 1, 0], [0, 1, 0]])])
    assert not isinstance(classes, str)
    assert classes.tolist() == [scoring.NO_CLASS, 1]
    assert scoring.accuracy(classes, np.asarray([0, 1]), 3) == 0.5
    assert scoring.agreement(classes, classes) == 0.5


def test_a_map_of_classes_has_no_single_class() -> None:
    assert "(n, classes)" in str(scoring.top1([np.zeros((2, 4, 4, 3))]))


def test_several_outputs_have_no_single_class() -> None:
    assert "this one has 2" in str(scoring.top1([np.zeros((2, 3)), np.zeros((2, 3))]))


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (None, "no labels"),
        (np.asarray([0.5, 1.5]), "integer labels"),
        (np.asarray([[1, 0], [0, 1]]), "one label a sample"),
        (np.asarray([0, 3]), "from 0 to 2"),
        (np.asarray([-1, 0]), "from 0 to 2"),
        ([np.asarray([0, 1]), np.asarray([0, 1])], "y has 2 arrays"),
    ],
)
def test_labels_that_are_no_classes_leave_accuracy_unmeasured(y: Any, reason: str) -> None:
    assert reason in str(scoring.accuracy(np.asarray([0, 1]), y, 3))


def test_accuracy_counts_whole_samples() -> None:
    assert scoring.accuracy(np.asarray([0, 1, 2, 2]), np.asarray([[0], [1], [2], [0]]), 3) == 0.75


def test_agreement_needs_the_same_samples() -> None:
    assert "3 samples" in str(scoring.agreement(np.asarray([0, 1]), np.asarray([0, 1, 2])))


METRICS = """
import numpy as np

def mse(outputs, y):
    return np.mean((outputs - y) ** 2)

def reconstruction(outputs, y, inputs):
    return float(np.abs(outputs - inputs).mean())

def optional(outputs, y, scale=2.0):
    return scale

def optional_inputs(outputs, y, inputs=None):
    return np.float32(inputs.sum())

def several(outputs, y, inputs):
    return len(outputs) + len(y) + len(inputs)

def greedy(outputs, y):
    outputs[:] = 0
    return 1.0

def raises(outputs, y):
    return 1 / 0

def nothing(outputs, y): return None
def nan(outputs, y): return float("nan")
def flag(outputs, y): return True
def array(outputs, y): return np.asarray([1.0, 2.0])
def text(outputs, y): return "0.5"
"""
OUTPUTS, Y, X = np.asarray([[1.0], [3.0]]), np.asarray([[1.0], [1.0]]), np.asarray([[0.0], [3.0]])


def metric(project_dir: Path, name: str, **section: Any) -> scoring.UserMetric:
    (project_dir / "mine.py").write_text(METRICS)
    sections = {name: MetricSection(function=f"mine:{name}", **section)}
    return scoring.load_metrics(sections, project_dir)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("mse", 2.0), ("reconstruction", 0.5), ("optional", 2.0), ("optional_inputs", 3.0)],
)
def test_a_users_metric_gets_what_it_asks_for(project_dir: Path, name: str, value: float) -> None:
    assert metric(project_dir, name)([OUTPUTS], Y, X) == value


def test_several_outputs_labels_and_inputs_are_lists(project_dir: Path) -> None:
    assert metric(project_dir, "several")([OUTPUTS] * 2, [Y] * 3, [X] * 4) == 9


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", r"mine:raises raised ZeroDivisionError: .*mine\.py:24"),
        ("nothing", "mine:nothing: expected one finite number; got NoneType"),
        ("nan", "expected one finite number; got nan"),
        ("flag", "got bool"),
        ("array", r"got ndarray \(2,\)"),
        ("text", "got str"),
        ("greedy", "read-only"),
    ],
)
def test_a_users_metric_that_gives_no_number_is_one_clear_error(project_dir: Path, name: str, says: str) -> None:
    with pytest.raises(UserCodeError, match=says):
        metric(project_dir, name)([OUTPUTS], Y, X)
    assert OUTPUTS.tolist() == [[1.0], [3.0]]


def test_a_misspelt_function_is_found_before_any_work(project_dir: Path) -> None:
    with pytest.raises(UserCodeError, match="has no `msee`") as caught:
        metric(project_dir, "msee")
    assert "mse" in str(caught.value.hint)


def validation(folder: Path, y: Any, classes: int | None) -> scoring.Validation:
    write_arrays(folder / "validation.npz", x=X, y=np.asarray(y))
    (folder / "data.json").write_text(json.dumps({"classes": classes}))
    return scoring.read_validation({name: folder / name for name in ("validation.npz", "data.json")})


def options(**directions: str) -> dict[str, Any]:
    return {name: {"function": f"mine:{name}", "better": better} for name, better in directions.items()}


def test_classes_are_scored_by_their_accuracy(project_dir: Path) -> None:
    samples = validation(project_dir, [0, 1], 2)
    scorer = scoring.Scorer(samples, {}, project_dir)
    outputs = [np.asarray([[0.9, 0.1], [0.8, 0.2]])]
    assert (len(samples), scorer(outputs), scorer.goodness(outputs)) == (2, 0.5, 0.5)
    right = samples.correct(outputs)
    assert right is not None
    assert right.tolist() == [True, False]


@pytest.mark.parametrize(("better", "goodness"), [("lower", -2.0), ("higher", 2.0)])
def test_other_tasks_are_scored_by_the_projects_first_metric(project_dir: Path, better: str, goodness: float) -> None:
    (project_dir / "mine.py").write_text(METRICS)
    samples = validation(project_dir, Y, None)
    scorer = scoring.Scorer(samples, options(mse=better, optional="higher"), project_dir)
    assert (scorer([OUTPUTS]), scorer.goodness([OUTPUTS])) == (2.0, goodness)
    assert samples.correct([OUTPUTS]) is None


def test_without_classes_and_metrics_there_is_no_score(project_dir: Path) -> None:
    scorer = scoring.Scorer(validation(project_dir, Y, None), {}, project_dir)
    assert scorer([OUTPUTS]) is scorer.goodness([OUTPUTS]) is None
