"""An ARM64 machine that QEMU emulates whole, to count the instructions of an inference: the same count every time.

The count is of all that the machine does while an inference runs, the kernel's share with it. It knows nothing of
caches, memory or instructions per cycle: it tells whether a model got more costly, and is never a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ValidationError

from edgecc.artifact import first_problem
from edgecc.errors import TargetError
from edgecc.metrics import Ability
from edgecc.progress import Progress
from edgecc.results import Environment
from edgecc.targets.arm64.cpu_models import CpuChoice, ImageName
from edgecc.targets.options import AbsolutePath, RuntimeOptions
from edgecc.targets.target import Target
from edgecc.targets.turns import turn
from edgecc.targets.wire import RunReply, RunRequest

if TYPE_CHECKING:
    from edgecc.targets.arm64.boot import Guest
    from edgecc.targets.arm64.lacks import Lack

DESCRIBE = b"""import json, pathlib, runner, sys
pathlib.Path(sys.argv[2]).write_text(json.dumps(runner.describe_environment()))
"""
DESCRIBE_TIMEOUT_S = 300.0


class Arm64QemuOptions(CpuChoice, RuntimeOptions):
    """The keys of a `[targets.NAME]` table with `kind = "arm64_qemu"`, beside `cpu` and `board`."""

    base_image: ImageName = "python:3.11-slim"
    """An image with Python 3.11 for ARM64, as of the kind `arm64_docker`: the root file system is made of it."""
    kernel: AbsolutePath | None = None
    """A Linux kernel for ARM64; Debian's where left out."""
    runtime: Literal["litert", "tflite_runtime"] = "litert"
    """What runs `.tflite` files."""


