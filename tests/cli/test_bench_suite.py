"""`edgecc bench SUITE`: a suite of real models from the shell."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from edgecc import __main__ as entrance
from edgecc.errors import ExitCode
from edgecc.results import Results

DATA = Path(__file__).parents[1] / "data"
SUITE = """
version = 1
name = "cnn"

[[artifacts]]
path = "float32.tflite"

[[artifacts]]
path = "int8.tflite"

[targets.host]
kind = "x86_cpu"

[settings.quick]
processes = 1
inferences = 3
"""


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run a verb in this process and give its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgecc", *arguments])
    with pytest.raises(SystemExit) as left:
        entrance.main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    shutil.copy(DATA / "cnn_float32.tflite", tmp_path / "float32.tflite")
    shutil.copy(DATA / "cnn_int8.tflite", tmp_path / "int8.tflite")
    file = tmp_path / "suite.toml"
    file.write_text(SUITE)
    return file


def test_from_a_row_without_numbers_to_a_whole_suite(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    int8 = suite.with_name("int8.tflite")
    content = int8.read_bytes()
    int8.write_bytes(b"no model")
    assert call(monkeypatch, "bench", str(suite)) == ExitCode.UNDECIDED
    said = capsys.readouterr().out
    assert "int8 (tflite) on host: refused: " in said
    assert said.endswith("2 rows: 1 measured, 1 without numbers\n")
    int8.write_bytes(content)
    assert call(monkeypatch, "bench", str(suite)) == ExitCode.PASSED
    assert capsys.readouterr().out.endswith("2 rows: 1 measured, 1 kept from before\n")
    assert call(monkeypatch, "bench", str(suite), "--json") == ExitCode.PASSED
    run = json.loads(capsys.readouterr().out)
    assert [(row["artifact"], row["target"], row["settings"], row["kept"]) for row in run["rows"]] == [
        ("float32", "host", "quick", True),
        ("int8", "host", "quick", True),
    ]
    for row in run["rows"]:
        (measured,) = Results.model_validate_json(Path(row["file"]).read_text()).rows
        assert [len(process.latencies_s) for process in measured.processes] == [3]
    assert call(monkeypatch, "bench", str(suite), "--again") == ExitCode.PASSED
    assert capsys.readouterr().out.endswith("2 rows: 2 measured\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "host"], "narrow a project"),
        (["--num-threads", "2"], "for a bare file"),
    ],
)
def test_flags_of_other_kinds_are_refused(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert call(monkeypatch, "bench", str(suite), *arguments) == ExitCode.FAILED
    assert said in capsys.readouterr().err
    assert not (suite.parent / "results").exists()


def test_again_is_for_suites(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "bench", str(DATA / "cnn_int8.tflite"), "--again") == ExitCode.FAILED
    assert "--again is for a suite" in capsys.readouterr().err


def test_faults_are_told_before_anything_is_measured(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite.write_text(SUITE.replace("inferences", "inference"))
    assert call(monkeypatch, "bench", str(suite)) == ExitCode.FAILED
    said = capsys.readouterr().err
    assert "has 1 fault:" in said
    assert "Did you mean `inferences`?" in said
    assert not (suite.parent / "results").exists()


def test_a_file_that_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.toml"
    file.write_text("version = 1\n")
    assert call(monkeypatch, "bench", str(file)) == ExitCode.FAILED
    assert "a project with [model], or a suite with [[artifacts]]; got neither" in capsys.readouterr().err
