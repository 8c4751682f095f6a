"""The command line: what goes where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.cli import edgecc
from edgecc.cli.schema import FILES
from edgecc.errors import EdgeccError, ExitCode


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a verb in this process and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgecc", *arguments])
    with pytest.raises(SystemExit) as left:
        entrance.main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_help_names_every_verb_with_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--help") == 0
    overview = capsys.readouterr().out
    for name in edgecc.commands:
        assert f"\n  {name} " in overview
        assert call(monkeypatch, name, "--help") == 0
        assert f"edgecc {name}" in capsys.readouterr().out.split("Example")[1]


def test_python_dash_m_is_the_same() -> None:
    answer = subprocess.run([sys.executable, "-m", "edgecc", "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("edgecc, version ")


@pytest.mark.parametrize(
    "arguments", [["no-such-verb"], ["run", "--no-such-flag"], ["bench", "m.onnx", "--shape", "a"]]
)
def test_usage_errors_exit_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert call(monkeypatch, *arguments) == ExitCode.FAILED
    assert capsys.readouterr().out == ""


def test_an_error_is_a_message_and_a_hint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(project: Path) -> None:
        raise EdgeccError("expected a horse; got a cow", hint="buy a horse")

    monkeypatch.setattr(api, "gate", fail)
    assert call(monkeypatch, "gate") == ExitCode.FAILED
    assert capsys.readouterr() == ("", "error: expected a horse; got a cow\nhint: buy a horse\n")


def test_the_stage_that_failed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(project: Path) -> None:
        error = EdgeccError("expected a horse; got a cow", hint="buy a horse")
        error.stage = "quantize/int8/tflite"
        raise error

    monkeypatch.setattr(api, "gate", fail)
    assert call(monkeypatch, "gate") == ExitCode.FAILED
    said = "error: expected a horse; got a cow\nstage: quantize/int8/tflite\nhint: buy a horse\n"
    assert capsys.readouterr() == ("", said)


def test_a_fault_of_edgeccs_own_is_never_taken_for_a_broken_budget(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(project: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(api, "gate", fail)
    assert call(monkeypatch, "gate") == ExitCode.FAILED
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_init_writes_a_good_project_and_nothing_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my project"
    assert call(monkeypatch, "init", str(folder)) == 0
    written = capsys.readouterr().out.split("\n")[:-1]
    assert sorted(Path(line).name for line in written) == [".gitignore", "edgecc.toml", "models.py", "my_data.py"]
    assert api.open_project(folder).project.name == "my-project"
    (folder / "models.py").unlink()
    assert call(monkeypatch, "init", str(folder)) == ExitCode.FAILED
    assert "is there already" in capsys.readouterr().err
    assert not (folder / "models.py").exists()


def test_the_schema_accepts_the_template_and_refuses_nonsense(tmp_path: Path) -> None:
    import tomllib

    api.init(tmp_path)
    schema = api.schemas()["project"]
    project = tomllib.loads((tmp_path / "edgecc.toml").read_text())
    jsonschema.validate(project, schema)
    project["targets"]["host"]["num_treads"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(project, schema)


def test_every_file_has_a_schema() -> None:
    assert set(FILES) == set(api.schemas())


@pytest.mark.parametrize("file", FILES)
def test_schemas_are_json(file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "schema", file) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_narrowing_to_a_name_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.init(tmp_path)
    assert call(monkeypatch, "compile", str(tmp_path), "--variant", "int9") == ExitCode.FAILED
    assert "Did you mean `int8`?" in capsys.readouterr().err


def test_clean_removes_what_edgecc_wrote_and_nothing_else(tmp_path: Path) -> None:
    api.init(tmp_path)
    written = ("build/int8/mine.tflite", "build/int8/mine.tflite.manifest.json", "build/evaluation.npz", ".edgecc/x")
    measured = ("results/latest.json", "report/index.html")
    users = ("build/Makefile", "report/notes.txt")
    for name in (*written, *measured, *users):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    api.clean(tmp_path)
    assert [name for name in (*written, *measured, *users) if (tmp_path / name).exists()] == [*measured, *users]
    assert not (tmp_path / "build/int8").exists()
    api.clean(tmp_path, results=True)
    assert [name for name in (*measured, *users) if (tmp_path / name).exists()] == [*users]
    assert not (tmp_path / "results").exists()
    assert api.open_project(tmp_path)
