"""From raw outputs to classes and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import TensorSpec
from edgecc.benchmarks import scoring
from edgecc.errors import DataError


def spec(dtype: str = "float32", **quantization: Any) -> TensorSpec:
    return TensorSpec(name="out", shape=(1, 3), dtype=dtype, **quantization)


def test_the_class_is_the_largest_output() -> None:
    classes = scoring.top1(np.asarray([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]), spec())
    assert classes.tolist() == [1, 0]  # type: ignore[union-attr]


def test_outputs_with_a_scale_each_are_compared_as_real_values() -> None:
    quantized = spec("int8", scale=(0.1, 1.0, 0.1), zero_point=(0, 0, 0), quantized_dimension=1)
    classes = scoring.top1(np.asarray([[100, 20, 30]], np.int8), quantized)  # 10, 20 and 3
    assert classes.tolist() == [1]  # type: ignore[union-attr]


def test_a_single_output_is_a_probability() -> None:
    quantized = spec("int8", scale=(1 / 256,), zero_point=(-128,))
    classes = scoring.top1(np.asarray([[-128], [0], [1], [127]], np.int8), quantized)  # 0, 0.5, 0.504, 0.996
    assert classes.tolist() == [0, 0, 1, 1]  # type: ignore[union-attr]
    assert "no probability" in str(scoring.top1(np.asarray([[0.2], [-1.5]]), spec()))


def test_an_output_with_nan_is_never_right_and_agrees_with_nothing() -> None:
    classes = scoring.top1(np.asarray([[np.nan, 1, 0], [0, 1, 0]]), spec())
    assert not isinstance(classes, str)
    assert classes.tolist() == [scoring.NO_CLASS, 1]
    assert scoring.accuracy(classes, np.asarray([0, 1]), 3) == 0.5
    assert scoring.agreement(classes, classes) == 0.5


def test_a_map_of_classes_has_no_single_class() -> None:
    assert "(n, classes)" in str(scoring.top1(np.zeros((2, 4, 4, 3)), spec()))


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (None, "no labels"),
        (np.asarray([0.5, 1.5]), "integer labels"),
        (np.asarray([[1, 0], [0, 1]]), "one label a sample"),
        (np.asarray([0, 3]), "from 0 to 2"),
        (np.asarray([-1, 0]), "from 0 to 2"),
    ],
)
def test_labels_that_are_no_classes_leave_accuracy_unmeasured(y: Any, reason: str) -> None:
    assert reason in str(scoring.accuracy(np.asarray([0, 1]), y, 3))


def test_accuracy_counts_whole_samples() -> None:
    assert scoring.accuracy(np.asarray([0, 1, 2, 2]), np.asarray([[0], [1], [2], [0]]), 3) == 0.75


def test_agreement_needs_the_same_samples() -> None:
    assert "3 samples" in str(scoring.agreement(np.asarray([0, 1]), np.asarray([0, 1, 2])))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not a zip"])
def test_a_damaged_evaluation_set_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "evaluation.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"expected an \.npz file"):
        scoring.load_evaluation(path)


@pytest.mark.parametrize(
    "arrays", [{"y": np.zeros(2)}, {"x": np.zeros((2, 1)), "y": np.zeros(3)}, {"x": np.zeros((0, 1))}]
)
def test_an_evaluation_set_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "evaluation.npz", **arrays)
    with pytest.raises(DataError):
        scoring.load_evaluation(tmp_path / "evaluation.npz")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "evaluation.npz", x=np.asarray([object()], dtype=object))
    with pytest.raises(DataError):
        scoring.load_evaluation(tmp_path / "evaluation.npz")
