"""The CPU of this machine, an x86-64.

The runner is imported when something runs: checking a project file asks for the options alone, and must be quick.
"""

from __future__ import annotations

import os
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from edgecc.errors import TargetError
from edgecc.results import Environment
from edgecc.targets.options import DeviceOptions
from edgecc.targets.target import Target
from edgecc.targets.turns import turn
from edgecc.targets.wire import InstructionsTask, RunReply, RunRequest
from edgecc.units import ByteSize

Core = Annotated[int, Field(ge=0)]


class X86CpuOptions(DeviceOptions):
    """The keys of a `[targets.NAME]` table with `kind = "x86_cpu"`."""

    memory_limit: ByteSize = 4e9
    """Bytes of resident memory, mapped files not counted, at which a run is killed as out of memory."""
    pin: frozenset[Core] | None = Field(default=None, min_length=1)
    """Core numbers the run may use; all where left out."""
    instructions: Literal["callgrind"] | None = None
    """What counts the instructions of an inference; they are unmeasured where it is left out."""

    @model_validator(mode="after")
    def _counts_one_thread(self) -> Self:
        if self.instructions is not None and self.num_threads > 1:
            raise ValueError(
                "`instructions` only with `num_threads = 1`, since threads never share the work the same way twice; "
                "give the count a target of its own"
            )
        return self


class X86CpuTarget(Target):
    """Runs on this machine's own CPU, one fresh process a request."""

    kind: ClassVar[str] = "x86_cpu"
    Options: ClassVar[type[BaseModel]] = X86CpuOptions

    def __init__(self, name: str, options: X86CpuOptions) -> None:
        self.name = name
        self.settings = options.settings
        self.cold_caches = options.caches == "cold"
        if options.instructions is not None:
            self.abilities |= {"instructions"}
        self._options = options

    def probe(self) -> Environment:
        """Say what is there, without importing a runtime.

        Raises:
            TargetError: not an x86-64, no runtime, or fewer cores than were asked for.
        """
        from edgecc.targets.runner import describe_environment

        environment = Environment.model_validate(describe_environment())
        self._check_machine(environment)
        return environment.model_copy(update={"cores": self._check_cores()})

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh process, and kill it after `timeout_s`.

        Raises:
            TargetError: the process cannot be started.
        """
        from edgecc.targets.child import run_in_child
        from edgecc.targets.instructions import count_instructions

        run = count_instructions if isinstance(request.task, InstructionsTask) else run_in_child
        with turn():
            return run(request, timeout_s=timeout_s, memory_limit_bytes=self._options.memory_limit, pin=self._pin())

    def _check_machine(self, environment: Environment) -> None:
        if environment.machine != "x86_64":
            raise TargetError(
                f"target `{self.name}`: expected an x86-64 machine; this one is {environment.machine}",
                hint="give this machine a target of its own kind, or run edgecc on an x86-64",
            )
        if not environment.runtimes:
            raise TargetError(
                f"target `{self.name}`: expected a runtime, ai-edge-litert or onnxruntime; neither is installed",
                hint="pip install ai-edge-litert onnxruntime",
            )

    def _check_cores(self) -> int:
        """How many cores a run may use."""
        present = os.sched_getaffinity(0)
        cores = present if self._options.pin is None else self._options.pin
        if absent := cores - present:
            raise TargetError(
                f"target `{self.name}`: `pin` names cores {_listed(absent)}; there are {_listed(present)}",
                hint="pin to cores that exist and that this process may use",
            )
        if self._options.num_threads > len(cores):
            raise TargetError(
                f"target `{self.name}`: expected at most {len(cores)} threads, one for each core it may use; "
                f"`num_threads` is {self._options.num_threads}",
                hint=f"set num_threads to {len(cores)} or less",
            )
        return len(cores)

    def _pin(self) -> list[int] | None:
        return None if self._options.pin is None else sorted(self._options.pin)


def _listed(cores: frozenset[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
