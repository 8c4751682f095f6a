"""Copies of the example projects that a study may change and compile, each with an empty cache and home of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
IGNORED = shutil.ignore_patterns("build", "results", "report", ".edgecc", "__pycache__")


def copy_example(name: str, folder: Path) -> Path:
    """Copy an example without anything that was built."""
    return Path(shutil.copytree(EXAMPLES / name, folder / name, ignore=IGNORED))


def edit(project: Path, replace: str, by: str) -> None:
    """Change the project file; what is to be replaced must be there."""
    file = project / "edgecc.toml"
    text = file.read_text()
    assert replace in text, f"{file} has no {replace!r}"
    file.write_text(text.replace(replace, by))


def edgecc(*arguments: str | Path, home: Path, **variables: str) -> subprocess.Popen[str]:
    """Start a verb in a process of its own, with these environment variables too."""
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "edgecc", *map(str, arguments)],
        env={**os.environ, "HOME": str(home), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a verb that must succeed; its stdout."""
    stdout, stderr = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{process.args} left with {process.returncode}:\n{stderr}")
    return stdout


def artifact_digests(project: Path) -> dict[str, str]:
    """sha256 of every artifact, by path relative to the build folder."""
    build = project / "build"
    files = sorted(path for path in build.rglob("*") if path.suffix in {".tflite", ".onnx"})
    return {str(path.relative_to(build)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
