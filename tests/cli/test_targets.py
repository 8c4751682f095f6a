"""`edgecc targets`: which answer, and bringing them what they lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import BaseModel

from edgecc.cli.targets import targets
from edgecc.errors import ProjectError, TargetError
from edgecc.progress import Progress
from edgecc.results import Environment
from edgecc.targets import registry
from edgecc.targets.target import Target
from edgecc.targets.wire import RunReply, RunRequest

PROJECT = """
version = 1
name = "demo"
model = { path = "model.keras" }
data = { loader = "edgecc:digits" }
[variants.float32]
[targets.board]
kind = "board"
[targets.host]
kind = "x86_cpu"
"""
IS_SET_UP = False


class BoardOptions(BaseModel):
    pass


class Board(Target):
    kind = "board"
    Options = BoardOptions

    def __init__(self, name: str, options: Any) -> None:
        self.name = name

    def probe(self) -> Environment:
        if not IS_SET_UP:
            raise TargetError("no runtime", hint="edgecc targets --setup board")
        return Environment(
            os="Linux", machine="aarch64", cpu_model="Cortex-A72", cores=1, governor=None, accelerator=None,
            python="3.11", runtimes={"litert": "2.3.0"}, emulated=False,
        )  # fmt: skip

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        raise NotImplementedError

    def set_up(self, progress: Progress) -> None:
        global IS_SET_UP
        IS_SET_UP = True

    def clean_up(self) -> None:
        global IS_SET_UP
        IS_SET_UP = False


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "edgecc.toml").write_text(PROJECT)
    (tmp_path / "model.keras").write_bytes(b"")
    monkeypatch.setitem(registry.BUILT_IN, "board", "board:Board")
    monkeypatch.setattr(registry, "_loaded", lambda kind, place: Board if kind == "board" else LOADED(kind, place))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(targets, [str(tmp_path), *arguments], standalone_mode=False)

    return run


LOADED = registry._loaded


def test_set_up_asks_again_and_clean_up_takes_it_back(run: Any) -> None:
    before = run("--json")
    assert before.return_value == 3
    assert {each["name"]: each["reason"] for each in json.loads(before.stdout)} == {
        "board": "no runtime (edgecc targets --setup board)", "host": None,
    }  # fmt: skip
    after = run("--setup", "board", "--json")
    assert after.return_value == 0
    assert [each["name"] for each in json.loads(after.stdout)] == ["board"]
    assert "Cortex-A72, 1 core, litert 2.3.0" in run().stdout
    assert run("--clean-up", "board").return_value == 0
    assert run("--json").return_value == 3


def test_a_kind_that_needs_no_set_up_says_so(run: Any) -> None:
    for flag in ("--setup", "--clean-up"):
        error = run(flag, "host").exception
        assert isinstance(error, TargetError)
        assert "x86_cpu" in error.message


def test_an_unknown_name(run: Any) -> None:
    error = run("--setup", "bord").exception
    assert isinstance(error, ProjectError)
    assert "board" in str(error)


def test_both_at_once_is_a_mistake(run: Any) -> None:
    assert "got both" in str(run("--setup", "board", "--clean-up", "board").exception)
