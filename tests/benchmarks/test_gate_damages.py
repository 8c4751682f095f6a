"""Whatever is wrong with budgets, results, artifacts or baseline: never a pass, and the key or file is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.artifact import Format, Manifest, describe_file, manifest_path, write_manifest
from edgecc.benchmarks import results_store
from edgecc.errors import ExitCode
from edgecc.files import sha256_of_file
from edgecc.results import Results

PROJECT = """version = 1
name = "demo"
ship = ["int8"]
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
[variants.int8]
quantize = "int8"
[emit]
formats = ["tflite"]
[targets.gateway]
kind = "x86_cpu"
"""
BUDGETS = """
[[budgets]]
metric = "latency.p50"
max = "1 ms"
[[budgets]]
metric = "size"
max_regression = "1 %"
[[budgets]]
metric = "accuracy"
max_drop = "1 pp"
"""
Damage = Callable[[Path], object]


@pytest.fixture
def project(tmp_path: Path, make_results: Callable[..., Results]) -> Path:
    """A project that passes: built, measured, and with a baseline of the same bytes."""
    root = tmp_path / "demo"
    (root / "build").mkdir(parents=True)
    (root / "edgecc.toml").write_text(PROJECT + BUDGETS)
    folder = api.open_project(root)
    folder.evaluation.write_bytes(b"samples")
    rows = []
    for row in make_results().rows:
        path = folder.artifact(row.variant, Format.TFLITE)
        path.parent.mkdir()
        path.write_bytes(row.variant[0].encode() * (350 if row.variant == "int8" else 1000))
        artifact = describe_file(path).model_copy(update={"path": path.name})
        manifest = Manifest(
            project="demo", variant=row.variant, artifact=artifact, inputs=(), outputs=(),
            recipe=folder.project.variants[row.variant].recipe(), stages=(),
            evaluation_sha256=sha256_of_file(folder.evaluation), seed=0, tool_versions={}, git_commit=None,
        )  # fmt: skip
        write_manifest(path, manifest)
        rows.append(row.model_copy(update={"artifact": artifact, "target_kind": "x86_cpu"}))
    changes = {"rows": tuple(rows), "evaluation_sha256": sha256_of_file(folder.evaluation)}
    results_store.save(make_results().model_copy(update=changes), folder.results)
    api.set_baseline(root)
    return root


def gate(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["edgecc", "gate", str(project)])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as left:
        entrance.main()
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out + said.err


def toml(old: str, new: str) -> Damage:
    def change(project: Path) -> None:
        file = project / "edgecc.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    return change


def results(change: Callable[[Any], object]) -> Damage:
    """Change the last results as JSON; the int8 row is `rows[1]`."""

    def damage(project: Path) -> None:
        file = project / "results" / "latest.json"
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))

    return damage


def int8(**changes: Any) -> Damage:
    return results(lambda document: document["rows"][1].update(changes))


def estimate(metric: str, **changes: Any) -> Damage:
    return results(lambda document: document["rows"][1]["estimates"][metric].update(changes))


def removed(name: str) -> Damage:
    def remove(project: Path) -> None:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def written(name: str, content: bytes) -> Damage:
    return lambda project: (project / name).write_bytes(content)


def appended(name: str, content: bytes = b"x") -> Damage:
    return lambda project: (project / name).write_bytes((project / name).read_bytes() + content)


def failed(document: Any) -> None:
    document["rows"][1]["failure"] = {"kind": "crashed", "message": "SIGSEGV"}


ARTIFACT, MANIFEST = "build/int8/demo.tflite", "build/int8/demo.tflite.manifest.json"
FAILED, BROKEN, UNDECIDED = ExitCode.FAILED, ExitCode.BUDGET_BROKEN, ExitCode.UNDECIDED
DAMAGES: dict[str, tuple[Damage, ExitCode, str]] = {
    # budgets
    "a misspelt metric": (toml("latency.p50", "latncy.p50"), FAILED, "Did you mean `latency.p50`?"),
    "a misspelt key": (toml("max_drop", "max_dorp"), FAILED, "budgets[2].max_dorp"),
    "a limit without a unit": (toml('"1 ms"', '"1"'), FAILED, "budgets[0].max"),
    "a limit of another kind": (toml('"1 ms"', '"1 kB"'), FAILED, "budgets[0].max"),
    "a limit that is no number": (toml('"1 ms"', '"nan ms"'), FAILED, "budgets[0].max"),
    "an endless limit": (toml('"1 ms"', '"1e999 ms"'), FAILED, "budgets[0].max"),
    "a negative limit": (toml('"1 ms"', '"-1 ms"'), FAILED, "budgets[0].max"),
    "two limits": (toml('max = "1 ms"', 'max = "1 ms"\nmin = "1 us"'), FAILED, "budgets[0]"),
    "no limit": (toml('max = "1 ms"', ""), FAILED, "budgets[0]"),
    "the wrong side": (toml('max = "1 ms"', 'min = "1 ms"'), FAILED, "budgets[0]"),
    "percent for points": (toml('"1 pp"', '"1 %"'), FAILED, "budgets[2].max_drop"),
    "points for percent": (toml('max_regression = "1 %"', 'max_regression = "1 pp"'), FAILED, "max_regression"),
    "an unknown variant": (toml('max = "1 ms"', 'max = "1 ms"\nvariant = "int4"'), FAILED, "budgets[0].variant"),
    "an unknown target": (toml('max = "1 ms"', 'max = "1 ms"\ntarget = "pi"'), FAILED, "budgets[0].target"),
    "a format that is not emitted": (toml('max = "1 ms"', 'max = "1 ms"\nformat = "onnx"'), FAILED, "budgets[0]"),
    "an unknown reference": (toml('"1 pp"', '"1 pp"\nagainst = "float64"'), FAILED, "budgets[2].against"),
    "an unknown severity": (toml('"1 pp"', '"1 pp"\nseverity = "info"'), FAILED, "budgets[2].severity"),
    "nothing ships": (toml('ship = ["int8"]', "ship = []"), FAILED, "ship: expected at least one"),
    "no project file": (removed("edgecc.toml"), FAILED, "edgecc.toml"),
    "a project file that is not TOML": (written("edgecc.toml", b"version = = 1"), FAILED, "edgecc.toml"),
    # results
    "no results": (removed("results"), FAILED, "latest.json"),
    "empty results": (written("results/latest.json", b""), FAILED, "latest.json"),
    "cut results": (written("results/latest.json", b'{"schema_version": 1, "rows": ['), FAILED, "latest.json"),
    "deep results": (written("results/latest.json", b"[" * 100_000), FAILED, "latest.json"),
    "results of another version": (results(lambda d: d.update(schema_version=2)), FAILED, "schema_version"),
    "an unknown field": (results(lambda d: d.update(verdict="pass")), FAILED, "verdict"),
    "another project's results": (results(lambda d: d.update(project="other")), FAILED, "other"),
    "no rows": (results(lambda d: d.update(rows=[])), UNDECIDED, "not in the last results"),
    "a row twice": (results(lambda d: d["rows"].append(d["rows"][1])), UNDECIDED, "more than once"),
    "a failed row": (results(failed), UNDECIDED, "SIGSEGV"),
    "a value that is no number": (estimate("latency.p50", value=float("nan")), UNDECIDED, "latency.p50"),
    "a better value than was measured": (estimate("latency.p50", value=1e-9), UNDECIDED, "does not follow"),
    "an estimated value": (estimate("latency.p50", provenance="estimated"), UNDECIDED, "estimated"),
    "an emulated clock": (int8(emulated=True), UNDECIDED, "emulated"),
    "a smaller size than the file's": (estimate("size", value=1.0), UNDECIDED, "does not follow"),
    "an accuracy over 100 %": (estimate("accuracy", value=1.5), UNDECIDED, "does not follow"),
    "an accuracy of fewer samples": (estimate("accuracy", samples=99), UNDECIDED, "does not follow"),
    "another kind of target": (int8(target_kind="arm64_docker"), UNDECIDED, "arm64_docker"),
    "other options of the target": (int8(target_options={"num_threads": 4}), UNDECIDED, "target's keys"),
    "a target that did not answer": (int8(environment=None), UNDECIDED, "did not answer"),
    "an unmeasured metric": (results(lambda d: d["rows"][1]["estimates"].pop("latency.p50")), UNDECIDED, "latency.p50"),
    # artifacts
    "no artifact": (removed(ARTIFACT), UNDECIDED, "demo.tflite"),
    "a changed artifact": (appended(ARTIFACT), UNDECIDED, "sha256"),
    "no manifest": (removed(MANIFEST), UNDECIDED, "manifest.json"),
    "a damaged manifest": (written(MANIFEST, b"{}"), UNDECIDED, "manifest"),
    "another recipe": (toml('quantize = "int8"', 'quantize = "dynamic"'), UNDECIDED, "dynamic"),
    "another evaluation set": (appended("build/evaluation.npz"), UNDECIDED, "evaluation set"),
    "no evaluation set": (removed("build/evaluation.npz"), UNDECIDED, "evaluation set"),
    # the baseline
    "no baseline": (removed("baseline"), UNDECIDED, "edgecc baseline set"),
    "a changed file of the baseline": (appended("baseline/int8/demo.tflite"), FAILED, "baseline/int8/demo.tflite"),
    "changed results of the baseline": (appended("baseline/results.json", b" "), FAILED, "baseline/results.json"),
    "a missing file of the baseline": (removed("baseline/verdict.json"), FAILED, "baseline/verdict.json"),
    # and what is sound, and breaks a budget
    "a broken budget": (toml('"1 ms"', '"0.9 ms"'), BROKEN, "which breaks the budget"),
}


def test_intact_it_passes(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = gate(project, capsys, monkeypatch)
    assert (code, "3 passed" in said) == (ExitCode.PASSED, True)
    assert manifest_path(project / ARTIFACT) == project / MANIFEST


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_it_never_passes_and_says_why(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    damage, expected, named = DAMAGES[name]
    damage(project)
    code, said = gate(project, capsys, monkeypatch)
    assert (code, named in said) == (expected, True), said
    assert "Traceback" not in said
