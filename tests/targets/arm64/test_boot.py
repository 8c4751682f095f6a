"""A stand-in for QEMU says what an emulated machine would, and what it says when it dies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from edgecc.errors import TargetError
from edgecc.targets.arm64.boot import Guest, GuestLost
from edgecc.targets.arm64.system_emulator import system_emulator_lack, system_emulator_version

from ..fake_qemu import install_fake_qemu

Install = Callable[[str], None]


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(text: str) -> None:
        install_fake_qemu(tmp_path, monkeypatch, text)

    return install


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    folder = tmp_path / "machine"
    folder.mkdir()
    (folder / "vmlinuz").write_bytes(b"kernel")
    (folder / "initrd.cpio").write_bytes(b"base")
    return folder


def lost(guest: Guest, timeout_s: float = 30.0) -> tuple[str, str]:
    with pytest.raises(GuestLost) as caught:
        guest.listen("started", 0, timeout_s=timeout_s)
    return caught.value.failure.kind, caught.value.failure.message


def test_what_it_tells_is_heard_between_what_the_kernel_says(qemu: Install, machine: Path) -> None:
    qemu("""
        print("[    0.000000] Booting Linux", flush=True)
        sys.stdout.write('17\\r\\n{"not": \\r\\n')  # JSON, but no message; and no JSON
        sys.stdout.write('{"started": 0}\\r\\n{"ended": 0, "log"'); sys.stdout.flush()
        time.sleep(0.2)
        print(': "said"}', flush=True)
        time.sleep(60)
        """)
    with Guest("cortex-a72", machine, {}) as guest:
        assert guest.listen("started", 0, timeout_s=30) == {"started": 0}
        assert guest.listen("ended", 0, timeout_s=30) == {"ended": 0, "log": "said"}


def test_a_machine_starts_from_the_base_and_what_is_ours(qemu: Install, machine: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"weights")
    qemu("""
        initrd = open(after("-initrd"), "rb").read()
        say(started=0, arguments=sys.argv[1:], kernel=open(after("-kernel")).read(), initrd=initrd.decode())
        """)
    with Guest("cortex-a72", machine, {"files/0/model.tflite": tmp_path / "model.tflite"}) as guest:
        said = guest.listen("started", 0, timeout_s=30)
    assert said["kernel"] == "kernel"
    assert said["initrd"].startswith("base070701")
    for expected in ("init\0", "edgecc/guest.py\0", "edgecc/files/0/model.tflite\0", "weights"):
        assert expected in said["initrd"]
    assert "shift=0,sleep=off" in said["arguments"]
    assert any(argument.startswith("cortex-a72,") for argument in said["arguments"])
    assert sorted(path.name for path in machine.iterdir()) == ["initrd.cpio", "vmlinuz"]


def test_a_machine_that_hangs_is_killed(qemu: Install, machine: Path) -> None:
    qemu("print('[    0.1] hello', flush=True); time.sleep(600)")
    with Guest("cortex-a72", machine, {}) as guest:
        pid = guest._process.pid
        assert lost(guest, timeout_s=0.5) == ("timed_out", "killed after the limit of 0.5 s")
    assert not psutil.pid_exists(pid)


def test_one_that_is_chatty_and_hangs_is_killed_too(qemu: Install, machine: Path) -> None:
    qemu("while True: print('[    0.1] hello', flush=True)")
    with Guest("cortex-a72", machine, {}) as guest:
        assert lost(guest, timeout_s=0.5)[0] == "timed_out"


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (["qemu-system-aarch64: unable to find CPU model 'cortex-a99'"], "crashed", "unable to find CPU model"),
        (["/init: 5: exec: python3: not found",
          "[    2.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00007f00",
          "[    2.2] CPU: 0 PID: 1 Comm: init"],
         "crashed", "Attempted to kill init! exitcode=0x00007f00: /init: 5: exec: python3: not found"),
        (["[    9.1] Kernel panic - not syncing: System is deadlocked on memory", "[    9.2] CPU: 0"],
         "out_of_memory", "System is deadlocked on memory"),
        (["[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs"], "crashed", "Unable to mount root fs"),
        ([], "crashed", "it said nothing"),
    ],
)  # fmt: skip
def test_a_machine_that_ends(lines: list[str], kind: str, message: str, qemu: Install, machine: Path) -> None:
    qemu(f"print({chr(10).join(lines)!r}, flush=True)")
    with Guest("cortex-a72", machine, {}) as guest:
        got_kind, got_message = lost(guest)
    assert got_kind == kind
    assert message in got_message


def test_a_message_that_is_not_the_next_one(qemu: Install, machine: Path) -> None:
    qemu("say(ended=1); time.sleep(60)")
    with Guest("cortex-a72", machine, {}) as guest:
        kind, message = lost(guest)
    assert kind == "crashed"
    assert 'expected the emulated machine to tell `started` of request 0; got {"ended": 1}' in message


def test_whoever_listens_to_a_machine_that_is_killed_is_told(qemu: Install, machine: Path) -> None:
    qemu("time.sleep(600)")
    with Guest("cortex-a72", machine, {}) as guest:
        guest.kill()
        assert lost(guest)[0] == "crashed"
    guest.kill()  # once more, where there is nothing left to kill


def test_a_killed_edgecc_takes_the_machine_with_it(qemu: Install, machine: Path) -> None:
    qemu("say(started=0, pid=os.getpid()); time.sleep(600)")
    host = subprocess.Popen([sys.executable, "-c", HOST, machine], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    with host:
        pid = int(host.stdout.readline())
        assert psutil.pid_exists(pid)
        host.kill()
    deadline_s = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, "it still runs"
        time.sleep(0.01)
    assert sorted(path.name for path in machine.iterdir()) == ["initrd.cpio", "vmlinuz"]


HOST = """
import pathlib, sys, time
from edgecc.targets.arm64.boot import Guest
with Guest("cortex-a72", pathlib.Path(sys.argv[1]), {}) as guest:
    print(guest.listen("started", 0, timeout_s=60)["pid"], flush=True)
    time.sleep(600)
"""


def test_the_files_of_a_machine_that_are_gone(qemu: Install, machine: Path) -> None:
    qemu("")
    (machine / "initrd.cpio").unlink()
    with pytest.raises(TargetError, match="cannot write what the emulated machine starts from"):
        Guest("cortex-a72", machine, {})


def test_without_qemu(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetError, match="qemu-system-aarch64 is not installed") as caught:
        Guest("cortex-a72", machine, {})
    assert "apt-get install qemu-system-arm" in (caught.value.hint or "")
    lack = system_emulator_lack("cortex-a72")
    assert lack is not None
    assert "qemu-system-arm" in lack.remedy
    assert system_emulator_version() == "of an unknown version"


def test_what_this_qemu_emulates(qemu: Install) -> None:
    qemu("")
    assert system_emulator_version() == "9.9.9"
    assert system_emulator_lack("cortex-a72") is None
    lack = system_emulator_lack("neoverse-v1")
    assert lack is not None
    assert lack.what == "QEMU 9.9.9 emulates no machine with the CPU neoverse-v1"
