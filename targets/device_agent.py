"""The host's side of `agent.py`: starts it on a device over any pair of streams, and speaks with it."""

from __future__ import annotations

import contextlib
import getpass
import json
import shlex
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import ValidationError

from edgecc.artifact import first_problem
from edgecc.errors import TargetError
from edgecc.files import sha256_of_file, writing_to
from edgecc.results import Environment, Failure, FailureKind
from edgecc.targets.agent import CHUNK_BYTES
from edgecc.targets.child import RUNNER, failure_of_exit
from edgecc.targets.wire import RunReply, RunRequest, Runtime
from edgecc.units import format_bytes

SOURCE = Path(__file__).with_name("agent.py")
WAIT_S = 600.0
"""How long somebody else's measurement is waited for."""
ANSWER_S = 90.0
"""How long a device may be silent beyond what it was asked to do."""
SETUP_S = 3600.0
"""How long one installation may take on a slow device."""
_NOISE_BYTES = 1 << 16
"""What a user's shell may print before the agent's first line."""

_START = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"


def start_command(python: str) -> str:
    """What a device's shell is given: it starts `agent.py`, whose length and source follow on stdin."""
    return f"exec {shlex.quote(python)} -I -c {shlex.quote(_START)}"


class Stream(Protocol):
    """A program's stdin and stdout, wherever it runs. What fails raises OSError or EOFError."""

    def send(self, data: bytes) -> None:
        """Send all of it."""

    def receive(self, size_bytes: int, timeout_s: float) -> bytes:
        """Some bytes, at most so many; none where the program ended. Raises TimeoutError."""

    def finish(self) -> None:
        """Close the program's stdin and let it end; afterwards, or when it takes too long, everything is closed."""

    def last_words(self) -> str:
        """How the program ended and the end of its stderr, where that is known; else an empty text."""


@dataclass(frozen=True)
class Executed:
    """How a command on the device ended."""

    returncode: int = 0
    log: str = ""
    """The end of what it printed."""
    reply: str | None = None
    """What the runner wrote; None where there is no environment to run it in."""
    killed: FailureKind | None = None
    limit_bytes: float | None = None
    """The limit on its memory."""


