"""Runs on a device and serves one edgecc over stdin and stdout: takes files, runs the runner on them, answers.

The host sends this source and starts it; nothing is installed. It needs Python 3.9 and Linux, and no library.

A command is a line of JSON with a `verb`, and an answer is one with either `result` or `error`. A line with
`content_bytes` is followed by so many bytes. The first line that comes in says who asks, where the folder is, and which
of its virtual environments is meant.
One agent at a time does anything that costs time, on its turn; the kernel ends the turn of one that was killed.
When stdin closes, what runs is killed, the session's folder is removed, and the agent ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 16
LOG_BYTES = 4096
"""How much of the end of what a process prints an answer keeps."""

SILENCE_S = 60.0
"""How long an agent on its turn waits for the host to send or to take something: a link may be dead and not say so."""
WATCH_INTERVAL_S = 0.05
SHARE_OF_MEMORY = 0.75
"""Of the device's memory, that a run may take where the host sets no limit: a device that swaps answers nobody."""

# What an interpreter needs to find itself and its libraries; nothing that tunes a runtime behind our back. Where QEMU's
# user mode plays the device, QEMU_CPU is its processor: the one that QEMU chooses by itself has given wrong outputs.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "QEMU_CPU")

ENVIRONMENTS = {"litert": "venv", "tflite_runtime": "venv-tflite-runtime"}
"""The virtual environment in the folder, by what runs `.tflite` files in it: the two cannot share one numpy."""

DESCRIBE = (
    "import json, pathlib, runpy, sys; described = runpy.run_path(sys.argv[1])['describe_environment'](); "
    "pathlib.Path(sys.argv[2]).write_text(json.dumps(described))"
)
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
IS_DIGEST = re.compile(r"[0-9a-f]{64}")


class Trouble(Exception):  # noqa: N818 - it is an answer
    """What was asked for cannot be done; the message says why."""


class HostIsGone(Exception):  # noqa: N818 - it is an event
    """The host closed its end, or is silent on its turn."""


class Host:
    """The host's end of stdin and stdout."""

    def __init__(self, stdin: int, stdout: int) -> None:
        self._stdin, self._stdout = stdin, stdout
        self._rest = b""
        os.set_blocking(stdout, False)

    def read_line(self, silence_s: float | None = None) -> dict[str, Any]:
        while b"\n" not in self._rest:
            self._rest += self._receive(silence_s)
        line, _, self._rest = self._rest.partition(b"\n")
        command: dict[str, Any] = json.loads(line)
        return command

    def read_content(self, size_bytes: int) -> Iterator[bytes]:
        """The bytes that follow a line; all of them must be taken."""
        while size_bytes:
            chunk = self._rest[:size_bytes] or self._receive(SILENCE_S)
            chunk, self._rest = chunk[:size_bytes], (self._rest or chunk)[size_bytes:]
            size_bytes -= len(chunk)
            yield chunk

    def send(self, answer: dict[str, Any]) -> None:
        self._send(json.dumps(answer).encode() + b"\n")

    def send_content(self, path: Path, size_bytes: int) -> None:
        with path.open("rb") as file:
            while size_bytes:
                chunk = file.read(min(CHUNK_BYTES, size_bytes))
                self._send(chunk)
                size_bytes -= len(chunk)

    def says_something(self, within_s: float) -> bool:
        """Whether something came in, or the end did: while a command is carried out that is the only thing to come."""
        return bool(select.select([self._stdin], [], [], within_s)[0])

    def _receive(self, silence_s: float | None) -> bytes:
        if not select.select([self._stdin], [], [], silence_s)[0]:
            raise HostIsGone
        chunk = os.read(self._stdin, CHUNK_BYTES)
        if not chunk:
            raise HostIsGone
        return chunk

    def _send(self, data: bytes) -> None:
        while data:
            if not select.select([], [self._stdout], [], SILENCE_S)[1]:
                raise HostIsGone
            data = data[os.write(self._stdout, data[:CHUNK_BYTES]) :]


