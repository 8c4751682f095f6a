"""The seam between edgecc and a device: a target answers what it is, and runs requests. Adding one is adding a file."""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel

from edgecc.results import Environment
from edgecc.targets.wire import RunReply, RunRequest


class Target(Protocol):
    """One device, or one way to run on this machine."""

    kind: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The keys a `[targets.NAME]` table of this kind takes."""
    emulated: ClassVar[bool]
    """True where the wall clock is not a device's own."""
    name: str
    num_threads: int
    counts_instructions: bool
    """Whether it was set up to answer an InstructionsTask."""

    def __init__(self, name: str, options: Any) -> None:
        """Take the checked `Options`. Nothing is started or sent before `probe` or `run`."""

    def probe(self) -> Environment:
        """Say what is there.

        Raises:
            TargetError: it does not answer, or lacks something; says what is missing and how to get it.
        """

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh process on the target, and kill it after `timeout_s`.

        A crash, a hang or an out-of-memory is a reply with its cause, not an exception.

        Raises:
            TargetError: the target itself was lost.
        """

    def close(self) -> None:
        """Leave nothing behind on the target."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
