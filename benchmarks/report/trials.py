"""The tuning's trials, as the compiler wrote them, for a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from edgecc.artifact import Record, first_problem
from edgecc.errors import ArtifactError
from edgecc.section import HyperparameterValue


class Trial(Record):
    """One set of hyperparameters, and how well it did."""

    id: str
    values: Mapping[str, HyperparameterValue | None]
    """Hyperparameters by name."""
    status: Literal["completed", "failed"]
    reason: str | None
    score: Annotated[float, Field(allow_inf_nan=False)] | None
    """None where the trial failed."""
    epochs: int


class Tuning(Record):
    """A search for hyperparameters."""

    objective: str
    """What the scores are, on the validation set."""
    best: str
    """The id of the trial whose hyperparameters were taken."""
    trials: tuple[Trial, ...]
    """In the order in which they were begun."""


def read_tuning(path: Path) -> Tuning:
    """Read `build/trials.json`.

    Raises:
        ArtifactError: the file cannot be read, or is not what the tuning writes.
    """
    hint = "edgecc compile writes it anew"
    try:
        return Tuning.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: expected a tuning's trials; {first_problem(error)}", hint=hint) from error
