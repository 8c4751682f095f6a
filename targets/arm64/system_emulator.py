"""QEMU's system mode on this machine, which emulates an ARM64 machine whole."""

from __future__ import annotations

import shutil
import subprocess

from edgecc.targets.arm64.lacks import Lack

QEMU = "qemu-system-aarch64"
INSTALL = "apt-get install qemu-system-arm, or what your system has for it"
_TIMEOUT_S = 60.0


def system_emulator_lack(cpu: str) -> Lack | None:
    """What this machine needs to emulate one with that CPU."""
    if shutil.which(QEMU) is None:
        return Lack(f"QEMU's system mode for ARM64 is not installed (no {QEMU})", INSTALL)
    if cpu not in _said("-M", "virt", "-cpu", "help").split():
        what = f"QEMU {system_emulator_version()} emulates no machine with the CPU {cpu}"
        return Lack(what, "install a newer QEMU, or name another `cpu`")
    return None


def system_emulator_version() -> str:
    """Such as `7.2.22`; `of an unknown version` where QEMU is gone."""
    words = _said("--version").split()
    return words[words.index("version") + 1] if "version" in words[:-1] else "of an unknown version"


def _said(*arguments: str) -> str:
    try:
        done = subprocess.run(
            [QEMU, *arguments], capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
