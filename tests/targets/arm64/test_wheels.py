from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

import pytest

from edgecc.errors import TargetError
from edgecc.targets.arm64 import wheels


def test_the_runtimes_are_those_installed_here() -> None:
    sites = wheels.requirements()
    assert f"ai-edge-litert=={version('ai-edge-litert')}" in sites["litert"]
    assert f"onnxruntime=={version('onnxruntime')}" in sites["litert"]
    assert sites["tflite_runtime"] == ["tflite-runtime==2.14.0", "numpy==1.26.4"]


@pytest.fixture
def without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder on the PATH in which uv would be."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_neither_pip_nor_uv(without_pip: Path) -> None:
    lack = wheels.installer_lack()
    assert lack is not None
    assert lack.what == "neither pip nor uv is there to get the ARM64 wheels"


def test_uv_is_told_the_machine(without_pip: Path, tmp_path: Path) -> None:
    uv = without_pip / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    uv.chmod(0o755)
    assert wheels.installer_lack() is None
    wheels.install_wheels(tmp_path / "site")
    first, second = (tmp_path / "said").read_text().splitlines()
    assert "--python-platform aarch64-manylinux_2_34 --python-version 3.11" in first
    assert f"--target {tmp_path}/site/litert ai-edge-litert==" in first
    assert f"--target {tmp_path}/site/tflite_runtime tflite-runtime==2.14.0 numpy==1.26.4" in second


def test_an_installer_that_fails(without_pip: Path, tmp_path: Path) -> None:
    uv = without_pip / "uv"
    uv.write_text("#!/bin/sh\necho 'error: no such wheel' >&2\necho 'a note' >&2\nexit 2\n")
    uv.chmod(0o755)
    with pytest.raises(TargetError, match="the ARM64 wheels cannot be got: error: no such wheel"):
        wheels.install_wheels(tmp_path)


def test_pip_finds_no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheels, "requirements", lambda: {"litert": ["no-such-package==1"]})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(TargetError, match="cannot be got: ERROR: No matching distribution found for no-such-package"):
        wheels.install_wheels(tmp_path / "site")
