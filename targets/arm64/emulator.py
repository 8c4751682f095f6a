"""QEMU's user mode on this machine: the kernel hands it ARM64 programs through binfmt_misc."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from edgecc.targets.arm64.cpu_models import CpuModel
from edgecc.targets.arm64.lacks import Lack

BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = "qemu-aarch64"
PROGRAMS = ("qemu-aarch64-static", "qemu-aarch64")
INSTALL = "apt-get install qemu-user-static binfmt-support, or what your system has for it"


def is_native() -> bool:
    """Whether this machine is an ARM64 itself, which emulates nothing."""
    return platform.machine() in ("aarch64", "arm64")


def emulator_lacks(model: CpuModel) -> list[Lack]:
    """What this machine needs to run ARM64 programs as if on `model`."""
    found = [_registration_lack(), _program_lack(model)]
    return [] if is_native() else [lack for lack in found if lack is not None]


def qemu_version() -> str:
    """Such as `7.2.22`; `of an unknown version` where QEMU is gone."""
    program = _program()
    words = "" if program is None else _said(program, "--version")
    return words.split("version ")[-1].split()[0] if "version " in words else "of an unknown version"


def _registration_lack() -> Lack | None:
    if not (BINFMT / "register").exists():
        mount = f"mount -t binfmt_misc binfmt_misc {BINFMT}"
        return Lack(f"binfmt_misc is not mounted on {BINFMT}", mount)
    fields = _handler()
    if fields is None:
        return Lack(f"no handler {HANDLER} is registered in {BINFMT}", INSTALL)
    if "enabled" not in fields:
        return Lack(f"the handler {HANDLER} in {BINFMT} is disabled", f"update-binfmts --enable {HANDLER}")
    if "F" not in fields.get("flags:", ""):
        what = f"the handler {HANDLER} in {BINFMT} lacks the flag F, without which containers do not see QEMU"
        return Lack(what, f"register it with the flag F: {INSTALL}")
    return None


def _program_lack(model: CpuModel) -> Lack | None:
    program = _program()
    if program is None:
        return Lack(f"QEMU's user mode for ARM64 is not installed (no {PROGRAMS[0]})", INSTALL)
    if model.name not in _said(program, "-cpu", "help").split():
        what = f"QEMU {qemu_version()} does not know the CPU {model.name}"
        return Lack(what, "install a newer QEMU, or name another `cpu`")
    return None


def _handler() -> dict[str, str] | None:
    """The lines of the handler's file: the first word of each, and the rest."""
    try:
        lines = (BINFMT / HANDLER).read_text().splitlines()
    except OSError:
        return None
    return {word: rest for word, _, rest in (line.partition(" ") for line in lines)}


def _program() -> Path | None:
    """The QEMU that the kernel starts, or would: links are followed, since QEMU looks at the name it is called by."""
    registered = (_handler() or {}).get("interpreter", "")
    named = [path for path in (shutil.which(name) for name in PROGRAMS) if path is not None]
    found = [Path(path).resolve() for path in (registered, *named) if path and Path(path).is_file()]
    return found[0] if found else None


def _said(program: Path, *arguments: str) -> str:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