class Arm64QemuTarget(Target):
    """Starts one emulated machine for several requests, and runs each in a fresh process there."""

    kind: ClassVar[str] = "arm64_qemu"
    Options: ClassVar[type[BaseModel]] = Arm64QemuOptions
    abilities: frozenset[Ability] = frozenset({"instructions"})
    emulated = True

    def __init__(self, name: str, options: Arm64QemuOptions) -> None:
        self.name = name
        self.settings = options.settings
        self.tflite_runtime = options.runtime
        self._options = options
        self._cpu = options.cpu_model.name
        self._guest: Guest | None = None
        self._is_closed = False

    def probe(self) -> Environment:
        """Say what is there, without starting it.

        Raises:
            TargetError: QEMU is not installed or does not know the CPU, or the machine was not made yet.
        """
        from edgecc.targets.arm64.machine import read_description

        self._require_emulator()
        description = read_description(self._machine())
        if description is None:
            raise TargetError(
                f"target `{self.name}`: the machine to emulate was not made yet",
                hint=f"edgecc targets --setup {self.name}",
            )
        return self._as_emulated(description)

    def set_up(self, progress: Progress) -> None:
        """Make the machine: a root file system out of the image, which is built where it is missing, and a kernel.

        Raises:
            TargetError: something is missing (all of it is named), or the machine does not start.
            OutputError: the cache folder cannot be written to.
        """
        from edgecc.targets.arm64.image import build
        from edgecc.targets.arm64.machine import make_machine, read_description

        machine = self._machine()
        if read_description(machine) is not None:
            self._require_emulator()
            return
        self._require_builders()
        build(self._options.base_image, progress)
        make_machine(machine, self._options.base_image, self._options.kernel, self._describe, progress)

    def clean_up(self) -> None:
        """Remove the machine. The image stays: other targets may run it.

        Raises:
            OutputError: it cannot be removed.
        """
        from edgecc.targets.arm64.machine import remove_machine

        remove_machine(self._machine())

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in a machine of its own.

        Raises:
            TargetError: the machine cannot be started.
        """
        [reply] = self.run_all([request], timeout_s=timeout_s)
        return reply

    def run_all(self, requests: Sequence[RunRequest], *, timeout_s: float) -> Iterator[RunReply]:
        """Run several in one machine, each in a fresh process; where one takes the machine with it, another is started.

        `timeout_s` is for one request, by this machine's clock and by the emulated one's, of 10⁹ instructions a second.

        Raises:
            TargetError: the machine cannot be started.
        """
        from edgecc.targets.arm64.carry import batch, refusal

        left = list(requests)
        while left:
            if (refused := refusal(left[0])) is not None:
                yield RunReply(failure=refused)
                del left[0]
                continue
            for reply in self._run_batch(batch(left), timeout_s):
                yield reply
                del left[0]

    def close(self) -> None:
        """End the machine, where one runs."""
        self._is_closed = True
        if self._guest is not None:
            self._guest.kill()

    def _run_batch(self, requests: Sequence[RunRequest], timeout_s: float) -> Iterator[RunReply]:
        """Replies to the first ones, as many as one machine gives: at least one."""
        from edgecc.targets.arm64.boot import GuestLost
        from edgecc.targets.arm64.carry import packed, read_reply

        with turn(), self._started(self._machine(), packed(requests, timeout_s)) as guest:
            for index in range(len(requests)):
                self._expect_start(guest, index)
                try:
                    ended = guest.listen("ended", index, timeout_s=timeout_s)
                except GuestLost as error:
                    self._check_open()
                    yield RunReply(failure=error.failure)
                    return
                yield self._with_counter(read_reply(ended, timeout_s))

    def _started(self, machine: Path, files: Mapping[str, bytes | Path]) -> Guest:
        from edgecc.targets.arm64.boot import Guest

        self._guest = Guest(self._cpu, machine, files)
        return self._guest

    def _expect_start(self, guest: Guest, index: int) -> None:
        from edgecc.targets.arm64.boot import SILENCE_S, GuestLost

        self._check_open()
        try:
            guest.listen("started", index, timeout_s=SILENCE_S)
        except GuestLost as error:
            self._check_open()
            raise TargetError(f"target `{self.name}`: {error}") from error

    def _check_open(self) -> None:
        if self._is_closed:
            raise TargetError(f"target `{self.name}` was closed")

    def _with_counter(self, reply: RunReply) -> RunReply:
        if reply.failure is not None or reply.environment is None:
            return reply
        counter = f"the clock of QEMU {self._qemu_version} with -icount, which emulates a {self._cpu}"
        environment = self._as_emulated(reply.environment)
        return reply.model_copy(update={"instructions_counter": counter, "environment": environment})

    def _as_emulated(self, environment: Environment) -> Environment:
        cpu_model = f"{self._cpu}, emulated by QEMU {self._qemu_version}"
        return environment.model_copy(update={"cpu_model": cpu_model, "emulated": True})

    def _describe(self, machine: Path) -> Environment:
        """What a machine tells of itself once it runs."""
        from edgecc.targets.arm64.boot import GuestLost
        from edgecc.targets.arm64.carry import job

        files = {**job("describe.py", ["litert"], DESCRIBE_TIMEOUT_S), "describe.py": DESCRIBE, "0/request.json": b""}
        try:
            with turn(), self._started(machine, files) as guest:
                self._expect_start(guest, 0)
                ended = guest.listen("ended", 0, timeout_s=DESCRIBE_TIMEOUT_S)
            return Environment.model_validate_json(ended["reply"])
        except GuestLost as error:
            raise TargetError(f"target `{self.name}`: {error}") from error
        except ValidationError as error:
            said = ended["log"].strip().splitlines()[-1:] or [first_problem(error)]
            raise TargetError(f"target `{self.name}`: the emulated machine cannot run Python: {said[0]}") from error

    def _machine(self) -> Path:
        from edgecc.targets.arm64.machine import machine_folder

        return machine_folder(self._options.base_image, self._options.kernel)

    @cached_property
    def _qemu_version(self) -> str:
        from edgecc.targets.arm64.system_emulator import system_emulator_version

        return system_emulator_version()

    def _require_emulator(self) -> None:
        from edgecc.targets.arm64.lacks import require_nothing_of
        from edgecc.targets.arm64.system_emulator import system_emulator_lack

        require_nothing_of(_found(system_emulator_lack(self._cpu)), self.name)

    def _require_builders(self) -> None:
        """All that making the machine takes."""
        from edgecc.targets.arm64.emulator import emulator_lacks
        from edgecc.targets.arm64.engine import engine_lack
        from edgecc.targets.arm64.image import image_lacks
        from edgecc.targets.arm64.kernel import kernel_lack
        from edgecc.targets.arm64.lacks import require_nothing_of
        from edgecc.targets.arm64.system_emulator import system_emulator_lack

        image = [engine_lack(), *emulator_lacks(self._options.cpu_model), *image_lacks(self._options.base_image)]
        kernel = [kernel_lack()] if self._options.kernel is None else []
        require_nothing_of(_found(system_emulator_lack(self._cpu), *image, *kernel), self.name)


def _found(*lacks: Lack | None) -> list[Lack]:
    return [lack for lack in lacks if lack is not None]
