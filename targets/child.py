"""Runs one request in a fresh child process on this machine, under a time and a memory limit.

Some model files kill the interpreter that loads them. Here that, a hang and a memory hog are replies with their cause.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import psutil
from pydantic import ValidationError

from edgecc.artifact import first_problem
from edgecc.errors import TargetError
from edgecc.results import Failure, FailureKind
from edgecc.targets.runner import says_out_of_memory
from edgecc.targets.wire import RunReply, RunRequest
from edgecc.units import format_bytes

RUNNER = Path(__file__).with_name("runner.py")
LOG_BYTES = 4096
"""How much of the end of stderr a reply keeps."""

# Coarse, because every look takes some 30 µs from a machine that is measuring.
_WATCH_INTERVAL_S = 0.05

# What an interpreter needs to find itself and its libraries; nothing that tunes a runtime behind our back.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

# Given this process's id and a command, it becomes the command, which Linux kills when this process is killed. The
# runner asks for the same itself, but only once numpy is imported. Not Popen's `preexec_fn`: there are threads here.
_TIED = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of linux/prctl.h
if os.getppid() == int(sys.argv[1]):  # else it was too late
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def run_in_child(
    request: RunRequest,
    *,
    timeout_s: float,
    memory_limit_bytes: float,
    pin: Sequence[int] | None = None,
    runner: Path = RUNNER,
    under: Sequence[str] = (),
) -> RunReply:
    """Run `runner` on a request in a process group of its own; nothing of it is left when this returns or raises.

    Args:
        request: its paths are absolute, or relative to the working directory.
        timeout_s: the whole group is killed after so many seconds.
        memory_limit_bytes: and when the child's resident memory passes this, mapped files not counted. It is watched
            rather than set as an rlimit, because runtimes tell of an allocation that failed by any odd error, or crash.
        pin: the cores the child may use; None for all.
        runner: the script to run.
        under: a command and its arguments that replaces itself with, or runs, the command that follows.

    Raises:
        TargetError: the child cannot be started, or not be pinned.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with _started(runner, under, stdout, stderr) as child:
            if pin is not None:
                _pin(child.pid, pin)  # in time: the runner reads its request before it starts a runtime
            _send(child, request)
            killed = _watch(child.pid, timeout_s, memory_limit_bytes)
        log = _tail(stderr)
        failure = killed or failure_of_exit(child.returncode, log)
        if failure is not None:
            return RunReply(failure=failure, log=log)
        return parsed(stdout, log)


@contextlib.contextmanager
def _started(
    runner: Path, under: Sequence[str], stdout: IO[bytes], stderr: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    command = [*under, sys.executable, "-P", str(runner)]  # -P: the modules beside the runner are not for it
    if shutil.which(command[0]) is None:
        raise TargetError(f"cannot start {command[0]}: there is no such command")
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
        )
    except OSError as error:
        raise TargetError(f"cannot start {sys.executable}: {error.strerror}") from error
    with child:
        try:
            yield child
        finally:
            # Before the child is reaped: until then its process id cannot have become another's.
            os.killpg(child.pid, signal.SIGKILL)


def _pin(pid: int, cores: Sequence[int]) -> None:
    try:
        os.sched_setaffinity(pid, cores)
    except OSError as error:
        raise TargetError(f"cannot pin a process to the cores {list(cores)}: {error.strerror}") from error


def _send(child: subprocess.Popen[bytes], request: RunRequest) -> None:
    assert child.stdin is not None  # noqa: S101 - Popen was told to make it
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:  # its exit will tell why it is gone
        pipe.write(request.model_dump_json().encode())


def _watch(pid: int, timeout_s: float, memory_limit_bytes: float) -> Failure | None:
    """Wait until the child ends by itself (None) or has to be killed, and leave either to the caller."""
    deadline_s = time.monotonic() + timeout_s
    with os.fdopen(os.pidfd_open(pid)) as process:
        while not _ends_within(process, _WATCH_INTERVAL_S):
            if _resident_bytes(pid) > memory_limit_bytes:
                return _out_of_memory(f"killed when its memory passed the limit of {format_bytes(memory_limit_bytes)}")
            if time.monotonic() > deadline_s:
                return Failure(kind=FailureKind.TIMED_OUT, message=f"killed after the limit of {timeout_s:g} s")
    return None


def _ends_within(process: IO[str], seconds: float) -> bool:
    """A process's descriptor becomes readable when the process ends, and not before."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def _resident_bytes(pid: int) -> int:
    """Of a process and of the one that it may have forked."""
    return _own_resident_bytes(pid) + sum(map(_own_resident_bytes, _forks_of(pid)))


def _forks_of(pid: int) -> list[int]:
    try:  # psutil would look at every process there is
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []  # it ended between two looks


def _own_resident_bytes(pid: int) -> int:
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return 0  # it ended between two looks
    return memory.rss - memory.shared  # the pages of a mapped file can go whenever others need the memory


def failure_of_exit(returncode: int, log: str) -> Failure | None:
    """Why a process that nobody here killed gave no reply: negative is the signal that ended it, as of subprocess."""
    if returncode == 0:
        return None
    lines = log.strip().splitlines() or [""]
    if complaints := [line for line in lines if says_out_of_memory(line)]:
        return _out_of_memory(complaints[-1])
    if returncode == -signal.SIGKILL:
        return _out_of_memory("killed by SIGKILL from outside, as the kernel does when memory runs out")
    if returncode > 0:
        return _crashed(f"the process ended with exit code {returncode}: {lines[-1]}")
    return _crashed(f"the process was killed by {signal.Signals(-returncode).name}")


def parsed(stdout: IO[bytes], log: str) -> RunReply:
    """The reply that a process wrote, or a failure that says what is wrong with it."""
    stdout.seek(0)
    text = stdout.read()
    if not text:
        return RunReply(failure=_crashed("the process ended without a reply"), log=log)
    try:
        reply = RunReply.model_validate_json(text)
    except ValidationError as error:
        return RunReply(failure=_crashed(f"the reply cannot be read: {first_problem(error)}"), log=log)
    return reply.model_copy(update={"log": log})


def _crashed(message: str) -> Failure:
    return Failure(kind=FailureKind.CRASHED, message=message)


def _out_of_memory(message: str) -> Failure:
    return Failure(kind=FailureKind.OUT_OF_MEMORY, message=message)


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - LOG_BYTES))
    return file.read().decode(errors="replace")
