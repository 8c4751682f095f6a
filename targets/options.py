"""Keys that several kinds of target take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from edgecc.project import Section
from edgecc.targets.wire import CPU_PROVIDER, RuntimeSettings


def _absolute(path: Path) -> Path:
    absolute = path.expanduser()
    if not absolute.is_absolute():
        raise ValueError(f"expected an absolute path, or one that begins with `~`; got `{path}`")
    return absolute


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
"""A file of this machine that belongs to no project; `~` is the home folder."""

Provider = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+ExecutionProvider$")]


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


Caches = Literal["warm", "cold"]
"""Before each timed inference: as the one before left them, or emptied of the model by other data."""
