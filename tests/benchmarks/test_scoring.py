"""What artifacts are scored on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.benchmarks import scoring
from edgecc.errors import DataError


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


def test_several_inputs_and_labels_are_read_by_name(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.npz"
    np.savez(path, **{"x.a": np.zeros((3, 2)), "x.b": np.ones((3, 4)), "y.kind": np.arange(3)})
    evaluation = scoring.load_evaluation(path)
    assert isinstance(evaluation.x, dict)
    assert {name: array.shape for name, array in evaluation.x.items()} == {"a": (3, 2), "b": (3, 4)}
    assert evaluation.is_classification
    np.savez(path, **{"x.a": np.zeros((3, 2)), "x.b": np.ones((2, 4))})
    with pytest.raises(DataError, match=r"got x\.a \(3, 2\), x\.b \(2, 4\)"):
        scoring.load_evaluation(path)
