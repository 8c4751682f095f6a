"""Distil, prune and quantize real models, by the real command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format, Manifest, read_manifest
from edgecc.compiler.backend.sparsity import artifact_sparsity
from edgecc.errors import ExitCode
from edgecc.targets.host import run_outputs

pytestmark = [pytest.mark.tf, pytest.mark.dev]

VARIANTS = """
[variants.small]
formats = ["tflite"]
distill = { student = "models:cnn", hp = { filters = 12, deep = false }, epochs = 4, alpha = 0.5 }
prune = { method = "channel", sparsity = 0.5, epochs = 2, alpha = 0.5, importance = "batch_norm" }
quantize = { scheme = "int8", calibration = "mse", keep = ["dense"] }

[variants.sparse]
prune = { method = "magnitude", sparsity = 0.75, epochs = 2 }
quantize = "float16"

[emit]"""


@pytest.fixture
def project(quick_digits: Callable[[str], Path]) -> Path:
    """The digits example without tuning and with two compressed variants."""
    folder = quick_digits("digits")
    text = (folder / "edgecc.toml").read_text()
    tune, train = text.index("[tune]"), text.index("[train]")
    text = (text[:tune] + text[train:]).replace("\n[emit]", VARIANTS)
    (folder / "edgecc.toml").write_text(text)
    return folder


def manifest_of(project: Path, variant: str, format: str = "tflite") -> Manifest:
    return read_manifest(project / "build" / variant / f"digits.{format}")


def test_every_step_is_proved(edgecc: Callable[..., Any], project: Path) -> None:
    compiled = edgecc("compile", project)
    assert compiled.code == ExitCode.PASSED, compiled.err

    small = manifest_of(project, "small")
    assert [(step.kind, step.before_variant) for step in small.steps] == [
        ("distill", "float32"), ("prune", "small@distill"), ("quantize", "small@prune"),
    ]  # fmt: skip
    for before, after in zip(small.steps, small.steps[1:], strict=False):
        assert after.before == before.after
    sizes = [small.steps[0].before.size_bytes, *(step.after.size_bytes for step in small.steps)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == small.artifact.size_bytes
    for step in small.steps:
        assert step.lost is not None
        assert step.gained is not None
        assert step.after.score is not None
        assert step.before.score is not None
        right = round(step.after.samples * (step.after.score - step.before.score))
        assert step.gained - step.lost == right

    for format in Format:
        sparse = project / "build" / "sparse" / f"digits.{format}"
        assert artifact_sparsity(sparse, format) == pytest.approx(0.75, abs=0.02)
        assert manifest_of(project, "sparse", format).steps[0].after.sparsity == pytest.approx(0.75, abs=0.02)

    evaluation = np.load(project / "build" / "evaluation.npz")
    outputs = run_outputs(project / "build/small/digits.tflite", Format.TFLITE, (evaluation["x"],))
    assert [spec.dtype for spec in (*outputs.inputs, *outputs.outputs)] == ["int8", "int8"]

    linted = edgecc("lint", project)
    assert linted.code == ExitCode.PASSED, linted.out
    assert "kept by the recipe" in " ".join(linted.out.split())
    assert edgecc("compile", project).err.strip().endswith("nothing had changed")


def test_what_one_variant_cannot_do_costs_the_others_nothing(edgecc: Callable[..., Any], project: Path) -> None:
    text = (project / "edgecc.toml").read_text()
    wrong = text.replace('keep = ["dense"]', 'keep = ["dens"]')
    (project / "edgecc.toml").write_text(wrong)

    refused = edgecc("compile", project)

    assert refused.code == ExitCode.FAILED
    assert "did you mean `dense`?" in refused.err
    assert manifest_of(project, "float32").variant == "float32"
    assert "stage: quantize/small/tflite" in refused.err
    assert not (project / "build" / "small" / "digits.tflite").exists()
    assert manifest_of(project, "sparse").steps[1].kind == "quantize"  # it comes after the one that failed
