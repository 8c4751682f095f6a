from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import ArtifactRunner, Format
from edgecc.errors import ArtifactError
from edgecc.targets.host import run_outputs


def test_it_is_what_the_compiler_asks_for() -> None:
    runner: ArtifactRunner = run_outputs  # mypy checks it
    assert callable(runner)


def test_float_values(linear: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    ran = run_outputs(linear.path, Format.ONNX, (x,))
    assert ran.values[0].dtype == np.float32
    np.testing.assert_allclose(ran.values[0], linear(x), rtol=1e-6)
    assert (ran.inputs[0].name, ran.outputs[0].name) == ("x", "y")


def test_int8_values_are_dequantized(cnn_int8: Path, images: Any, cnn_answers: Any) -> None:
    ran = run_outputs(cnn_int8, Format.TFLITE, (images,))
    assert ran.outputs[0].dtype == "int8"
    assert ran.values[0].shape == (20, 4)
    assert np.abs(ran.values[0] - cnn_answers).max() < 0.05


def test_several_inputs_and_outputs_in_the_artifacts_order(mixer: Path) -> None:
    right, left = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    ran = run_outputs(mixer, Format.ONNX, (right, left))
    assert [spec.name for spec in ran.inputs] == ["right", "left"]
    total, product = ran.values
    np.testing.assert_allclose(total, left + right, rtol=1e-6)
    np.testing.assert_allclose(product, (left * right).sum(1, keepdims=True), rtol=1e-5)


def test_too_few_inputs_are_refused(mixer: Path) -> None:
    with pytest.raises(ArtifactError, match="samples of one input fit a model with one input; this one has 2"):
        run_outputs(mixer, Format.ONNX, (np.zeros((1, 2), np.float32),))


def test_a_file_without_an_ending(linear: Any, tmp_path: Path) -> None:
    bare = linear.path.rename(tmp_path / "artifact")
    assert run_outputs(bare, Format.ONNX, (np.zeros((1, 3), np.float32),)).values[0].tolist() == [linear.bias.tolist()]


def test_a_failure_names_file_and_cause(linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    linear.path.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"model\.onnx: cannot be run \(refused\): .*INVALID_PROTOBUF"):
        run_outputs(linear.path, Format.ONNX, (np.zeros((1, 3), np.float32),))
    with pytest.raises(ArtifactError, match=r"gone\.onnx: cannot be read: No such file"):
        run_outputs(tmp_path / "gone.onnx", Format.ONNX, (np.zeros((1, 3), np.float32),))
    assert list(temporary.iterdir()) == []
