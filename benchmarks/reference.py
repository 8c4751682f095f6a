"""Which artifact another one is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from edgecc.artifact import Format


class _Emitted(Protocol):
    @property
    def variant(self) -> str: ...
    @property
    def format(self) -> Format: ...


EmittedT = TypeVar("EmittedT", bound=_Emitted)


def counterpart(candidates: Sequence[EmittedT], variant: str | None, format: Format) -> EmittedT | None:
    """The reference variant's artifact in the same format, or else in the first format it has.

    `candidates` are what one target was asked to measure.
    """
    own = [candidate for candidate in candidates if candidate.variant == variant]
    same = [candidate for candidate in own if candidate.format == format]
    return next(iter(same or own), None)
