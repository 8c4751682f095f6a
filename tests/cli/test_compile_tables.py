"""What `edgecc compile` prints of steps and layers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.artifact import Artifact, Figures, Format, Manifest, StageRecord, StepRecord
from edgecc.compiler.compile import Compilation
from edgecc.compiler.publish import Compiled

PROJECT = """
version = 1
name = "demo"
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
[variants.int8]
quantize = "int8"
"""
LAYERS = [
    {"layer": layer, "operator": "CONV_2D", "sqnr_db": sqnr_db, "cosine": 0.99, "kept": False}
    for layer, sqnr_db in (("conv1", 30.0), ("conv2", 10.0), ("conv3", 20.0), ("conv4", 40.0))
]


LEFT_WHOLE = {"head": "an output of the model", "stem": "excluded", "conv": "read by `odd`: cannot be followed"}


def compiled(variant: str, steps: tuple[StepRecord, ...] = (), *stages: StageRecord) -> Compiled:
    artifact = Artifact(path="demo.tflite", format=Format.TFLITE, sha256="a" * 64, size_bytes=47_300)
    verify = stage(f"verify/{variant}/tflite", top1_agreement=0.99, max_abs_error=0.1, samples=360)
    manifest = Manifest(
        project="demo", variant=variant, artifact=artifact, inputs=(), outputs=(), recipe={}, steps=steps,
        stages=(*stages, verify), evaluation_sha256="e" * 64, seed=0, tool_versions={}, git_commit=None,
    )  # fmt: skip
    return Compiled(variant, Format.TFLITE, Path("demo.tflite"), manifest, findings=())


def stage(name: str, **metrics: Any) -> StageRecord:
    return StageRecord(name=name, options={}, inputs={}, outputs={}, duration_s=1, metrics=metrics)


def test_steps_and_the_three_worst_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edgecc.toml").write_text(PROJECT)
    before, after = (
        Figures(size_bytes=size, compressed_bytes=size, sparsity=0, score=0.9, samples=360) for size in (47_300, 13_200)
    )
    step = StepRecord(
        kind="quantize", before_variant="small@base", before=before, after=after, lost=1, gained=1, p_value=1.0
    )
    stages = stage("prune/int8", left_whole=LEFT_WHOLE), stage("quantize/int8/tflite", layers=LAYERS)
    artifacts = compiled("float32"), compiled("int8", (step,), *stages), compiled("small@base")
    monkeypatch.setattr(api, "compile", lambda *_args, **_named: Compilation(artifacts, ("emit/int8/tflite",)))
    monkeypatch.setattr(sys, "argv", ["edgecc", "compile", str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        entrance.main()
    printed = capsys.readouterr()
    assert left.value.code == 0
    artifacts_table, _, rest = printed.out.partition("step ")
    assert "small@base" not in artifacts_table
    assert all(text in rest for text in ("small@base", "→int8", "13.2 kB", "p = 1", "smaller"))
    assert "int8 (tflite): the layers with the largest error: conv2 10.0 dB, conv3 20.0 dB, conv1 30.0 dB\n" in rest
    assert "prune: int8: left whole: `conv` (read by `odd`: cannot be followed)\n" in rest
    assert "1 stages ran" in printed.err
