"""ARM64 Linux in a container on this machine: emulated by QEMU's user mode, or native where this machine is an ARM64.

Emulated, the outputs are those of the device and the times are nobody's.
The engine and the runner are imported when something runs: checking a project file asks for the options alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel

from edgecc.errors import TargetError
from edgecc.progress import Progress
from edgecc.results import Environment
from edgecc.targets.arm64.cpu_models import CpuChoice, ImageName
from edgecc.targets.arm64.emulator import emulator_lacks, is_native, qemu_version
from edgecc.targets.arm64.lacks import Lack, require_nothing_of
from edgecc.targets.options import ThreadedOptions
from edgecc.targets.target import Target
from edgecc.targets.turns import turn
from edgecc.targets.wire import RunReply, RunRequest
from edgecc.units import ByteSize

if TYPE_CHECKING:
    from edgecc.targets.arm64.runs import Machine


class Arm64DockerOptions(CpuChoice, ThreadedOptions):
    """The keys of a `[targets.NAME]` table with `kind = "arm64_docker"`."""

    memory_limit: ByteSize = 1e9
    """Bytes of memory at which a run is killed; what QEMU needs itself is in it."""
    base_image: ImageName = "python:3.11-slim"
    """An image with Python 3.11 for ARM64; `local` for one that is made here out of Debian's packages."""
    runtime: Literal["litert", "tflite_runtime"] = "litert"
    """What runs `.tflite` files."""


class Arm64DockerTarget(Target):
    """Runs every request in a fresh container."""

    kind: ClassVar[str] = "arm64_docker"
    Options: ClassVar[type[BaseModel]] = Arm64DockerOptions

    def __init__(self, name: str, options: Arm64DockerOptions) -> None:
        self.name = name
        self.settings = options.settings
        self.tflite_runtime = options.runtime
        self.emulated = not is_native()
        self._options = options

    def probe(self) -> Environment:
        """Say what is there. A container is started for it, once.

        Raises:
            TargetError: Docker, QEMU or the image is missing, or fewer cores than were asked for.
        """
        return self._environment

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh container, and kill it after `timeout_s`.

        Raises:
            TargetError: Docker's engine stopped, or the image is gone.
            OutputError: the temporary folder, or that of the outputs, cannot be written to.
        """
        from edgecc.targets.arm64.runs import answer

        with turn():
            reply = answer(self._machine, request, timeout_s)
        if reply.environment is None:
            return reply
        return reply.model_copy(update={"environment": self._corrected(reply.environment)})

    def set_up(self, progress: Progress) -> None:
        """Build the image where it is not there yet.

        Raises:
            TargetError: something is missing that only the user can bring, or the image cannot be built.
            OutputError: the temporary folder cannot be written to.
        """
        from edgecc.targets.arm64.image import build, image_lacks

        require_nothing_of([*self._lacks(), *image_lacks(self._options.base_image)], self.name)
        build(self._options.base_image, progress)

    def clean_up(self) -> None:
        """Remove the image, and the base where it was made here. Targets with the same base share them.

        Raises:
            TargetError: Docker's engine does not answer.
        """
        from edgecc.targets.arm64.image import remove

        remove(self._options.base_image)

    @cached_property
    def _environment(self) -> Environment:
        from edgecc.targets.arm64.container import remove_orphans
        from edgecc.targets.arm64.image import is_built
        from edgecc.targets.arm64.runs import describe

        lacks = self._lacks()
        if not lacks and not is_built(self._options.base_image):
            lacks = [Lack(f"its image {self._machine.image} is not built", f"edgecc targets --setup {self.name}")]
        require_nothing_of(lacks, self.name)
        remove_orphans()
        with turn():
            environment = self._corrected(Environment.model_validate(describe(self._machine)))
        self._check_threads(environment.cores)
        return environment

    @cached_property
    def _machine(self) -> Machine:
        from edgecc.targets.arm64.image import image_tag
        from edgecc.targets.arm64.runs import Machine

        cpu = self._options.cpu_model if self.emulated else None
        return Machine(image_tag(self._options.base_image), cpu, self._options.memory_limit)

    @cached_property
    def _emulated_cpu(self) -> str:
        return f"{self._options.cpu_model.name}, emulated by QEMU {qemu_version()}"

    def _lacks(self) -> list[Lack]:
        from edgecc.targets.arm64.engine import engine_lack

        lack = engine_lack()
        return [*([] if lack is None else [lack]), *emulator_lacks(self._options.cpu_model)]

    def _corrected(self, environment: Environment) -> Environment:
        """What the runner cannot know: that its CPU is emulated, and that the sensors are another one's."""
        if not self.emulated:
            return environment
        sensors = dict.fromkeys(("governor", "frequency_mhz", "temperature_c", "throttling"))
        return environment.model_copy(update={"emulated": True, "cpu_model": self._emulated_cpu, **sensors})

    def _check_threads(self, cores: int) -> None:
        if self._options.num_threads > cores:
            raise TargetError(
                f"target `{self.name}`: expected at most {cores} threads, one for each core it may use; "
                f"`num_threads` is {self._options.num_threads}",
                hint=f"set num_threads to {cores} or less",
            )
