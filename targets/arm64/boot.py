"""Starts an emulated ARM64 machine whose clock is its instructions, and listens to what it tells on its console.

Under QEMU's `-icount shift=0,sleep=off` its clock advances 1 ns with every instruction, and never with the host's.
Source: QEMU's documentation, "TCG Instruction Counting".
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

from edgecc.errors import TargetError
from edgecc.results import Failure, FailureKind
from edgecc.targets.arm64.cpio import write_files
from edgecc.targets.arm64.system_emulator import INSTALL, QEMU

MEMORY = "3G"
SILENCE_S = 300.0
"""The longest that it may say nothing while it starts, and between two runs: some hundred times what that takes."""

KERNEL, INITRD = "vmlinuz", "initrd.cpio"
"""What there is in the folder of a machine."""
GUEST_FOLDER = "/edgecc"
"""Where `guest.py` lies, inside."""

_HERE = Path(__file__).parent
_PANIC = "Kernel panic - not syncing: "

# Each of them would make a count depend on what is drawn at random when the machine starts.
_NOTHING_RANDOM = "nokaslr norandmaps randomize_kstack_offset=off"
_KERNEL_OPTIONS = f"console=ttyAMA0 quiet rdinit=/init panic=-1 {_NOTHING_RANDOM}"

_CLOCK_HZ = 1_000_000_000
"""So that the guest reads single instructions: QEMU's own clock of an ARM64 machine ticks every 16."""

# Has Linux kill QEMU when edgecc is killed (PR_SET_PDEATHSIG, SIGKILL), then becomes it.
_LAUNCH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


class GuestLost(Exception):  # noqa: N818 - it is an answer
    """The emulated machine is gone, or was killed; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Guest:
    """An emulated machine that runs. It is a context manager; nothing of it is left when it ends."""

    def __init__(self, cpu: str, machine: Path, files: Mapping[str, bytes | Path]) -> None:
        """Start it.

        Args:
            cpu: as QEMU names it.
            machine: a folder with the kernel and the root file system, in which there is Python.
            files: what lies beside `guest.py` in it, by relative name: `job.json`, the runner, and what it needs.

        Raises:
            TargetError: QEMU is not installed, or the machine's files cannot be read or written.
        """
        with _initrd(machine / INITRD, files) as initrd:
            self._process = _start(cpu, machine / KERNEL, initrd)
        self._lines: deque[str] = deque(maxlen=20)
        """What it said last that is not for us: the kernel's messages, and QEMU's own."""
        self._rest = b""

    def listen(self, word: str, index: int, *, timeout_s: float) -> dict[str, Any]:
        """Its next message, which is `word` of the request of that number, as `guest.py` tells it.

        Raises:
            GuestLost: it ended, told nothing for so long, or told something else.
        """
        deadline_s = time.monotonic() + timeout_s
        while (message := _as_message(line := self._line(deadline_s, timeout_s))) is None:
            self._lines.append(line)
        if message.get(word) != index:
            text = f"expected the emulated machine to tell `{word}` of request {index}; got {line[:100]}"
            raise GuestLost(Failure(kind=FailureKind.CRASHED, message=text))
        return message

    def kill(self) -> None:
        """End it; whoever listens is told that it was lost."""
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self.kill()

    def _line(self, deadline_s: float, timeout_s: float) -> str:
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - Popen was told to make it
        while b"\n" not in self._rest:
            if not _is_readable_until(pipe, deadline_s):
                text = f"killed after the limit of {timeout_s:g} s"
                raise GuestLost(Failure(kind=FailureKind.TIMED_OUT, message=text))
            read = os.read(pipe.fileno(), 1 << 16)
            if not read:
                raise GuestLost(self._why_it_ended())
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace").strip()

    def _why_it_ended(self) -> Failure:
        said = [line for line in (*self._lines, self._rest.decode(errors="replace").strip()) if line]
        panics = [line.partition(_PANIC)[2] for line in said if _PANIC in line]
        others = [line for line in said if not line.startswith("[")]  # with which the kernel's own begin
        words = others[-1:] or said[-1:] or ["it said nothing"]
        kind = FailureKind.OUT_OF_MEMORY if "memory" in "".join(panics[-1:]) else FailureKind.CRASHED
        return Failure(kind=kind, message=f"the emulated machine ended: {': '.join([*panics[-1:], *words])}")


@contextlib.contextmanager
def _initrd(base: Path, files: Mapping[str, bytes | Path]) -> Iterator[IO[bytes]]:
    """The base with what is ours behind it: Linux takes several archives one after another.

    It has no name, so that nothing of it stays where edgecc is killed.
    """
    ours: dict[str, bytes | Path] = {"init": _HERE / "init", "edgecc/guest.py": _HERE / "guest.py"}
    ours |= {f"edgecc/{name}": content for name, content in files.items()}
    try:
        with tempfile.TemporaryFile(dir=base.parent) as file, base.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
            write_files(ours, file)
            file.flush()
            yield file
    except OSError as error:
        raise TargetError(f"cannot write what the emulated machine starts from to {base.parent}: {error}") from error


def _qemu() -> str:
    found = shutil.which(QEMU)
    if found is None:
        raise TargetError(f"{QEMU} is not installed", hint=INSTALL)
    return found


def _start(cpu: str, kernel: Path, initrd: IO[bytes]) -> subprocess.Popen[bytes]:
    descriptor = initrd.fileno()
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _LAUNCH, *_command(cpu, kernel, f"/proc/self/fd/{descriptor}")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[descriptor],
        start_new_session=True,  # so that Ctrl-C reaches edgecc alone, which then ends it
    )


def _command(cpu: str, kernel: Path, initrd: str) -> list[str]:
    return [
        _qemu(),
        *("-M", "virt", "-cpu", f"{cpu},cntfrq={_CLOCK_HZ}", "-smp", "1", "-m", MEMORY),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-net", "none"),
        *("-icount", "shift=0,sleep=off", "-rtc", "base=2020-01-01,clock=vm"),
        "-no-reboot",
        *("-kernel", str(kernel), "-initrd", initrd, "-append", _KERNEL_OPTIONS),
    ]


def _is_readable_until(pipe: IO[bytes], deadline_s: float) -> bool:
    left_s = deadline_s - time.monotonic()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return left_s > 0 and bool(poll.poll(1000 * left_s))


def _as_message(line: str) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