class Agent:
    """Carries out one host's commands."""

    def __init__(self, host: Host, folder: Path, environment: str, who: str) -> None:
        self._host, self._folder, self._who = host, folder, who
        self._environment = folder / environment
        self._turn = contextlib.ExitStack()
        self._on_turn = False
        try:
            self._own_folder()
            self._session, self._held = new_session(folder / "sessions")
        except OSError as error:
            raise Trouble(in_words(error, folder)) from error
        self._run_folder = self._session / "run"

    def serve(self) -> None:
        """Carry out commands until the host is gone."""
        verbs: dict[str, Callable[..., dict[str, Any] | None]] = {
            "holder": self._holder, "take_turn": self._take_turn, "give_turn": self._give_turn, "put": self._put,
            "describe": self._describe, "run": self._run, "make_environment": self._make_environment,
            "install": self._install, "remove": self._remove,
        }  # fmt: skip
        while True:
            command = self._host.read_line(SILENCE_S if self._on_turn else None)
            try:
                result = verbs[command.pop("verb")](**command)
            except Trouble as trouble:
                self._host.send({"error": str(trouble)})
            except OSError as error:
                self._host.send({"error": in_words(error, self._folder)})
            else:
                self._answer(result or {})

    def end(self) -> None:
        """Leave nothing but what `make_environment` brought."""
        self._turn.close()
        shutil.rmtree(self._session, ignore_errors=True)
        os.close(self._held)

    def _answer(self, result: dict[str, Any]) -> None:
        outputs: Path | None = result.pop("outputs", None)
        if outputs is None:
            self._host.send({"result": result})
            return
        size_bytes = outputs.stat().st_size
        self._host.send({"result": result, "content_bytes": size_bytes})
        self._host.send_content(outputs, size_bytes)
        outputs.unlink()

    def _own_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._folder.stat().st_uid != os.getuid():
            raise Trouble(f"{self._folder}: expected a folder of this user's; it is another's")

    # The turn

    def _holder(self) -> dict[str, Any]:
        """Who has the device now."""
        with (self._folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return {"holder": holder_of(lock)}
        return {"holder": None}

    def _take_turn(self, wait_s: float) -> None:
        """Have the device alone; whoever has it is waited for so long."""
        lock = self._turn.enter_context((self._folder / "lock").open("a+"))
        try:
            self._wait_for(lock, wait_s)
        except BaseException:
            self._turn.close()
            raise
        with contextlib.suppress(OSError):  # on a full disk nobody learns who has it, and that is all
            lock.truncate(0)
            json.dump({"who": self._who, "pid": os.getpid(), "since": time.strftime("%H:%M:%S")}, lock)
            lock.flush()
        self._on_turn = True

    def _wait_for(self, lock: Any, wait_s: float) -> None:
        deadline_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # noqa: PERF203
                if time.monotonic() > deadline_s:
                    raise Trouble(f"{holder_of(lock)}; waited {wait_s:g} s") from None
                if self._host.says_something(WATCH_INTERVAL_S):
                    raise HostIsGone from None
            else:
                return

    def _give_turn(self) -> None:
        self._turn.close()
        self._on_turn = False

    # Files and runs

    def _put(self, sha256: str, content_bytes: int) -> None:
        """Keep what follows under its digest, for this session."""
        content = self._host.read_content(content_bytes)
        try:
            self._keep(sha256, content)
        except (OSError, Trouble):
            for _ in content:  # or the rest of it would be taken for commands
                pass
            raise

    def _keep(self, sha256: str, content: Iterator[bytes]) -> None:
        if not IS_DIGEST.fullmatch(sha256):
            raise Trouble(f"expected a sha256 as a name; got {sha256!r}")
        path = self._session / sha256
        try:
            written = write_and_hash(path, content)
            if written != sha256:
                raise Trouble(f"expected a file with the sha256 {sha256}; got {written}")
        except (OSError, Trouble):
            path.unlink(missing_ok=True)
            raise

    def _describe(self, runner: str, cores: list[int] | None) -> dict[str, Any]:
        """What the runner says of this device; `reply` is None without an environment for it."""
        if not self._python().exists():
            return {"reply": None}
        command = ["-c", DESCRIBE, str(self._session / runner), "reply.json"]
        return self._execute_for_reply(command, timeout_s=SILENCE_S, cores=cores)

    def _run(
        self,
        runner: str,
        request: dict[str, Any],
        timeout_s: float,
        memory_limit_bytes: float | None,
        cores: list[int] | None,
    ) -> dict[str, Any]:
        """Run the runner on a request whose paths are digests of files that were put."""
        if not self._python().exists():
            raise Trouble(f"there is no virtual environment at {self._environment}")
        outputs = self._session / "outputs"
        outputs.unlink(missing_ok=True)
        for artifact in (request, request["beside"]):
            if artifact is not None:
                artifact["artifact_path"] = str(self._session / artifact["artifact_path"])
        if request["inputs_path"] is not None:
            request["inputs_path"] = str(self._session / request["inputs_path"])
        if request["outputs_path"] is not None:
            request["outputs_path"] = str(outputs)
        limit_bytes = memory_limit_bytes or SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        command = [str(self._session / runner), "request.json", "reply.json"]
        result = self._execute_for_reply(command, request, timeout_s, limit_bytes, cores)
        return {**result, "outputs": outputs} if outputs.exists() else result

    def _execute_for_reply(
        self,
        arguments: Sequence[str],
        request: dict[str, Any] | None = None,
        timeout_s: float = SILENCE_S,
        memory_limit_bytes: float | None = None,
        cores: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Run the environment's Python in a fresh folder, where it finds request.json and leaves reply.json."""
        self._run_folder.mkdir()
        try:
            if request is not None:
                (self._run_folder / "request.json").write_text(json.dumps(request))
            command = [str(self._python()), "-I", *arguments]
            variables = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
            result = self._execute(command, variables, timeout_s, memory_limit_bytes, cores)
            reply = self._run_folder / "reply.json"
            result["reply"] = reply.read_text(errors="replace") if reply.exists() else ""
            return result
        finally:
            shutil.rmtree(self._run_folder, ignore_errors=True)

    def _execute(
        self,
        command: Sequence[str],
        variables: dict[str, str],
        timeout_s: float,
        memory_limit_bytes: float | None = None,
        cores: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Run a command in a process group of its own, of which nothing is left; how it ended, and its last words."""
        with tempfile.TemporaryFile(dir=self._session) as log:
            folder = self._run_folder if self._run_folder.exists() else self._session
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=variables, start_new_session=True,
                preexec_fn=functools.partial(end_with, os.getpid()),  # noqa: PLW1509 - there are no threads
            )  # fmt: skip
            try:
                # Where memory runs out, the kernel shall take this one and not the SSH server.
                with contextlib.suppress(OSError):
                    Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
                pin(process.pid, cores)
                killed = self._watch(process.pid, timeout_s, memory_limit_bytes)
            finally:
                # Before it is reaped: until then its process id cannot have become another's.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            last_words = log.read().decode(errors="replace")
            return {
                "killed": killed,
                "limit_bytes": memory_limit_bytes,
                "returncode": process.returncode,
                "log": last_words,
            }

    def _watch(self, pid: int, timeout_s: float, memory_limit_bytes: float | None) -> str | None:
        """Wait until a process ends (None), or say why it has to be killed."""
        deadline_s = time.monotonic() + timeout_s
        while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if memory_limit_bytes is not None and resident_bytes(pid) > memory_limit_bytes:
                return "out_of_memory"
            if time.monotonic() > deadline_s:
                return "timed_out"
            if self._host.says_something(WATCH_INTERVAL_S):
                raise HostIsGone
        return None

    # The virtual environment

    def _python(self) -> Path:
        return self._environment / "bin" / "python"

    def _make_environment(self, timeout_s: float) -> dict[str, Any]:
        """Make the virtual environment, unless there is one that works."""
        if self._python().exists():
            works = self._execute([str(self._python()), "-I", "-m", "pip", "--version"], dict(os.environ), timeout_s)
            if works["returncode"] == 0:
                return works
        command = [sys.executable, "-I", "-m", "venv", "--clear", str(self._environment)]
        return self._execute(command, dict(os.environ), timeout_s)

    def _install(self, packages: list[str], timeout_s: float) -> dict[str, Any]:
        """Install wheels: what has to be compiled first would take hours on a small device."""
        options = ["--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        command = [str(self._python()), "-I", "-m", "pip", "install", *options, *packages]
        return self._execute(command, dict(os.environ), timeout_s)

    def _remove(self) -> None:
        """Remove every virtual environment, and the folder where nothing else is in it."""
        for name in ENVIRONMENTS.values():
            environment = self._folder / name
            if environment.is_symlink():
                environment.unlink()
            elif environment.exists():
                shutil.rmtree(environment)
        (self._folder / "lock").unlink(missing_ok=True)
        shutil.rmtree(self._session)
        with contextlib.suppress(OSError):  # another session's, or the user's own files
            (self._folder / "sessions").rmdir()
            self._folder.rmdir()


def end_with(parent: int) -> None:
    """Have Linux kill this process when its parent is killed: nothing goes on measuring for nobody."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def new_session(sessions: Path) -> tuple[Path, int]:
    """A folder of this agent's own, and the descriptor that holds it; those of agents that were killed are removed."""
    sessions.mkdir(exist_ok=True)
    guard = os.open(sessions, os.O_RDONLY)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for other in sessions.iterdir():
            held = os.open(other, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other, ignore_errors=True)
            except BlockingIOError:
                pass  # its agent lives
            finally:
                os.close(held)
        own = Path(tempfile.mkdtemp(dir=sessions))
        held = os.open(own, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        return own, held
    finally:
        os.close(guard)


def holder_of(lock: Any) -> str:
    """Who has the device, in words."""
    lock.seek(0)
    try:
        note = json.load(lock)
        return f"{note['who']} has had the device since {note['since']} (process {note['pid']} there)"
    except (OSError, ValueError, KeyError):
        return "somebody has the device"


def in_words(error: OSError, folder: Path) -> str:
    return f"{error.filename or folder}: {error.strerror}"


def write_and_hash(path: Path, content: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in content:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def pin(pid: int, cores: Sequence[int] | None) -> None:
    try:
        if cores is not None:
            os.sched_setaffinity(pid, cores)
    except OSError as error:
        raise Trouble(f"cannot pin a process to the cores {list(cores or ())}: {error.strerror}") from error


def resident_bytes(pid: int) -> int:
    """What a process and the one that it may have forked hold in memory."""
    try:
        forks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        forks = []  # it ended between two looks
    return sum(map(_own_resident_bytes, [pid, *map(int, forks)]))


def _own_resident_bytes(pid: int) -> int:
    """Mapped files not counted: their pages can go whenever others need the memory."""
    try:
        _, resident, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
    except (OSError, ValueError):
        return 0  # it ended between two looks
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    host = Host(0, 1)
    try:
        if sys.version_info < (3, 9):  # noqa: UP036 - a device may have an older one
            raise Trouble(f"expected Python 3.9 or newer; {sys.executable} is {sys.version.split()[0]}")
        hello = {"python": sys.version.split()[0], "cores": sorted(os.sched_getaffinity(0))}
        host.send({"agent": hello})
        first = host.read_line(SILENCE_S)
        folder = Path.home() / Path(first["folder"]).expanduser()
        agent = Agent(host, folder, ENVIRONMENTS[first["runtime"]], first["who"])
    except HostIsGone:
        return
    except Trouble as trouble:
        host.send({"error": str(trouble)})
        return
    try:
        host.send({"result": {}})
        agent.serve()
    except (HostIsGone, BrokenPipeError):
        pass
    finally:
        agent.end()


if __name__ == "__main__":
    main()
