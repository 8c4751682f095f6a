"""NVIDIA's GPUs, as the driver's management library (NVML) tells of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from edgecc.errors import TargetError

EXTRA = "pip install 'edgecc[cuda]'"
INSTALL_DRIVER = (
    "install NVIDIA's driver; where it works, `nvidia-smi` lists the GPUs. A container sees them where it was started "
    "with `--gpus all`"
)
LIST_GPUS = "set `device` to a number that `nvidia-smi -L` lists"

THROTTLING = {
    0x04: "power limit",
    0x08: "hardware slowdown",
    0x20: "temperature limit",
    0x40: "hardware temperature limit",
    0x80: "power brake",
}
"""The bits of nvmlClocksEventReasons that slow a busy GPU down; others are an idle GPU, and clocks that were set."""


@dataclass(frozen=True)
class Gpu:
    """One GPU at this moment; None where the driver does not tell."""

    name: str
    driver: str
    cuda: str
    """The newest version of CUDA that the driver runs."""
    frequency_mhz: float | None
    """Of its multiprocessors."""
    temperature_c: float | None
    throttling: str | None
    """What slows it down now, in words."""

    @property
    def in_words(self) -> str:
        """What makes it the same accelerator in two runs."""
        return f"{self.name}, driver {self.driver}, CUDA {self.cuda}"


def read_gpu(device: int) -> Gpu:
    """The GPU with this number, in the order of the driver.

    Raises:
        TargetError: nvidia-ml-py is not installed, no driver answers, or there is no such GPU.
    """
    with _nvml() as nvml:
        count = nvml.nvmlDeviceGetCount()
        if device >= count:
            numbered = [
                f"{index} ({nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(index))})" for index in range(count)
            ]
            raise TargetError(
                f"expected a GPU number {device}; there are {', '.join(numbered) or 'none'}", hint=LIST_GPUS
            )
        handle = nvml.nvmlDeviceGetHandleByIndex(device)
        cuda = nvml.nvmlSystemGetCudaDriverVersion()
        reasons = _told(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0
        return Gpu(
            name=nvml.nvmlDeviceGetName(handle),
            driver=nvml.nvmlSystemGetDriverVersion(),
            cuda=f"{cuda // 1000}.{cuda % 1000 // 10}",
            frequency_mhz=_told(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            temperature_c=_told(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            throttling=", ".join(words for bit, words in THROTTLING.items() if reasons & bit) or None,
        )


@contextlib.contextmanager
def _nvml() -> Iterator[Any]:
    try:
        import pynvml
    except ImportError as error:
        raise TargetError("nvidia-ml-py, which asks NVIDIA's driver, is not installed", hint=EXTRA) from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise TargetError(f"no NVIDIA driver answers: {error}", hint=INSTALL_DRIVER) from error
    try:
        yield pynvml
    except pynvml.NVMLError as error:
        raise TargetError(
            f"NVIDIA's driver does not tell of its GPU: {error}", hint="`nvidia-smi` says more"
        ) from error
    finally:
        pynvml.nvmlShutdown()


def _told(nvml: Any, ask: Callable[..., int], *arguments: Any) -> int | None:
    """What not every GPU and driver can answer."""
    try:
        return ask(*arguments)
    except nvml.NVMLError:
        return None
