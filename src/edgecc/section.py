"""What every table of a project file is made of: names, numbers, and the base that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
"""A name that is safe as a file name."""
EntryPoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`module:function`, the module found from the project's folder."""
HyperparameterValue = Annotated[bool | int | float | str, Field(union_mode="smart")]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class KeyFaultError(ValueError):
    """What is wrong with one key of a table that is checked as a whole."""

    def __init__(self, key: str, expected: str, given: object) -> None:
        super().__init__(expected)
        self.key = key
        self.given = given


_NameT = TypeVar("_NameT", bound=str)


class Section(BaseModel):
    """A table of the project file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def each_once(names: tuple[_NameT, ...]) -> tuple[_NameT, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("at least one, and each once")
    return names
