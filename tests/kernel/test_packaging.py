"""The folders at the root are the package's parts, and nothing is left out of the wheel."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("compiler", "targets", "benchmarks")


@pytest.mark.dev
def test_links_resolve_to_the_root_folders() -> None:
    for part in PARTS:
        assert (ROOT / "src/edgecc" / part).resolve() == ROOT / part


@pytest.mark.dev
def test_every_package_on_disk_is_in_the_wheel() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {_package(file.parent) for folder in ("src", *PARTS) for file in (ROOT / folder).rglob("__init__.py")}
    assert listed == found


def _package(folder: Path) -> str:
    relative = folder.relative_to(ROOT)
    return ".".join(relative.parts[1:] if relative.parts[0] == "src" else ("edgecc", *relative.parts))


@pytest.mark.parametrize("module", ["edgecc", "edgecc.cli", "edgecc.api", "edgecc.targets.runner"])
def test_importing_is_light(module: str) -> None:
    """`--help` must be quick, and nothing without a stage may need TensorFlow."""
    heavy = ("tensorflow", "keras", "matplotlib", "onnxruntime", "ai_edge_litert", "onnx", "sklearn")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_unknown_names_are_attribute_errors() -> None:
    import edgecc

    with pytest.raises(AttributeError, match="no attribute 'compil'"):
        _ = edgecc.compil  # type: ignore[attr-defined]
