"""What a user may get wrong: one clear message, no traceback, the right exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc import api
from edgecc.errors import ExitCode

Edgecc = Callable[..., Any]
DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("model.h5", b"x", "ends in .tflite, .onnx"),
        ("gone.onnx", None, "no such file"),
        ("empty.tflite", b"", "is empty"),
        ("noise.tflite", b"not a model at all" * 10, "not a valid Flatbuffer"),
        ("noise.onnx", b"not a model at all" * 10, "INVALID_PROTOBUF"),
        ("cut.tflite", (DATA / "cnn_int8.tflite").read_bytes()[:1000], "not a valid Flatbuffer"),
    ],
)
def test_files_that_are_no_models(edgecc: Edgecc, tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    answer = edgecc("bench", file)
    assert answer.code == ExitCode.FAILED
    assert says in answer.err


def test_a_project_that_was_not_compiled(edgecc: Edgecc, tmp_path: Path) -> None:
    api.init(tmp_path / "mine")
    for verb, says in (("bench", "edgecc compile"), ("gate", "edgecc bench"), ("report", "edgecc bench")):
        answer = edgecc(verb, tmp_path / "mine")
        assert answer.code == ExitCode.FAILED
        assert f"hint: {says}" in answer.err


def test_no_tensorflow_when_a_stage_needs_it(edgecc: Edgecc, tmp_path: Path) -> None:
    api.init(tmp_path / "mine")
    blocked = tmp_path / "blocked"
    for library in ("tensorflow", "keras"):
        (blocked / library).mkdir(parents=True)
        (blocked / library / "__init__.py").write_text(f"raise ModuleNotFoundError('blocked', name={library!r})")
    answer = edgecc("compile", tmp_path / "mine", PYTHONPATH=str(blocked))
    assert answer.code == ExitCode.FAILED
    assert "which is not installed" in answer.err
    assert "pip install 'edgecc[compile]'" in answer.err


def test_a_folder_that_cannot_be_written(edgecc: Edgecc, tmp_path: Path) -> None:
    api.init(tmp_path / "mine")
    (tmp_path / "mine/.edgecc").write_text("a file where a folder should be")
    answer = edgecc("compile", tmp_path / "mine")
    assert answer.code == ExitCode.FAILED
    assert "cannot write to" in answer.err


def test_a_loader_that_is_wrong_stops_before_tensorflow(edgecc: Edgecc, tmp_path: Path) -> None:
    project = tmp_path / "mine"
    api.init(project)
    text = (project / "my_data.py").read_text().replace('"test": (x[2500:]', '"test": (x[1500:]')
    (project / "my_data.py").write_text(text.replace("y[2500:]", "y[1500:]"))
    answer = edgecc("compile", project)
    assert answer.code == ExitCode.FAILED
    assert "allow_overlap" in answer.err
