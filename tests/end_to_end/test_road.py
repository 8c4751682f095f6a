"""The whole road, from a Keras model to a verdict, on real data and with the real runtimes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.artifact import read_manifest
from edgecc.errors import ExitCode

Project = Callable[[str], Path]
Edgecc = Callable[..., Any]
pytestmark = [pytest.mark.tf, pytest.mark.dev]


def edit(project: Path, replace: str, by: str) -> None:
    text = (project / "edgecc.toml").read_text()
    assert replace in text
    (project / "edgecc.toml").write_text(text.replace(replace, by))


def artifact_digests(project: Path) -> dict[str, str]:
    files = [path for path in (project / "build").rglob("*") if path.suffix in {".tflite", ".onnx"}]
    return {path.name + path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_project_that_init_writes_runs_and_its_budgets_bite(edgecc: Edgecc, tmp_path: Path) -> None:
    project = tmp_path / "mine"
    assert edgecc("init", project).code == 0

    passed = edgecc("run", project)
    assert passed.code == ExitCode.PASSED, passed.err
    assert re.search(r"int8 +tflite .* pass", passed.out)
    for file in ("index.html", "summary.md", "junit.xml", "verdict.json"):
        assert (project / "report" / file).stat().st_size > 0

    # Nothing changed: no stage runs, and TensorFlow is not even imported.
    (tmp_path / "no_tf" / "tensorflow").mkdir(parents=True)
    (tmp_path / "no_tf/tensorflow/__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    again = edgecc("compile", project, PYTHONPATH=str(tmp_path / "no_tf"))
    assert (again.code, again.err.strip()[-19:]) == (0, "nothing had changed")

    # A budget that the model breaks exits 1; one that was not measured exits 3.
    edit(project, 'max = "100 kB"', 'max = "1 kB"')
    broken = edgecc("gate", project)
    assert broken.code == ExitCode.BUDGET_BROKEN
    assert "which breaks the budget of at most 1 kB" in broken.out
    edit(project, 'max = "1 kB"', 'max = "100 kB"')
    artifact = project / "build/int8/mine.tflite"
    artifact.write_bytes(artifact.read_bytes() + b"\0")
    foreign = edgecc("gate", project, "--json")
    assert foreign.code == ExitCode.UNDECIDED
    assert {verdict["status"] for verdict in json.loads(foreign.out)["verdicts"]} == {"unmeasured"}
    assert edgecc("bench", project).code == ExitCode.FAILED  # the manifest speaks of another file
    assert edgecc("run", project).code == ExitCode.PASSED  # and compile puts the right one back


def test_two_clean_compiles_are_byte_identical_and_a_third_that_was_killed_too(
    edgecc: Edgecc, quick_digits: Project, tmp_path: Path
) -> None:
    first = quick_digits("first")
    assert edgecc("compile", first, HOME=str(tmp_path), PYTHONHASHSEED="1").code == 0
    expected = artifact_digests(first)
    assert len(expected) == 3

    second = quick_digits("second")
    victim = subprocess.Popen([sys.executable, "-m", "edgecc", "compile", str(second)], stderr=subprocess.DEVNULL)
    while not list(second.glob(".edgecc/cache/tune-*/**/trials/0.json")):
        assert victim.poll() is None, "it ended before its first trial did"
        time.sleep(0.02)
    victim.kill()
    assert victim.wait() == -signal.SIGKILL
    assert edgecc("compile", second, PYTHONHASHSEED="2").code == 0
    assert artifact_digests(second) == expected

    # Batch normalisation is gone from what ships, and the manifest says how it was checked.
    for variant, format in (("float32", "tflite"), ("float32", "onnx"), ("int8", "tflite")):
        manifest = read_manifest(first / f"build/{variant}/digits.{format}")
        emitted = next(stage for stage in manifest.stages if stage.name.startswith("emit/"))
        assert emitted.metrics["batch_norms_folded"] >= 2
        assert emitted.metrics["unfolded_in_artifact"] == []
        assert manifest.stages[-1].metrics["samples"] == 360

    # A trained file takes the same road without being trained, and bare files take it without a project.
    (model,) = first.glob(".edgecc/cache/train-*/*/files/model.keras")
    third = quick_digits("third")
    shutil.copy(model, third)
    edit(third, 'builder = "models:cnn"', 'path = "model.keras"')
    edit(third, 'min = "97 %"', 'min = "50 %"')
    ran = edgecc("run", third)
    assert ran.code == ExitCode.PASSED, ran.out + ran.err
    assert artifact_digests(third) == expected
    bare = edgecc("bench", third / "build/int8/digits.tflite", "--data", third / "build/evaluation.npz", "--json")
    row = json.loads(bare.out)["rows"][0]
    assert row["estimates"]["accuracy"]["samples"] == 359
    assert row["estimates"]["latency.p90"]["samples"] == 1000


def test_a_model_twice_as_wide_breaks_the_digits_budgets(edgecc: Edgecc, quick_digits: Project) -> None:
    project = quick_digits("wide")
    models = project / "models.py"
    text = models.read_text()
    assert "filters = hp.Int(" in text
    models.write_text(text.replace("filters = hp.Int(", "filters = 2 * hp.Int("))
    answer = edgecc("run", project, "--json")
    assert answer.code == ExitCode.BUDGET_BROKEN, answer.err
    size = next(each for each in json.loads(answer.out)["verdict"]["verdicts"] if each["metric"] == "size")
    assert (size["status"], size["limit"]) == ("fail", "at most 24 kB")
