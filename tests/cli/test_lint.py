"""`edgecc lint`: what goes where, and with which exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.artifact import Format, Manifest, describe_file, write_manifest
from edgecc.compiler.backend.lint import runtime
from edgecc.errors import ArtifactError, ExitCode
from edgecc.project import ProjectFolder

DATA = Path(__file__).parents[1] / "data"
FLOAT32, INT8 = str(DATA / "cnn_float32.tflite"), str(DATA / "cnn_int8.tflite")


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that takes every operator."""
    monkeypatch.setattr(runtime, "undelegated", lambda path: [])


@pytest.fixture
def lint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the verb in this process, 80 columns wide: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgecc", "lint", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            entrance.main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return run


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    """A new project in whose build folder a float32 and an int8 artifact lie with their manifests."""
    api.init(tmp_path)
    folder = api.open_project(tmp_path)
    for variant, source in (("float32", FLOAT32), ("int8", INT8)):
        publish(folder, variant, source)
    return folder


def publish(folder: ProjectFolder, variant: str, source: str) -> None:
    path = folder.artifact(variant, Format.TFLITE)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)
    manifest = Manifest(
        project=folder.project.name,
        variant=variant,
        artifact=describe_file(path).model_copy(update={"path": path.name}),
        inputs=(),
        outputs=(),
        recipe=folder.project.variants[variant].recipe(),
        stages=(),
        evaluation_sha256="0" * 64,
        seed=0,
        tool_versions={},
        git_commit=None,
    )
    write_manifest(path, manifest)


def test_a_clean_project_exits_0(project: ProjectFolder, lint: Any) -> None:
    code, out, err = lint(project.root)
    assert (code, err) == (ExitCode.PASSED, "")
    assert [line.strip() for line in out.splitlines()].count("clean") == 2
    assert out.endswith("nothing found in 2 files\n")
    assert [" ".join(out.split()).count(f"said to be {scheme}") for scheme in ("float32", "int8")] == [1, 1]


def test_the_manifest_says_what_a_projects_artifact_claims(project: ProjectFolder, lint: Any) -> None:
    publish(project, "int8", FLOAT32)
    code, out, _ = lint(project.root)
    assert code == 1
    assert out.count("computes in float32") == 3
    assert "float-edge" in out
    assert out.endswith("5 errors in 2 files\n")
    assert lint(project.root, "--variant", "float32")[0] == 0
    assert lint(project.artifact("int8", Format.TFLITE))[0] == 1


def test_an_artifact_that_was_changed_is_refused(project: ProjectFolder, lint: Any) -> None:
    shutil.copy(FLOAT32, project.artifact("int8", Format.TFLITE))
    for argument in (project.root, project.artifact("int8", Format.TFLITE)):
        code, out, err = lint(argument)
        assert (code, out) == (ExitCode.FAILED, "")
        assert "the file was changed" in err


def test_a_project_that_is_not_compiled_is_an_error(tmp_path: Path, lint: Any) -> None:
    api.init(tmp_path)
    code, _, err = lint(tmp_path)
    assert code == ExitCode.FAILED
    assert "hint: edgecc compile" in err


def test_a_bare_file_claims_what_the_flag_says(lint: Any) -> None:
    assert lint(INT8, "--claims", "int8")[0] == 0
    assert lint(INT8, "--claims", "float32")[0] == 1
    code, out, _ = lint(INT8, FLOAT32, "--claims", "int8")
    assert code == 1
    assert out.endswith("5 errors in 2 files\n")


def test_without_a_claim_it_says_what_was_not_checked(lint: Any) -> None:
    code, out, _ = lint(FLOAT32)
    assert code == 0
    said = " ".join(out.split())
    assert "nobody says what it is" in said
    assert "without --claims, not checked: float-compute, integer-compute, activation-width, weight-dtype" in said


def test_text_fits_80_columns_and_names_everything(lint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SMALL", 0)
    monkeypatch.setattr(runtime, "undelegated", lambda path: [0, 1, 2])
    _, out, _ = lint(FLOAT32, "--claims", "int8")
    assert max(map(len, out.splitlines())) <= 80
    said = " ".join(out.split())
    assert "error float-compute: expected int8 throughout • CONV_2D `Relu;…` computes in float32" in said
    assert "→ convert with integer inputs and outputs: some devices have no floats" in said
    assert "warning not-accelerated: expected operators that XNNPACK takes" in said
    assert out.endswith("5 errors, 3 warnings in 1 file\n")


def test_long_lists_are_cut_in_text_and_whole_in_json(lint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "undelegated", lambda path: [0, 1, 2] * 3)
    assert "and 4 more; --json lists them all" in lint(INT8)[1]
    (file,) = json.loads(lint(INT8, "--json")[1])["files"]
    assert len(file["findings"]) == 9


def test_json_has_the_published_shape(lint: Any) -> None:
    code, out, _ = lint(FLOAT32, INT8, "--claims", "int8", "--json")
    assert code == 1
    report = json.loads(out)
    jsonschema.validate(report, api.schemas()["lint"])
    first, second = report["files"]
    assert first["claims"] == {"scheme": "int8", "kept": []}
    assert first["findings"][-1] == {
        "rule": "float-edge",
        "severity": "error",
        "subject": "output `Identity`",
        "found": "is float32",
        "expected": "integer inputs and outputs",
        "advice": "convert with integer inputs and outputs: some devices have no floats",
    }
    assert (second["findings"], second["unchecked"], second["format"]) == ([], [], "tflite")
    assert second["sha256"] == describe_file(Path(INT8)).sha256


def test_json_without_a_claim_says_what_was_not_checked(lint: Any) -> None:
    (file,) = json.loads(lint(INT8, "--json")[1])["files"]
    assert file["claims"] is None
    assert "float-compute" in file["unchecked"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([INT8, "--variant", "int8"], "narrow a project"),
        ([".", "--claims", "int8"], "for bare files"),
        ([INT8, "."], "one project, or model files only"),
        ([INT8, "--claims", "int9"], "int9"),
        (["missing.tflite"], "no such file"),
    ],
)
def test_wrong_usage_and_input_exit_2(lint: Any, arguments: list[str], message: str) -> None:
    code, out, err = lint(*arguments)
    assert (code, out) == (ExitCode.FAILED, "")
    assert message in err


def test_a_file_that_is_no_model_exits_2(tmp_path: Path, lint: Any) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(Path(INT8).read_bytes()[:300])
    assert lint(path)[0] == ExitCode.FAILED
    (tmp_path / "notes.txt").write_text("a model?")
    with pytest.raises(ArtifactError, match="expected a file that ends in"):
        api.lint_files([tmp_path / "notes.txt"])


def test_it_needs_no_tensorflow() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorflow', 'keras', 'onnx')))\n"
        f"import edgecc; print(edgecc.lint_files([{INT8!r}], claims='int8').is_clean)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "True\n"
