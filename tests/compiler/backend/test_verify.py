from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgecc.artifact import Format, TensorSpec
from edgecc.compiler.backend.verify import reference, top1_agreement, verify
from edgecc.errors import ModelError, VerificationError

Floats = npt.NDArray[np.float32]
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(100, 5)).astype(np.float32)
CLASSES = RANDOM.normal(size=(100, 4)).astype(np.float32)


@dataclass(frozen=True)
class Outputs:
    values: tuple[Floats, ...]
    inputs: tuple[TensorSpec, ...] = (
        TensorSpec(name="input", shape=(1, 5), dtype="int8", scale=(0.5,), zero_point=(3,)),
    )
    outputs: tuple[TensorSpec, ...] = (TensorSpec(name="output", shape=(1, 4), dtype="int8"),)


@pytest.fixture
def check(make_context: Any, tmp_path: Path) -> Any:
    """Verifies an artifact that gave `actual` where the model gave `expected`; returns metrics and context."""

    def run(actual: Floats, expected: Floats = CLASSES, **changes: Any) -> Any:
        classes = [expected.ndim == 2 and expected.shape[1] > 1]
        np.savez(tmp_path / "reference.npz", x=X, outputs=expected, classes=classes)
        artifact = tmp_path / "artifact"
        options = {"format": "tflite", "quantize": None, "min_agreement": 0.98, "variant": "small", **changes}

        def runner(path: Path, format: Format, inputs: tuple[Floats, ...]) -> Outputs:
            assert (path, format) == (artifact, Format(options["format"]))
            np.testing.assert_array_equal(inputs, (X,))
            return Outputs((actual,))

        inputs = {"reference": {"reference.npz": tmp_path / "reference.npz"}, "artifact": {"artifact": artifact}}
        context = make_context(options, inputs, runner)
        return verify(context), context

    return run


def _with_wrong_classes(count: int) -> Floats:
    actual = CLASSES.copy()
    actual[:count] *= -1  # another class is the largest
    return actual


def test_an_artifact_that_agrees_passes_and_says_what_was_seen(check: Any) -> None:
    actual = CLASSES.copy()
    actual[7, 2] += 2e-4

    metrics, context = check(actual)

    assert metrics["top1_agreement"] == 1.0
    assert metrics["max_abs_error"] == pytest.approx(2e-4, rel=1e-3)
    assert metrics["mean_abs_error"] == pytest.approx(2e-4 / CLASSES.size, rel=1e-3)
    assert metrics["samples"] == 100
    assert metrics["inputs"][0]["zero_point"] == [3]
    assert json.loads((context.output_dir / "verification.json").read_text()) == metrics


def test_too_little_agreement_is_refused_with_both_numbers(check: Any) -> None:
    with pytest.raises(VerificationError, match=r"small as tflite: .*at least 98.00%.*got 97.00% of 100") as caught:
        check(_with_wrong_classes(3), quantize="int8")
    assert "representative" in str(caught.value.hint)


def test_agreement_at_the_limit_passes(check: Any) -> None:
    metrics, _ = check(_with_wrong_classes(2), quantize="int8")
    assert metrics["top1_agreement"] == 0.98


def test_a_float_artifact_with_the_right_classes_and_wrong_values_is_refused(check: Any) -> None:
    with pytest.raises(VerificationError, match="small as onnx: expected the largest error"):
        check(CLASSES * np.float32(1.01), format="onnx")


def test_nan_is_refused(check: Any) -> None:
    actual = CLASSES.copy()
    actual[3, 0] = np.nan
    actual[5] = np.inf
    with pytest.raises(VerificationError, match="NaN or infinity on 2 of 100 samples"):
        check(actual)


def test_another_shape_is_refused(check: Any) -> None:
    with pytest.raises(VerificationError, match=r"shape \(100, 4\).* got \(100, 3\)"):
        check(CLASSES[:, :3])


@pytest.mark.parametrize("shape", [(100, 1), (100, 6, 6, 2)])
def test_outputs_without_classes_are_judged_by_their_error(check: Any, shape: tuple[int, ...]) -> None:
    expected = RANDOM.uniform(size=shape).astype(np.float32)

    metrics, _ = check(expected + np.float32(5e-4), expected)
    assert metrics["top1_agreement"] is None
    check(expected + np.float32(0.015), expected, quantize="int8")

    with pytest.raises(VerificationError, match="largest error"):
        check(expected + np.float32(2e-3), expected)
    with pytest.raises(VerificationError, match="mean error"):
        check(expected + np.float32(0.025), expected, quantize="int8")


def test_constant_outputs_may_be_rounded_but_not_wrong(check: Any) -> None:
    expected = np.full((100, 1), 5, dtype=np.float32)
    check(expected + np.float32(1e-6), expected)
    with pytest.raises(VerificationError, match="largest error"):
        check(expected + np.float32(1e-3), expected)


def test_a_tie_that_only_rounding_decides_counts_as_agreement() -> None:
    expected = np.array([[0.0, 1.0, 1.0 - 1e-7]], dtype=np.float32)
    assert top1_agreement(np.array([[0.0, 0.9, 1.0]], dtype=np.float32), expected) == 1.0
    assert top1_agreement(np.array([[1.0, 0.9, 0.0]], dtype=np.float32), expected) == 0.0


def test_a_tie_of_the_artifacts_own_goes_to_the_first_class() -> None:
    expected = np.array([[0.4, 0.6]], dtype=np.float32)
    assert top1_agreement(np.array([[0.5, 0.5]], dtype=np.float32), expected) == 0.0


def test_verifying_needs_no_tensorflow() -> None:
    script = (
        "import sys, edgecc.compiler.backend.verify; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.tf
def test_the_reference_is_a_seeded_draw_of_validation_samples(keras: Any, make_context: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4)])
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "validation.npz", x=X, y=np.zeros(100))
    inputs = {
        "model": {"model.keras": tmp_path / "model.keras"},
        "data": {"validation.npz": tmp_path / "validation.npz"},
    }

    def run(samples: int) -> Path:
        context = make_context({"model": {"builder": "models:build"}, "samples": samples}, inputs)
        assert reference(context) == {"samples": min(samples, 100)}
        path: Path = context.output_dir / "reference.npz"
        return path

    assert run(30).read_bytes() == run(30).read_bytes()
    with np.load(run(30)) as arrays:
        x, outputs = arrays["x"], arrays["outputs"]
    assert all((row == X).all(axis=1).any() for row in x)
    assert len(np.unique(x, axis=0)) == 30
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(outputs, x @ kernel + bias, rtol=1e-5, atol=1e-6)
    run(1000)


@pytest.mark.tf
def test_a_model_that_gives_nan_is_refused(keras: Any, make_context: Any, tmp_path: Path) -> None:
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save(tmp_path / "model.keras")
    x = X.copy()
    x[4, 1] = np.inf
    np.savez(tmp_path / "validation.npz", x=x)
    inputs = {
        "model": {"model.keras": tmp_path / "model.keras"},
        "data": {"validation.npz": tmp_path / "validation.npz"},
    }
    with pytest.raises(ModelError, match="NaN or infinity on 1 of 100 samples"):
        reference(make_context({"model": {"builder": "models:build"}, "samples": 200}, inputs))
