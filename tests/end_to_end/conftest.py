"""Real projects, run by the real command line in processes of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Answer:
    """What a verb answered."""

    code: int
    out: str
    err: str


Edgecc = Callable[..., Answer]


@pytest.fixture
def edgecc(tmp_path: Path) -> Edgecc:
    """Runs a verb with a home of its own."""

    def run(*arguments: str | Path, **variables: str) -> Answer:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        ran = subprocess.run(
            [sys.executable, "-m", "edgecc", *map(str, arguments)],
            env={**os.environ, "HOME": str(home), **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in ran.stderr
        return Answer(ran.returncode, ran.stdout, ran.stderr)

    return run


def edit(project: Path, replace: str, by: str, file: str = "edgecc.toml") -> None:
    """Change a project's file; what is to be replaced must be there."""
    text = (project / file).read_text()
    assert replace in text
    (project / file).write_text(text.replace(replace, by))


@pytest.fixture
def quick_digits(tmp_path: Path) -> Callable[[str], Path]:
    """Copies of the digits example that train for a moment only."""

    def copy(name: str) -> Path:
        ignored = shutil.ignore_patterns("build", "results", "report", ".edgecc", "__pycache__")
        project = Path(shutil.copytree(EXAMPLES / "digits", tmp_path / name, ignore=ignored))
        edit(project, "max_trials = 8\nepochs = 8", "max_trials = 2\nepochs = 1")
        edit(project, "epochs = 40", "epochs = 4\n")
        return project

    return copy
