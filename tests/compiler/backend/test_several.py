"""Models with several inputs and outputs, through emission, the reference and verification, in both formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.verify import reference, verify
from edgecc.errors import ArtifactError, VerificationError
from edgecc.samples import in_order, read_arrays, write_arrays
from edgecc.targets.host import run_outputs

pytestmark = pytest.mark.tf

SAMPLES = 24


def _model(keras: Any, *, as_dicts: bool) -> Any:
    """Three inputs, one of them token ids, and two outputs, in an order that no sorting gives."""
    layers = keras.layers
    series, image = keras.Input((6, 2), name="series"), keras.Input((5, 5, 1), name="image")
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    x = layers.Conv2D(2, 3, activation="relu")(image)
    parts = [layers.Flatten()(x), layers.GRU(3)(series), layers.Flatten()(layers.Embedding(9, 2)(tokens))]
    x = layers.Concatenate()(parts)
    value = layers.Dense(1, name="value")(x)
    kind = layers.BatchNormalization(name="kind")(layers.Dense(3)(x))
    if as_dicts:
        return keras.Model({"tokens": tokens, "series": series, "image": image}, {"value": value, "kind": kind})
    return keras.Model([tokens, series, image], [value, kind])


def _samples() -> dict[str, Any]:
    random = np.random.default_rng(3)
    return {
        "image": random.normal(size=(SAMPLES, 5, 5, 1)).astype(np.float32),
        "tokens": random.integers(0, 9, (SAMPLES, 4)).astype(np.float32),
        "series": random.normal(size=(SAMPLES, 6, 2)).astype(np.float32),
    }


@pytest.mark.parametrize("as_dicts", [False, True])
@pytest.mark.parametrize("format", Format)
def test_the_road_from_a_model_to_a_verified_artifact(
    format: Format, as_dicts: bool, keras: Any, emit: Any, make_context: Any, tmp_path: Path
) -> None:
    model = _model(keras, as_dicts=as_dicts)
    inputs = ["image", "series", "tokens"] if as_dicts else ["tokens", "series", "image"]
    outputs = ["kind", "value"] if as_dicts else ["value", "kind"]
    emitted = emit(model, format)
    x, y = _samples(), {"value": np.zeros(SAMPLES), "kind": np.arange(SAMPLES) % 3}

    ran = run_outputs(emitted.path, format, in_order(x, inputs))
    assert [spec.name for spec in ran.inputs] == inputs
    assert [spec.name for spec in ran.outputs] == outputs
    answers = model(x, training=False)
    expected = [answers[name] for name in outputs] if as_dicts else answers
    for actual, wanted in zip(ran.values, expected, strict=True):
        np.testing.assert_allclose(actual, np.asarray(wanted), rtol=1e-4, atol=1e-5)

    write_arrays(tmp_path / "validation.npz", x=x, y=y)
    files = {
        "model": {"model.keras": tmp_path / "model.keras"},
        "data": {"validation.npz": tmp_path / "validation.npz"},
    }
    made = make_context({"model": {"builder": "models:build"}, "samples": 20}, files)
    assert reference(made) == {"samples": 20}
    options = {"format": format, "quantize": None, "min_agreement": 1.0, "variant": "float32"}
    files = {"reference": {"reference.npz": made.output_dir / "reference.npz"}, "artifact": {"artifact": emitted.path}}
    metrics = verify(make_context(options, files, run_outputs))
    assert metrics["by_output"]["kind"]["top1_agreement"] == metrics["top1_agreement"] == 1.0
    assert metrics["by_output"]["value"]["top1_agreement"] is None
    assert metrics["max_abs_error"] == max(each["max_abs_error"] for each in metrics["by_output"].values())
    assert [spec["name"] for spec in metrics["inputs"]] == inputs


def test_each_output_is_verified(keras: Any, emit: Any, make_context: Any, tmp_path: Path) -> None:
    model = _model(keras, as_dicts=False)
    emitted = emit(model, Format.ONNX)
    write_arrays(tmp_path / "validation.npz", x=_samples(), y=np.zeros(SAMPLES))
    files = {
        "model": {"model.keras": tmp_path / "model.keras"},
        "data": {"validation.npz": tmp_path / "validation.npz"},
    }
    made = make_context({"model": {"builder": "models:build"}, "samples": 20}, files)
    reference(made)
    groups = read_arrays(made.output_dir / "reference.npz")
    assert np.asarray(groups["classes"]).tolist() == [False, False]  # one array of labels tells nothing of two outputs
    value, kind = groups["outputs"]
    write_arrays(tmp_path / "reference.npz", x=groups["x"], outputs=[value, 1.01 * kind], classes=groups["classes"])
    options = {"format": "onnx", "quantize": None, "min_agreement": 1.0, "variant": "small"}
    files = {"reference": {"reference.npz": tmp_path / "reference.npz"}, "artifact": {"artifact": emitted.path}}
    with pytest.raises(VerificationError, match="small as onnx, output `kind`: expected the largest error"):
        verify(make_context(options, files, run_outputs))


def test_token_ids_that_are_no_integers_are_refused_by_the_runner(keras: Any, emit: Any) -> None:
    emitted = emit(_model(keras, as_dicts=False), Format.TFLITE)
    x = _samples() | {"tokens": np.full((SAMPLES, 4), 0.5, np.float32)}
    with pytest.raises(ArtifactError, match="input `tokens` takes int32; a sample holds values that int32 cannot"):
        run_outputs(emitted.path, Format.TFLITE, in_order(x, ["tokens", "series", "image"]))
