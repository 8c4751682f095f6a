"""What tests need beside Python: a skip with a named reason where it is missing, or a failure where it is required."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

_COMMANDS = {
    "chromium": "chromium",
    "docker": "docker",
    "qemu": "qemu-system-aarch64",
    "ssh": "/usr/sbin/sshd",
    "valgrind": "valgrind",
}
"""The command that tells whether each is there."""
_REQUIRED = "EDGECC_REQUIRE"
"""Names, with commas between them, of what may not be missing: a CI that lost its browser must not stay green."""
_CHROMIUM_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def require(name: str) -> Path:
    """The command behind `name`; without it the test is skipped, or fails where EDGECC_REQUIRE names it."""
    found = shutil.which(_COMMANDS[name])
    if found is None:
        lack(name, f"{name} is not installed (no `{_COMMANDS[name]}` on the PATH)")
    return Path(found)


def lack(name: str, reason: str) -> NoReturn:
    """Skip the test for want of `name`, or fail it where EDGECC_REQUIRE names that."""
    if name in os.environ.get(_REQUIRED, "").split(","):
        pytest.fail(f"{reason}, and {_REQUIRED} names {name}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def valgrind() -> Path:
    """Where valgrind is."""
    return require("valgrind")


@pytest.fixture
def chromium(tmp_path: Path) -> Callable[..., str]:
    """Runs headless Chromium with these arguments on a fresh profile, and gives what it wrote to stdout."""
    command = require("chromium")
    profile = f"--user-data-dir={tmp_path / 'chromium'}"

    def run(*arguments: str) -> str:
        line = [str(command), *_CHROMIUM_FLAGS, profile, "--virtual-time-budget=2000", *arguments]
        return subprocess.run(line, check=True, capture_output=True, text=True, timeout=120).stdout

    return run
