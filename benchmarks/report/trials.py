"""The tuning's trials, as the compiler wrote them, for a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from edgecc.artifact import Record, first_problem
from edgecc.errors import ArtifactError
from edgecc.project import HyperparameterValue


class Trial(Record):
    """One set of hyperparameters, and how well it did."""

    id: str
    values: Mapping[str, HyperparameterValue | None]
    """Hyperparameters by name."""
    status: Literal["completed", "failed"]
    reason: str | None
    score: float | None
    """Of the search's objective on the validation set; None where the trial failed."""
    epochs: int


_TRIALS = TypeAdapter(tuple[Trial, ...])


def read_trials(path: Path) -> tuple[Trial, ...]:
    """Read `build/trials.json`: every trial of a search, in the order they were begun.

    Raises:
        ArtifactError: the file cannot be read, or is not what the tuning writes.
    """
    hint = "edgecc compile writes it anew"
    try:
        return _TRIALS.validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: expected a tuning's trials; {first_problem(error)}", hint=hint) from error
