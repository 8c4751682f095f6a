"""A device that is reached over SSH: a Raspberry Pi, a Jetson, any Linux with Python 3.9 or newer and an SSH server.

An agent (`agent.py`) runs there for as long as the target is open. What is timed, and the clock, are the device's own.
"""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, StringConstraints, field_validator

from edgecc.errors import TargetError
from edgecc.progress import Progress
from edgecc.results import Environment, Failure, FailureKind
from edgecc.targets.options import AbsolutePath, DeviceOptions
from edgecc.targets.target import Target
from edgecc.targets.wire import Beside, RunReply, RunRequest
from edgecc.targets.x86_cpu import Core
from edgecc.units import ByteSize, Duration

if TYPE_CHECKING:
    from edgecc.targets.device_agent import DeviceAgent

Word = Annotated[str, StringConstraints(pattern=r"^[^\s@-][^\s@]*$")]
"""Neither empty nor an option."""


class SshOptions(DeviceOptions):
    """The keys of a `[targets.NAME]` table with `kind = "ssh"`."""

    host: Word
    """A name or an address."""
    user: Word | None = None
    """As whom to log in; the user here where it is left out."""
    port: int = Field(default=22, gt=0, lt=65536)
    key: AbsolutePath | None = None
    """A private key; those of the ssh-agent and the default ones in ~/.ssh where it is left out."""
    jump: str | None = None
    """A server to go through: `user@host:port`."""
    known_hosts: AbsolutePath = Field(default=Path("~/.ssh/known_hosts"), validate_default=True)
    """The host keys to trust. There is no way to trust others."""
    folder: str = Field(default="~/.edgecc", min_length=1)
    """On the device: for the virtual environments and, while a target is open, for what is measured."""
    python: str = Field(default="python3", pattern=r"^[^-\s][^\n]*$")
    """On the device: what makes the virtual environment and runs the agent."""
    runtime: Literal["litert", "tflite_runtime"] = "litert"
    """What runs `.tflite` files; each has a virtual environment of its own."""
    memory_limit: ByteSize | None = None
    """Bytes of resident memory, mapped files not counted, at which a run is killed as out of memory; three quarters of
    the device's where it is left out."""
    pin: frozenset[Core] | None = Field(default=None, min_length=1)
    """Core numbers of the device that the run may use; all where left out."""
    connect_timeout: Duration = 10.0
    """Seconds to wait for the device to answer."""

    @field_validator("jump")
    @classmethod
    def _is_address(cls, jump: str | None) -> str | None:
        from edgecc.targets.ssh_connection import Address

        if jump is not None:
            Address.parse(jump, default_user="")
        return jump


