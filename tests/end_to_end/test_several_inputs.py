"""Models that are more than one array in and one out take the whole road."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgecc.artifact import read_manifest
from edgecc.errors import ExitCode

Edgecc = Callable[..., Any]
pytestmark = [pytest.mark.tf, pytest.mark.dev]

PROJECT = """
version = 1
name = "pair"
[model]
builder = "models:build"
[data]
loader = "my_data:load"
representative_samples = 50
[train]
epochs = 2
[variants.float32]
[emit]
formats = ["tflite", "onnx"]
[bench]
processes = 2
inferences = 70
[targets.host]
kind = "x86_cpu"
"""
TUNE = '[tune]\nmax_trials = 2\nepochs = 1\nobjective = "val_loss"\n'

TWO_DATA = """
import numpy as np

def split(samples, seed):
    random = np.random.default_rng(seed)
    x = {
        "signal": random.normal(size=(samples, 8, 2)).astype("float32"),
        "meta": random.normal(size=(samples, 3)).astype("float32"),
    }
    y = {"kind": (x["signal"][:, :, 0].mean(1) > 0).astype(int), "level": x["meta"].sum(1, keepdims=True)}
    return x, y

def load():
    return {"train": split(200, 0), "validation": split(120, 1), "test": split(80, 2)}
"""
TWO_MODELS = """
import keras

def build(hp):
    layers = keras.layers
    signal, meta = keras.Input((8, 2), name="signal"), keras.Input((3,), name="meta")
    x = layers.Bidirectional(layers.GRU(hp.Int("units", 3, 6)))(signal)
    x = layers.BatchNormalization()(layers.Dense(8)(layers.Concatenate()([x, meta])))
    kind = layers.Dense(2, activation="softmax", name="kind")(x)
    model = keras.Model([signal, meta], [layers.Dense(1, name="level")(x), kind])
    losses = {"kind": "sparse_categorical_crossentropy", "level": "mse"}
    model.compile("adam", loss=losses, metrics={"kind": ["accuracy"]})
    return model
"""

AUTOENCODER_DATA = """
import numpy as np

def split(samples, seed):
    random = np.random.default_rng(seed)
    x = (random.normal(size=(samples, 2)) @ np.random.default_rng(9).normal(size=(2, 12))).astype("float32")
    return x, x

def load():
    x, _ = split(80, 2)
    return {"train": split(200, 0), "validation": split(120, 1), "test": (x, np.arange(80) % 2)}
"""
AUTOENCODER_MODELS = """
import keras

def build(hp):
    layers = keras.layers
    stack = [keras.Input((12,)), layers.Dense(4, activation="relu"), layers.Dense(12)]
    model = keras.Sequential(stack)
    model.compile("adam", loss="mse")
    return model
