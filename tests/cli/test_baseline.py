"""`edgecc baseline`: a project on disk, from the last results to a folder that is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.artifact import Format, Manifest, describe_file, write_manifest
from edgecc.benchmarks import results_store
from edgecc.benchmarks.statistics import memory, timings
from edgecc.errors import ExitCode
from edgecc.files import sha256_of_file
from edgecc.project import ProjectFolder
from edgecc.results import Environment, Estimate, ProcessSample, Provenance, Results, Row

ENVIRONMENT = Environment(
    os="Linux 6.1", machine="x86_64", cpu_model="Fake CPU", cores=4, governor=None, accelerator=None, python="3.11.7",
    runtimes={"litert": "2.3.0"}, emulated=False,
)  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a verb in this process and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgecc", *arguments])
    with pytest.raises(SystemExit) as left:
        entrance.main()
    assert isinstance(left.value.code, int)
    return left.value.code


def built(folder: ProjectFolder, variant: str) -> Manifest:
    path = folder.artifact(variant, Format.TFLITE)
    path.parent.mkdir(parents=True)
    path.write_bytes(variant.encode() * 100)
    manifest = Manifest(
        project=folder.project.name, variant=variant,
        artifact=describe_file(path).model_copy(update={"path": path.name}), inputs=(), outputs=(),
        recipe=folder.project.variants[variant].recipe(), stages=(),
        evaluation_sha256=sha256_of_file(folder.evaluation), seed=0, tool_versions={}, git_commit=COMMIT,
    )  # fmt: skip
    write_manifest(path, manifest)
    return manifest


def measured(manifest: Manifest, *, latency_s: float) -> Row:
    process = ProcessSample(
        latencies_s=(latency_s,) * 100, warmups=10, load_cold_s=0.004, load_warm_s=0.002, memory_peak_bytes=2_000_000
    )
    own = {
        "size": Estimate(value=manifest.artifact.size_bytes, samples=1),
        "accuracy": Estimate(value=0.96, samples=100),
    }
    derived = timings([process], Provenance.MEASURED) | memory([process], Provenance.MEASURED)
    return Row(
        variant=manifest.variant, artifact=manifest.artifact, target="host", target_kind="x86_cpu",
        target_options={"num_threads": 1}, emulated=False, environment=ENVIRONMENT,
        runtime="litert", num_threads=1, processes=(process,),
        predictions=(0,) * 96 + (1,) * 4,
        estimates=own | {name: value for name, value in derived.items() if isinstance(value, Estimate)},
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    """The project that `edgecc init` writes, as if it were built and measured."""
    root = tmp_path / "demo"
    api.init(root)
    folder = api.open_project(root)
    folder.build.mkdir()
    folder.evaluation.write_bytes(b"samples")
    rows = tuple(measured(built(folder, variant), latency_s=0.0012) for variant in folder.project.variants)
    results = Results(
        run_id="20261124T073512Z-0a1b2c", project="demo", started_at="2026-11-24T07:35:12+00:00", duration_s=12.5,
        edgecc_version="0.1.0", git_commit=COMMIT, evaluation_sha256=sha256_of_file(folder.evaluation),
        evaluation_samples=100, reference_variant="float32", rows=rows,
    )  # fmt: skip
    results_store.save(results, folder.results)
    return folder


def test_set_then_show(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "baseline", "set", str(project.root)) == ExitCode.PASSED
    said = capsys.readouterr()
    assert said.out == f"{project.baseline}\n"
    assert "commit this folder" in said.err
    assert call(monkeypatch, "baseline", "show", str(project.root)) == ExitCode.PASSED
    table = capsys.readouterr().out
    line = next(line for line in table.splitlines() if line.startswith("int8"))
    assert line.split() == [
        "int8",
        "tflite",
        "400",
        "B",
        "1.20",
        "ms",
        "1.20",
        "ms",
        "96.00",
        "%",
        "+0.00",
        "pp",
        "pass",
    ]
    assert "run 20261124T073512Z-0a1b2c, commit 0123456789ab, baseline since 20" in table


def test_json_holds_all_of_it(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = api.set_baseline(project)
    assert call(monkeypatch, "baseline", "show", str(project.root), "--json") == ExitCode.PASSED
    document = json.loads(capsys.readouterr().out)
    assert document["baseline"] == made.record.model_dump(mode="json")
    assert document["results"] == made.results.model_dump(mode="json")
    assert document["verdict"] == made.judgement.model_dump(mode="json")


def test_there_is_none_yet(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "baseline", "show", str(project.root)) == ExitCode.FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert "there is no baseline yet\nhint: edgecc baseline set" in said.err


def test_what_did_not_pass_exits_2_with_the_reason(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = project.file.read_text()
    assert '"5 ms"' in file
    project.file.write_text(file.replace('"5 ms"', '"1 ms"'))
    assert call(monkeypatch, "baseline", "set", str(project.root)) == ExitCode.FAILED
    said = capsys.readouterr()
    assert said.out == ""
    assert "latency.p90 1.20 ms, which breaks the budget of at most 1 ms" in said.err
    assert not project.baseline.exists()


@pytest.mark.parametrize("verb", ["set", "show"])
def test_a_damaged_baseline_exits_2(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    made = api.set_baseline(project)
    artifact = made.artifact("int8", Format.TFLITE)
    assert artifact is not None
    Path(artifact.path).write_bytes(b"x")
    assert call(monkeypatch, "baseline", verb, str(project.root)) == ExitCode.FAILED
    assert "int8/demo.tflite: its sha256 is not the one in baseline.json" in capsys.readouterr().err


def test_each_verb_has_help_with_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("set", "show"):
        assert call(monkeypatch, "baseline", verb, "--help") == ExitCode.PASSED
        assert f"edgecc baseline {verb}" in capsys.readouterr().out.split("Example")[1]


def test_no_verb_at_all_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "baseline") == ExitCode.FAILED
    assert capsys.readouterr().out == ""