class SshTarget(Target):
    """Runs on a device over SSH, one fresh process a request. One connection serves for as long as it is open."""

    kind: ClassVar[str] = "ssh"
    Options: ClassVar[type[BaseModel]] = SshOptions

    def __init__(self, name: str, options: SshOptions) -> None:
        self.name = name
        self.settings = options.settings
        self.tflite_runtime = options.runtime
        self.cold_caches = options.caches == "cold"
        self.device = f"{options.user or getpass.getuser()}@{options.host}:{options.port}"
        self._options = options
        self._agent: DeviceAgent | None = None

    def probe(self) -> Environment:
        """Say what is there.

        Raises:
            TargetError: it does not answer, is not set up, or has fewer cores than were asked for.
        """
        with self._alone() as agent:
            self._check_cores(agent.cores)
            environment = agent.describe(self._pin())
        if environment is None or not environment.runtimes:
            runtime, folder = self._options.runtime, self._options.folder
            lack = "virtual environment" if environment is None else "runtime in the virtual environment"
            raise TargetError(
                f"target `{self.name}`: {self.device} has no {lack} for {runtime} in {folder}",
                hint=f"edgecc targets --setup {self.name}",
            )
        return environment

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh process on the device, and kill it after `timeout_s`.

        Raises:
            TargetError: the device was lost.
            OutputError: the outputs cannot be written here.
        """
        from edgecc.files import sha256_of_file

        artifacts = [each for each in (request, request.beside) if each is not None]
        if refused := next(filter(None, map(_changed, artifacts)), None):
            return RunReply(failure=refused)
        files = {each.artifact_sha256: Path(each.artifact_path) for each in artifacts}
        there = _named_by_digest(request)
        if request.inputs_path is not None:
            samples = Path(request.inputs_path)
            there = there.model_copy(update={"inputs_path": sha256_of_file(samples)})
            files[str(there.inputs_path)] = samples
        with self._alone() as agent:
            for sha256, path in files.items():
                agent.put(path, sha256)
            return agent.run(
                there,
                timeout_s=timeout_s,
                memory_limit_bytes=self._options.memory_limit,
                cores=self._pin(),
            )

    def set_up(self, progress: Progress) -> None:
        """Make the runtime's virtual environment on the device, with numpy and what runs there.

        Raises:
            TargetError: it does not answer, or cannot have them.
        """
        from edgecc.targets.device_setup import install_runtimes

        with self._alone() as agent:
            install_runtimes(agent, self.name, self._options.runtime, progress)

    def clean_up(self) -> None:
        """Remove the virtual environments of both runtimes, and the folder unless something else is in it.

        Raises:
            TargetError: it does not answer.
        """
        with self._alone() as agent:
            agent.remove()
        self.close()

    def close(self) -> None:
        """End the agent, which kills what runs; what was sent is removed there."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.close()

    def held_by(self) -> str | None:
        """Who measures on the device now, as it tells.

        Raises:
            TargetError: it does not answer.
        """
        return self._connected().holder()

    def _connected(self) -> DeviceAgent:
        if self._agent is None:
            self._agent = self._connect()
        return self._agent

    @contextlib.contextmanager
    def _alone(self) -> Iterator[DeviceAgent]:
        """The agent on its turn. Whatever goes wrong, it is ended: nobody shall wait for a turn that is not used."""
        agent = self._connected()
        try:
            with agent.turn():
                yield agent
        except BaseException:
            self.close()
            raise

    def _connect(self) -> DeviceAgent:
        from edgecc.targets.device_agent import DeviceAgent, start_command
        from edgecc.targets.ssh_connection import Address, Connection, Login

        options = self._options
        user = options.user or getpass.getuser()
        connection = Connection(
            Address(user, options.host, options.port),
            None if options.jump is None else Address.parse(options.jump, default_user=user),
            Login(options.key, options.known_hosts, options.connect_timeout),
            start_command(options.python),
        )
        try:
            return DeviceAgent(connection, f"target `{self.name}`: {self.device}", options.folder, options.runtime)
        except BaseException:
            connection.finish()
            raise

    def _check_cores(self, present: frozenset[int]) -> None:
        cores = present if self._options.pin is None else self._options.pin
        if absent := cores - present:
            raise TargetError(
                f"target `{self.name}`: `pin` names cores {_listed(absent)}; {self.device} has {_listed(present)}",
                hint="pin to cores that exist and that this user may use",
            )
        if self._options.num_threads > len(cores):
            raise TargetError(
                f"target `{self.name}`: expected at most {len(cores)} threads, one for each core it may use; "
                f"`num_threads` is {self._options.num_threads}",
                hint=f"set num_threads to {len(cores)} or less",
            )

    def _pin(self) -> list[int] | None:
        return None if self._options.pin is None else sorted(self._options.pin)


def _named_by_digest(request: RunRequest) -> RunRequest:
    """The request with the names that its artifacts have on the device."""
    update: dict[str, Any] = {"artifact_path": request.artifact_sha256}
    if request.beside is not None:
        own = {"artifact_path": request.beside.artifact_sha256}
        update["beside"] = request.beside.model_copy(update=own)
    return request.model_copy(update=update)


def _changed(artifact: RunRequest | Beside) -> Failure | None:
    """What the runner would say on the spot of a file that is gone or was changed."""
    from edgecc.files import sha256_of_file

    path, sha256 = artifact.artifact_path, artifact.artifact_sha256
    try:
        found = sha256_of_file(Path(path))
    except OSError as error:
        return Failure(kind=FailureKind.REFUSED, message=f"{path}: cannot be read: {error.strerror}")
    if found != sha256:
        message = f"{path}: expected the sha256 {sha256}; got {found}: the file was changed"
        return Failure(kind=FailureKind.REFUSED, message=message)
    return None


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