"""


def _write(folder: Path, project: str, data: str, models: str) -> Path:
    folder.mkdir()
    for name, text in (("edgecc.toml", project), ("my_data.py", data), ("models.py", models)):
        (folder / name).write_text(text)
    return folder


def _rows(answer: Any) -> list[dict[str, Any]]:
    assert answer.code == ExitCode.PASSED, answer.err
    rows: list[dict[str, Any]] = json.loads(answer.out)["rows"]
    return rows


def test_two_inputs_and_two_outputs(edgecc: Edgecc, tmp_path: Path) -> None:
    project = _write(tmp_path / "pair", PROJECT + TUNE, TWO_DATA, TWO_MODELS)
    compiled = edgecc("compile", project)
    assert compiled.code == ExitCode.PASSED, compiled.err
    for format in ("tflite", "onnx"):
        manifest = read_manifest(project / f"build/float32/pair.{format}")
        assert [(spec.name, spec.shape) for spec in manifest.inputs] == [("signal", (1, 8, 2)), ("meta", (1, 3))]
        assert [spec.name for spec in manifest.outputs] == ["level", "kind"]
        assert manifest.stages[-1].metrics["by_output"]["kind"]["top1_agreement"] == 1.0

    rows = _rows(edgecc("bench", project, "--json"))
    assert [row["artifact"]["format"] for row in rows] == ["tflite", "onnx"]
    for row in rows:
        assert row["failure"] is None
        assert row["estimates"]["latency.p90"]["samples"] == 140
        assert row["unmeasured"]["accuracy"] in (
            "the labels are not classes", "a model with one output is needed; this one has 2",
        )  # fmt: skip

    # A bare file is fed the same samples, matched by name; a wrong name is a failure and no number.
    artifact = project / "build/float32/pair.onnx"
    [bare] = _rows(edgecc("bench", artifact, "--data", project / "build/evaluation.npz", "--json"))
    assert bare["failure"] is None
    np.savez(tmp_path / "wrong.npz", **{"x.signal": np.zeros((4, 8, 2)), "x.other": np.zeros((4, 3))})
    wrong = edgecc("bench", artifact, "--data", tmp_path / "wrong.npz", "--json")
    assert wrong.code == ExitCode.FAILED
    assert "expected samples for the inputs signal, meta; got signal, other" in wrong.out + wrong.err


QUANTIZED = "".join(
    f'[variants.{name}]\nquantize = "{name}"\nformats = ["onnx"]\n' for name in ("int8", "dynamic", "float16")
)


def test_a_dynamic_batch_in_every_scheme(edgecc: Edgecc, tmp_path: Path) -> None:
    text = PROJECT.replace('"onnx"]', '"onnx"]\ndynamic_batch = true') + QUANTIZED
    # Two epochs leave many samples between two classes, whatever the batch.
    text += '[verify]\nmin_agreement_quantized = "95 %"\n'
    project = _write(tmp_path / "pair", text, TWO_DATA, TWO_MODELS)
    compiled = edgecc("compile", project)
    assert compiled.code == ExitCode.PASSED, compiled.err
    assert read_manifest(project / "build/float32/pair.tflite").inputs[0].shape == (1, 8, 2)
    random = np.random.default_rng(3)
    feeds = {"signal": random.normal(size=(5, 8, 2)), "meta": random.normal(size=(5, 3))}
    feeds = {name: values.astype(np.float32) for name, values in feeds.items()}
    for variant in ("float32", "int8", "dynamic", "float16"):
        path = project / f"build/{variant}/pair.onnx"
        assert [spec.shape for spec in read_manifest(path).inputs] == [(-1, 8, 2), (-1, 3)]
        session = onnxruntime.InferenceSession(path)
        singles = [session.run(None, {name: x[i : i + 1] for name, x in feeds.items()}) for i in range(5)]
        for together, apart in zip(session.run(None, feeds), zip(*singles, strict=True), strict=True):
            # What `dynamic` quantizes activations by is the range of all that comes at once.
            tolerance = 0.05 if variant == "dynamic" else 1e-5
            np.testing.assert_allclose(together, np.concatenate(apart), atol=tolerance)

    rows = _rows(edgecc("bench", project, "--json"))
    assert len(rows) == 5
    assert not any(row["failure"] for row in rows)


def test_a_trained_h5_file_with_two_outputs(edgecc: Edgecc, tmp_path: Path) -> None:
    project = _write(tmp_path / "pair", PROJECT, TWO_DATA, TWO_MODELS)
    assert edgecc("compile", project).code == ExitCode.PASSED
    (trained,) = project.glob(".edgecc/cache/train-*/*/files/model.keras")
    expected = (project / "build/float32/pair.tflite").read_bytes()

    import keras

    keras.saving.load_model(trained, compile=False).save(tmp_path / "trained.h5")
    loaded = _write(
        tmp_path / "loaded", PROJECT.replace('builder = "models:build"', 'path = "trained.h5"'), TWO_DATA, ""
    )
    shutil.copy(tmp_path / "trained.h5", loaded)
    answer = edgecc("compile", loaded)
    assert answer.code == ExitCode.PASSED, answer.err
    assert (loaded / "build/float32/pair.tflite").read_bytes() == expected


def test_an_autoencoder_is_measured_without_accuracy(edgecc: Edgecc, tmp_path: Path) -> None:
    project = _write(tmp_path / "auto", PROJECT, AUTOENCODER_DATA, AUTOENCODER_MODELS)
    compiled = edgecc("compile", project)
    assert compiled.code == ExitCode.PASSED, compiled.err
    for row in _rows(edgecc("bench", project, "--json")):
        assert row["unmeasured"]["accuracy"] == "the labels are not classes"
        assert "latency.p50" in row["estimates"]
