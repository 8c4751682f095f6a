"""A baseline, a change, and the verdict on it: measured on this machine, without a compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from edgecc import api
from edgecc.artifact import Format, Manifest, describe_file, write_manifest
from edgecc.files import sha256_of_file
from edgecc.project import ProjectFolder
from edgecc.results import Status, Verdict

DATA = Path(__file__).parents[1] / "data"
PROJECT = """version = 1
name = "demo"
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
[emit]
formats = ["tflite"]
[bench]
processes = 1
inferences = 20
[targets.host]
kind = "x86_cpu"
[[budgets]]
metric = "size"
max = "4 kB"
[[budgets]]
metric = "latency.p50"
max_regression = "{limit} %"
"""


def build(folder: ProjectFolder, model: str) -> None:
    """Put a file of the test data where a compile would."""
    path = folder.artifact("float32", Format.TFLITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(DATA / model, path)
    manifest = Manifest(
        project="demo", variant="float32", artifact=describe_file(path).model_copy(update={"path": path.name}),
        inputs=(), outputs=(), recipe=folder.project.variants["float32"].recipe(), stages=(),
        evaluation_sha256=sha256_of_file(folder.evaluation), seed=0, tool_versions={}, git_commit=None,
    )  # fmt: skip
    write_manifest(path, manifest)


def verdict(root: Path) -> Verdict:
    [found] = [each for each in api.gate(root).verdicts if each.metric == "latency.p50"]
    return found


def test_from_a_baseline_to_a_verdict_on_a_change(tmp_path: Path) -> None:
    (tmp_path / "edgecc.toml").write_text(PROJECT.format(limit=50))
    folder = api.open_project(tmp_path)
    folder.build.mkdir()
    np.savez(folder.evaluation, x=np.random.default_rng(0).random((8, 8, 8, 1), np.float32), y=np.arange(8) % 10)
    build(folder, "cnn_float32.tflite")
    api.bench(tmp_path)
    assert verdict(tmp_path).status is Status.UNMEASURED
    baseline = api.set_baseline(tmp_path)

    results = api.bench(tmp_path)
    assert (results.paired, results.baseline_run_id) == ((), baseline.record.run_id)
    assert verdict(tmp_path).status is Status.PASS
    assert "byte for byte" in verdict(tmp_path).reason

    build(folder, "cnn_int8.tflite")
    [pair] = api.bench(tmp_path).paired
    assert {"latency.p50"} == set(pair.ratios)
    assert "processes of each side by side" in verdict(tmp_path).reason
    assert verdict(tmp_path).status is not Status.UNMEASURED

    shutil.rmtree(folder.baseline)
    assert verdict(tmp_path).status is Status.UNMEASURED
