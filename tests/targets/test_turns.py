"""One measurement at a time: between threads, between processes, and after one was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edgecc.errors import TargetError
from edgecc.targets.turns import is_taken, turn

HOLD = """
import sys, time
from edgecc.targets.turns import turn
with turn():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_turn_is_taken_and_given_back() -> None:
    assert not is_taken()
    with turn():
        assert is_taken()
    assert not is_taken()


def test_threads_wait_for_each_other() -> None:
    running, most = 0, 0

    def work() -> None:
        nonlocal running, most
        for _ in range(50):
            with turn():
                running += 1
                most = max(most, running)
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_process_that_was_killed_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_taken()
        holder.kill()
        holder.wait()
        with turn():
            pass


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with turn():
        pass
    (own,) = tmp_path.glob("edgecc-*")
    own.rmdir()
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetError, match="take turns"), turn():
        pass
