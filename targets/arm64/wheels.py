"""The runtimes' wheels for ARM64, got on this machine: nothing of them runs here."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from edgecc.errors import TargetError
from edgecc.targets.arm64.lacks import Lack
from edgecc.targets.requirement import requirement

PYTHON = "3.11"
"""Of the image. tflite-runtime has no wheel for a later one."""
GLIBC = "2_34"
"""The oldest that has every wheel: tflite-runtime's is the youngest."""
_OLDER_TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")  # pip takes them by name only


def requirements() -> dict[str, list[str]]:
    """What goes into each site folder, by its name: the versions installed here, so that results can be compared."""
    same = [requirement("litert"), requirement("onnxruntime"), f"numpy=={version('numpy')}"]
    return {"litert": same, "tflite_runtime": ["tflite-runtime==2.14.0", "numpy==1.26.4"]}


def installer_lack() -> Lack | None:
    """What is missing for `install_wheels` to work."""
    if _installer() is not None:
        return None
    return Lack("neither pip nor uv is there to get the ARM64 wheels", "python -m ensurepip")


def install_wheels(folder: Path) -> None:
    """Unpack the wheels of every site into a folder of its own in `folder`.

    Raises:
        TargetError: no installer, or a wheel cannot be got; names the cause.
    """
    for site, wanted in requirements().items():
        _run([*(_installer() or ["pip"]), "--target", str(folder / site), *wanted])


def _installer() -> list[str] | None:
    """The command that installs wheels of another machine, up to the folder and what to install."""
    if importlib.util.find_spec("pip") is not None:
        tags = [f"manylinux_{GLIBC}", *_OLDER_TAGS]
        platforms = [word for tag in tags for word in ("--platform", f"{tag}_aarch64")]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--implementation", "cp"]
        return [*pip, *platforms, "--python-version", PYTHON, "--only-binary", ":all:"]
    if (uv := shutil.which("uv")) is not None:
        of_arm64 = ["--python-platform", f"aarch64-manylinux_{GLIBC}", "--python-version", PYTHON]
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, *of_arm64, "--only-binary", ":all:"]
    return None


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TargetError(f"cannot start {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        errors = [line for line in lines if "error" in line.lower()] or lines
        raise TargetError(
            f"the ARM64 wheels cannot be got: {errors[-1].strip()}",
            hint="a package index must answer, or PIP_FIND_LINKS name a folder with the wheels",
        )
