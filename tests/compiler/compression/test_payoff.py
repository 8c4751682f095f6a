"""What an artifact is before a step and after it, and whether chance alone would part the two so far."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Figures, Format
from edgecc.compiler.compression.payoff import CORRECT, compare, evaluate, p_value
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.errors import UserCodeError
from edgecc.progress import Silent
from edgecc.project_code import importable
from edgecc.samples import write_arrays

ARTIFACT = Path(__file__).parents[2] / "data/cnn_int8.tflite"


def context(folder: Path, options: Any, inputs: Mapping[str, Mapping[str, Path]], outputs: Any = None) -> StageContext:
    output_dir = folder / "output"
    output_dir.mkdir(exist_ok=True)

    def run_artifact(artifact: Path, format: Format, inputs: tuple[Any, ...]) -> Any:
        assert [array.shape for array in inputs] == [(3, 8, 8, 1)]
        return SimpleNamespace(values=(np.asarray(outputs, np.float32),))

    return StageContext(
        options=options, inputs=inputs, output_dir=output_dir, work_dir=folder, log_dir=folder, project_dir=folder,
        seed=0, progress=Silent(), run_artifact=run_artifact,
    )  # fmt: skip


def evaluated(folder: Path, outputs: Any, y: Any, classes: int | None, metrics: Any = None) -> Figures:
    write_arrays(folder / "validation.npz", x=np.zeros((3, 8, 8, 1), np.float32), y=np.asarray(y))
    (folder / "data.json").write_text(json.dumps({"classes": classes}))
    data = {name: folder / name for name in ("validation.npz", "data.json")}
    options = {"format": "tflite", "score": metrics or {}}
    with importable(folder):
        return Figures.model_validate(
            evaluate(context(folder, options, {"artifact": {"artifact": ARTIFACT}, "data": data}, outputs))
        )


def test_an_artifact_is_weighed_and_its_classes_scored(tmp_path: Path) -> None:
    figures = evaluated(tmp_path, [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], 2)
    content = ARTIFACT.read_bytes()
    assert figures.size_bytes == len(content)
    assert figures.compressed_bytes == len(gzip.compress(content, 9, mtime=0))
    assert figures.score == pytest.approx(2 / 3)
    assert (figures.samples, 0 <= figures.sparsity < 1) == (3, True)
    assert np.load(tmp_path / "output" / CORRECT).tolist() == [True, True, False]


def test_other_tasks_are_scored_by_the_users_first_metric(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def mae(outputs, y):\n    return abs(outputs - y).mean()\n")
    metrics = {"mae": {"function": "mine:mae", "better": "lower"}}
    figures = evaluated(tmp_path, [[1.0], [2.0], [3.0]], [[1.5], [2.0], [4.0]], None, metrics)
    assert figures.score == 0.5
    assert np.load(tmp_path / "output" / CORRECT).size == 0
    assert evaluated(tmp_path, [[1.0], [2.0], [3.0]], [[1.5], [2.0], [4.0]], None).score is None


def test_a_metric_that_fails_on_validation_labels_leaves_the_score_unmeasured(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def auc(outputs, flags):\n    return flags[:, 9].mean()\n")
    figures = evaluated(tmp_path, [[1.0]] * 3, [[1.0]] * 3, None, {"auc": {"function": "mine:auc"}})
    assert figures.score is None
    with pytest.raises(UserCodeError, match="there is none"):
        evaluated(tmp_path, [[1.0]] * 3, [[1.0]] * 3, None, {"auc": {"function": "others:auc"}})


@pytest.mark.parametrize(
    ("lost", "gained", "p"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 5, 1.0), (10, 2, 0.03857421875), (2, 10, 0.03857421875), (0, 6, 0.03125)],
)
def test_mcnemars_exact_test_on_published_values(lost: int, gained: int, p: float) -> None:
    assert p_value(lost, gained) == p


def test_many_samples_do_not_overflow() -> None:
    assert p_value(5000, 4000) < 1e-20


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1], {"lost": 6, "gained": 1, "p_value": 0.125}),
        ([1, 0, 1], [1, 0, 1], {"lost": 0, "gained": 0, "p_value": 1.0}),
        ([], [], {}),
    ],
)
def test_right_answers_before_and_after(tmp_path: Path, before: Any, after: Any, expected: Any) -> None:
    inputs = {}
    for role, right in (("before", before), ("after", after)):
        np.save(tmp_path / f"{role}.npy", np.asarray(right, bool))
        inputs[role] = {CORRECT: tmp_path / f"{role}.npy"}
    assert compare(context(tmp_path, {}, inputs)) == expected
