from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecc.targets.arm64 import emulator
from edgecc.targets.arm64.cpu_models import CPU_MODELS

A72, V1 = CPU_MODELS["cortex-a72"], CPU_MODELS["neoverse-v1"]
QEMU = """#!/bin/sh
case "$1" in
    --version) echo "qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)";;
    -cpu) printf 'Available CPUs:\\n  cortex-a53\\n  cortex-a72\\n  max\\n';;
esac
"""

Register = Callable[..., None]


@pytest.fixture
def qemu(tmp_path: Path) -> Path:
    program = tmp_path / "bin" / "qemu-aarch64-static"
    program.parent.mkdir()
    program.write_text(QEMU)
    program.chmod(0o755)
    return program


@pytest.fixture
def register(tmp_path: Path, qemu: Path, monkeypatch: pytest.MonkeyPatch) -> Register:
    """An x86-64 with this handler, and with QEMU on the PATH where it is said so."""
    folder = tmp_path / "binfmt_misc"
    folder.mkdir()
    monkeypatch.setattr(emulator, "BINFMT", folder)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", "/nowhere")

    def write(state: str = "enabled", flags: str = "PF", interpreter: Path = qemu, mounted: bool = True) -> None:
        if mounted:
            (folder / "register").touch()
        if state:
            text = f"{state}\ninterpreter {interpreter}\nflags: {flags}\noffset 0\nmagic 7f454c46\n"
            (folder / "qemu-aarch64").write_text(text)

    return write


def test_nothing_is_missing(register: Register) -> None:
    register()
    assert emulator.emulator_lacks(A72) == []
    assert emulator.qemu_version() == "7.2.22"


@pytest.mark.parametrize(
    ("keys", "what", "remedy"),
    [
        ({"mounted": False}, "binfmt_misc is not mounted on", "mount -t binfmt_misc"),
        ({"state": ""}, "no handler qemu-aarch64 is registered", "apt-get install qemu-user-static"),
        ({"state": "disabled"}, "is disabled", "update-binfmts --enable qemu-aarch64"),
        ({"flags": "P"}, "lacks the flag F", "with the flag F"),
    ],
)
def test_a_registration_that_does_not_do(
    keys: dict[str, str], what: str, remedy: str, register: Register, qemu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(qemu.parent))
    register(**keys)
    (lack,) = emulator.emulator_lacks(A72)
    assert what in lack.what
    assert remedy in lack.remedy


def test_qemu_is_gone(register: Register, qemu: Path) -> None:
    register()
    qemu.unlink()
    (lack,) = emulator.emulator_lacks(A72)
    assert "QEMU's user mode for ARM64 is not installed" in lack.what
    assert emulator.qemu_version() == "of an unknown version"


def test_all_that_is_missing_is_told(register: Register) -> None:
    register(state="")
    assert len(emulator.emulator_lacks(A72)) == 2


def test_a_cpu_that_this_qemu_does_not_know(register: Register) -> None:
    register()
    (lack,) = emulator.emulator_lacks(V1)
    assert lack.what == "QEMU 7.2.22 does not know the CPU neoverse-v1"


def test_a_link_to_qemu_is_followed(register: Register, qemu: Path, tmp_path: Path) -> None:
    # Called by such a name, Debian's QEMU takes `--version` for the program to run.
    link = tmp_path / "aarch64-binfmt-P"
    link.symlink_to(qemu)
    register(interpreter=link)
    qemu.write_text('#!/bin/sh\ncase "$0" in *-P) exit 1;; esac\n' + QEMU.partition("\n")[2])
    assert emulator.qemu_version() == "7.2.22"


def test_an_arm64_needs_no_emulator(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    register(mounted=False, state="")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert emulator.is_native()
    assert emulator.emulator_lacks(V1) == []
