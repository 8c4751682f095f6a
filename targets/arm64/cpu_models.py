"""The ARM64 CPUs that QEMU can be told to be, and the boards that carry them.

The CPU is always named: it decides which kernels a runtime chooses, and with them the outputs and their cost. QEMU's
own default has every extension there is, as no device does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self, cast, get_args

from pydantic import StringConstraints, model_validator

from edgecc.section import Section

ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", max_length=255)]
"""Of a container's image."""
CpuName = Literal["cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1", "neoverse-v1"]
"""As QEMU's option `-cpu` spells it."""
BoardName = Literal[
    "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "jetson-nano", "graviton2", "graviton3"
]  # fmt: skip

BOARDS: dict[BoardName, CpuName] = {
    "raspberry-pi-3": "cortex-a53",
    "raspberry-pi-4": "cortex-a72",
    "raspberry-pi-5": "cortex-a76",
    "jetson-nano": "cortex-a57",
    "graviton2": "neoverse-n1",
    "graviton3": "neoverse-v1",
}


@dataclass(frozen=True)
class CpuModel:
    """A core of Arm's, as its main ID register and Linux tell it.

    Source: the cores' technical reference manuals (MIDR_EL1), and QEMU's target/arm/cpu64.c for the stepping it has.
    """

    name: CpuName
    part: int
    variant: int
    revision: int
    features: str
    """The `Features` of Linux's /proc/cpuinfo, with spaces between them."""


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV8_2 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
)  # fmt: skip
_ARMV8_4 = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 "
    "sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs paca pacg dcpodp svei8mm svebf16 i8mm bf16 dgh rng"
)

CPU_MODELS: dict[CpuName, CpuModel] = {
    model.name: model
    for model in (
        CpuModel("cortex-a53", part=0xD03, variant=0, revision=4, features=_ARMV8),
        CpuModel("cortex-a57", part=0xD07, variant=1, revision=0, features=_ARMV8),
        CpuModel("cortex-a72", part=0xD08, variant=0, revision=3, features=_ARMV8),
        CpuModel("cortex-a76", part=0xD0B, variant=4, revision=1, features=_ARMV8_2),
        CpuModel("neoverse-n1", part=0xD0C, variant=4, revision=1, features=_ARMV8_2),
        CpuModel("neoverse-v1", part=0xD40, variant=1, revision=2, features=_ARMV8_4),
    )
}


class CpuChoice(Section):
    """The two keys that say which CPU a target has: exactly one of them is there."""

    cpu: CpuName | None = None
    """The core, as QEMU names it."""
    board: BoardName | None = None
    """A board instead: it has the core of its processor."""

    @model_validator(mode="after")
    def _names_one_cpu(self) -> Self:
        if (self.cpu is None) == (self.board is None):
            raise ValueError(
                f"exactly one of `cpu` ({', '.join(get_args(CpuName))}) and `board` ({', '.join(get_args(BoardName))})"
            )
        return self

    @property
    def cpu_model(self) -> CpuModel:
        """The core that either key names."""
        return CPU_MODELS[self.cpu or BOARDS[cast(BoardName, self.board)]]


def cpuinfo(model: CpuModel, cores: int) -> str:
    """The text of Linux's /proc/cpuinfo on a machine with so many of these cores."""
    core = (
        "BogoMIPS\t: 100.00\n"
        f"Features\t: {model.features}\n"
        "CPU implementer\t: 0x41\n"
        "CPU architecture: 8\n"
        f"CPU variant\t: {model.variant:#x}\n"
        f"CPU part\t: {model.part:#x}\n"
        f"CPU revision\t: {model.revision}\n"
    )
    return "\n".join(f"processor\t: {number}\n{core}" for number in range(cores)) + "\n"