class DeviceAgent:
    """An agent that runs on a device, and the files that it has.

    Raises:
        TargetError: from every method: the device was lost, or the agent says what it cannot do.
    """

    def __init__(self, stream: Stream, place: str, folder: str, runtime: Runtime = "litert") -> None:
        """Start it.

        Args:
            stream: a program on the device that `start_command` starts.
            place: names the device in messages.
            folder: on the device.
            runtime: what runs `.tflite` files in the virtual environment that is meant.
        """
        self._stream, self._place = stream, place
        self._rest = b""
        self._has: set[str] = set()
        source = SOURCE.read_bytes()
        self._send(f"{len(source)}\n".encode() + source)
        hello = self._first_line()
        self.python: str = hello["python"]
        self.cores: frozenset[int] = frozenset(hello["cores"])
        who = f"{getpass.getuser()}@{socket.gethostname()}"
        self._send_line({"folder": folder, "runtime": runtime, "who": who})
        self._answer(ANSWER_S)

    def close(self) -> None:
        """End it; it kills what it runs and removes its session's files."""
        self._stream.finish()

    def holder(self) -> str | None:
        """Who has the device now, in words; None where nobody has."""
        holder: str | None = self._ask("holder", ANSWER_S)["holder"]
        return holder

    @contextlib.contextmanager
    def turn(self, wait_s: float = WAIT_S) -> Iterator[Self]:
        """Have the device alone."""
        self._ask("take_turn", wait_s + ANSWER_S, wait_s=wait_s)
        yield self  # where the block raised, the connection is not used again
        self._ask("give_turn", ANSWER_S)

    def put(self, path: Path, sha256: str) -> None:
        """Send a file, unless the device has it already."""
        if sha256 in self._has:
            return
        with path.open("rb") as file:
            left_bytes = path.stat().st_size
            self._send_line({"verb": "put", "sha256": sha256, "content_bytes": left_bytes})
            while left_bytes:
                chunk = file.read(min(CHUNK_BYTES, left_bytes))
                if not chunk:
                    raise self._lost(f"{path} became shorter while it was sent")
                self._send(chunk)
                left_bytes -= len(chunk)
        self._answer(ANSWER_S)
        self._has.add(sha256)

    def describe(self, cores: Sequence[int] | None) -> Environment | None:
        """Where a run would run; None where the device has no virtual environment."""
        done = self._executed("describe", 2 * ANSWER_S, runner=self._put_runner(RUNNER), cores=cores)
        if done.reply is None:
            return None
        try:
            return Environment.model_validate_json(done.reply)
        except ValidationError as error:
            said = (done.log.strip().splitlines() or [first_problem(error)])[-1]
            raise TargetError(f"{self._place}: its virtual environment does not work: {said}") from error

    def run(
        self,
        request: RunRequest,
        *,
        timeout_s: float,
        memory_limit_bytes: float | None = None,
        cores: Sequence[int] | None = None,
        runner: Path = RUNNER,
    ) -> RunReply:
        """Run a request whose artifact and inputs are named by the digests of files that were put.

        Outputs are written to its `outputs_path`, which is on the host.
        """
        done = self._executed(
            "run",
            timeout_s + ANSWER_S,
            Path(request.outputs_path) if request.outputs_path is not None else None,
            runner=self._put_runner(runner),
            request=request.model_dump(mode="json"),
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
            cores=cores,
        )
        failure = _failure(done, timeout_s) or failure_of_exit(done.returncode, done.log)
        return RunReply(failure=failure, log=done.log) if failure is not None else _parsed(done)

    def make_environment(self) -> Executed:
        """Make the virtual environment, or leave the one that works."""
        return self._executed("make_environment", SETUP_S + ANSWER_S, timeout_s=SETUP_S)

    def install(self, packages: Sequence[str]) -> Executed:
        """Install wheels into the virtual environment."""
        return self._executed("install", SETUP_S + ANSWER_S, packages=packages, timeout_s=SETUP_S)

    def remove(self) -> None:
        """Remove every virtual environment, and the folder where nothing else is in it."""
        self._ask("remove", SETUP_S)

    def _put_runner(self, runner: Path) -> str:
        sha256 = sha256_of_file(runner)
        self.put(runner, sha256)
        return sha256

    def _executed(self, verb: str, within_s: float, outputs: Path | None = None, **arguments: Any) -> Executed:
        return Executed(**self._ask(verb, within_s, outputs, **arguments))

    def _ask(self, verb: str, within_s: float, outputs: Path | None = None, **arguments: Any) -> dict[str, Any]:
        self._send_line({"verb": verb, **arguments})
        answer = self._answer(within_s)
        if "content_bytes" in answer:
            assert outputs is not None  # noqa: S101 - nobody else asks for any
            self._receive_file(outputs, answer["content_bytes"])
        result: dict[str, Any] = answer["result"]
        return result

    def _answer(self, within_s: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._receive_line(within_s))
        if "error" in answer:
            raise TargetError(f"{self._place}: {answer['error']}")
        return answer

    def _first_line(self) -> dict[str, Any]:
        """What the agent says first; a shell that greets its user says something before it."""
        read_bytes = 0
        while read_bytes < _NOISE_BYTES:
            line = self._receive_line(ANSWER_S)
            read_bytes += len(line)
            with contextlib.suppress(ValueError):
                answer = json.loads(line)
                if isinstance(answer, dict) and "error" in answer:
                    raise TargetError(f"{self._place}: {answer['error']}")
                if isinstance(answer, dict) and "agent" in answer:
                    return dict(answer["agent"])
        raise self._lost("its shell prints without end")

    def _send_line(self, value: dict[str, Any]) -> None:
        self._send(json.dumps(value).encode() + b"\n")

    def _receive_line(self, within_s: float) -> bytes:
        while b"\n" not in self._rest:
            self._rest += self._receive(within_s)
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _receive_file(self, path: Path, size_bytes: int) -> None:
        with writing_to(path), path.open("wb") as file:
            while size_bytes:
                if not self._rest:
                    self._rest = self._receive(ANSWER_S)
                chunk, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
                file.write(chunk)
                size_bytes -= len(chunk)

    def _send(self, data: bytes) -> None:
        try:
            self._stream.send(data)
        except (OSError, EOFError) as error:
            raise self._lost("the connection was cut") from error

    def _receive(self, within_s: float) -> bytes:
        try:
            data = self._stream.receive(CHUNK_BYTES, within_s)
        except TimeoutError as error:
            raise self._lost(f"no answer within {within_s:g} s") from error
        except (OSError, EOFError) as error:
            raise self._lost("the connection was cut") from error
        if not data:
            raise self._lost("the connection was cut")
        return data

    def _lost(self, why: str) -> TargetError:
        return TargetError(f"{self._place}: {self._stream.last_words() or why}")


def _failure(done: Executed, timeout_s: float) -> Failure | None:
    """Of what the agent had to kill; in the words of `child.py`."""
    if done.killed == FailureKind.TIMED_OUT:
        return Failure(kind=FailureKind.TIMED_OUT, message=f"killed after the limit of {timeout_s:g} s")
    if done.killed == FailureKind.OUT_OF_MEMORY and done.limit_bytes is not None:
        limit = format_bytes(done.limit_bytes)
        message = f"killed when its memory passed the limit of {limit}"
        return Failure(kind=FailureKind.OUT_OF_MEMORY, message=message)
    return None


def _parsed(done: Executed) -> RunReply:
    if not done.reply:
        failure = Failure(kind=FailureKind.CRASHED, message="the process ended without a reply")
        return RunReply(failure=failure, log=done.log)
    try:
        reply = RunReply.model_validate_json(done.reply)
    except ValidationError as error:
        message = f"the reply cannot be read: {first_problem(error)}"
        return RunReply(failure=Failure(kind=FailureKind.CRASHED, message=message), log=done.log)
    return reply.model_copy(update={"log": done.log})
