"""What a target needs of this machine and does not find, told all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecc.errors import TargetError


@dataclass(frozen=True)
class Lack:
    """One thing that is missing."""

    what: str
    remedy: str


def require_nothing_of(lacks: Sequence[Lack], name: str) -> None:
    """Let a target that lacks nothing pass.

    Raises:
        TargetError: something is missing; names everything that is, and how to get it.
    """
    if lacks:
        missing = "; ".join(lack.what for lack in lacks)
        remedies = list(dict.fromkeys(lack.remedy for lack in lacks))  # two may have one remedy
        raise TargetError(f"target `{name}`: {missing}", hint="; ".join(remedies))
