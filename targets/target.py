"""The seam between edgecc and a device: a target answers what it is, and runs requests. Adding one is adding a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from edgecc.artifact import Format
from edgecc.errors import TargetError
from edgecc.metrics import Ability
from edgecc.progress import Progress
from edgecc.results import Environment
from edgecc.targets.turns import is_taken
from edgecc.targets.wire import RunReply, RunRequest, Runtime, RuntimeSettings

THIS_MACHINE = "this machine"


class Target(ABC):
    """One device, or one way to run on this machine. It is a context manager."""

    kind: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The keys a `[targets.NAME]` table of this kind takes."""
    name: str
    settings: RuntimeSettings = RuntimeSettings()
    """How the runtimes compute there."""
    cold_caches: bool = False
    """True where each timed inference finds the processor's caches full of other data."""
    tflite_runtime: Runtime = "litert"
    """What runs `.tflite` files."""
    emulated: bool = False
    """True where the wall clock is not a device's own."""
    abilities: frozenset[Ability] = frozenset({"latency", "outputs"})
    """The kinds of task it answers as its options have it. What it cannot do is unmeasured there, never tried."""
    device: str = THIS_MACHINE
    """What it measures on, in words; two targets with one device never measure at the same time."""

    @abstractmethod
    def __init__(self, name: str, options: Any) -> None:
        """Take the checked `Options`. Nothing is started or sent before `probe` or `run`."""

    @abstractmethod
    def probe(self) -> Environment:
        """Say what is there.

        Raises:
            TargetError: it does not answer, or lacks something; says what is missing and how to get it.
        """

    @abstractmethod
    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh process on the target, and kill it after `timeout_s`.

        A crash, a hang or an out-of-memory is a reply with its cause, not an exception.

        Raises:
            TargetError: the target itself was lost.
        """

    def held_by(self) -> str | None:
        """Who else measures on the device now, and is waited for, in words; None where nobody does.

        Raises:
            TargetError: it does not answer.
        """
        return "something else measures on this machine" if self.device == THIS_MACHINE and is_taken() else None

    def runtime_of(self, format: Format) -> Runtime:
        """What runs files of a format here."""
        return self.tflite_runtime if format is Format.TFLITE else "onnxruntime"

    def run_all(self, requests: Sequence[RunRequest], *, timeout_s: float) -> Iterator[RunReply]:
        """Run several, each in a fresh process; `timeout_s` is for one. A target that has to start may start once.

        Raises:
            TargetError: as `run`.
        """
        return (self.run(request, timeout_s=timeout_s) for request in requests)

    def set_up(self, progress: Progress) -> None:  # noqa: ARG002
        """Bring to the target what it lacks; it may be called again.

        Raises:
            TargetError: something is missing that only the user can bring, or there is nothing to set up.
        """
        raise TargetError(f"target `{self.name}`: a target of kind `{self.kind}` needs no set-up")

    def clean_up(self) -> None:
        """Remove what `set_up` brought.

        Raises:
            TargetError: it does not answer, or there is nothing to remove.
        """
        raise TargetError(f"target `{self.name}`: edgecc sets nothing up for the kind `{self.kind}`")

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Leave nothing running on the target."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
