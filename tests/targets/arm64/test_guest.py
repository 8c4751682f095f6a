"""What runs inside the emulated machine runs its runner here, where one may look."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecc.targets.arm64 import guest

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a stand-in for the runner."""

    def run(text: str, timeout_s: float = 30.0, **variables: str) -> dict[str, Any]:
        runner, folder = tmp_path / "runner.py", tmp_path / "0"
        folder.mkdir()
        runner.write_text(textwrap.dedent(text))
        (folder / "request.json").write_text('"the request"')
        return guest.run(folder, runner, variables, timeout_s)

    return run


def test_a_reply_and_what_was_said_beside_it(run: Run) -> None:
    ended = run(
        """
        import os, pathlib, sys
        print("noise", flush=True); sys.stderr.write("more")
        pathlib.Path(sys.argv[2]).write_text(pathlib.Path(sys.argv[1]).read_text() + os.environ["COLOUR"])
        """,
        COLOUR="red",
    )
    assert ended["returncode"] == 0
    assert ended["reply"] == '"the request"red'
    assert ended["log"] == "noise\nmore"


@pytest.mark.parametrize(
    ("text", "returncode"),
    [("raise SystemExit(3)", 3), ("import os; os.abort()", -6), ("import os, signal; os.kill(os.getpid(), 9)", -9)],
)
def test_an_end_without_a_reply(text: str, returncode: int, run: Run) -> None:
    assert run(text) == {"returncode": returncode, "reply": "", "log": ""}


def test_a_hang_takes_its_children_with_it(run: Run, tmp_path: Path) -> None:
    ended = run(
        f"""
        import pathlib, signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        other = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(other.pid))
        time.sleep(600)
        """,
        timeout_s=3.0,
    )
    assert ended["returncode"] is None
    pid = int((tmp_path / "pid").read_text())
    # Killed by then, and gone as soon as the kernel comes to it.
    until = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_end_of_a_long_log_is_kept(run: Run) -> None:
    log = run("import sys; sys.stderr.write('a' * 10_000 + 'the end')")["log"]
    assert log.endswith("the end")
    assert len(log) == guest.LOG_BYTES


def test_no_descriptor_stays_open(run: Run) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    run("pass")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_it_runs_nowhere_else() -> None:
    """As the first process of a machine it kills all others."""
    done = subprocess.run([sys.executable, guest.__file__], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the first process of an emulated machine" in done.stderr
