"""Keys that several kinds of target take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edgecc.section import Section
from edgecc.targets.wire import CPU_PROVIDER, GPU_PROVIDERS, RuntimeSettings


def _absolute(path: Path) -> Path:
    try:
        absolute = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"`{path}`: there is no such user's home folder") from error
    if not absolute.is_absolute():
        raise ValueError(f"expected an absolute path, or one that begins with `~`; got `{path}`")
    return absolute


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A file of this machine that belongs to no project; `~` is the home folder."""


def _of_the_processor(provider: str) -> str:
    if provider in GPU_PROVIDERS:
        raise ValueError(f"expected what runs on a processor; {provider} is the target kind `cuda`")
    return provider


Provider = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]+ExecutionProvider$"), AfterValidator(_of_the_processor)
]


class RuntimeOptions(Section):
    """What runs the operators."""

    xnnpack: bool | None = None
    """LiteRT's XNNPACK delegate: on, and an error where it takes no operator, or off; the runtime decides where it is
    left out, and puts it on."""
    onnx_providers: tuple[Provider, ...] = Field(default=(CPU_PROVIDER,), min_length=1)
    """ONNX Runtime's execution providers, the preferred one first. An operator that none of them takes is an error."""

    @property
    def settings(self) -> RuntimeSettings:
        """As a request carries them."""
        return RuntimeSettings(xnnpack=self.xnnpack, providers=self.onnx_providers)


class ThreadedOptions(RuntimeOptions):
    """What runs the operators, and on how many threads."""

    num_threads: int = Field(default=1, ge=1)

    @property
    def settings(self) -> RuntimeSettings:
        """As a request carries them."""
        return super().settings.model_copy(update={"num_threads": self.num_threads})


class DeviceOptions(ThreadedOptions):
    """The same on a device whose clock counts, with what its caches hold."""

    caches: Literal["warm", "cold"] = "warm"
    """What a timed inference finds in the processor's caches: what the one before left, or other data."""

    @model_validator(mode="after")
    def _cools_one_core(self) -> Self:
        if self.caches == "cold" and self.num_threads > 1:
            raise ValueError('`caches = "cold"` only with `num_threads = 1`: other cores have caches of their own')
        return self
