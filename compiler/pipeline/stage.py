"""What a stage is: a function from files and options to files and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgecc.artifact import ArtifactRunner
from edgecc.progress import Progress

Metrics = Mapping[str, Any]
"""What a stage measured about its own work: JSON values."""


@dataclass(frozen=True)
class StageContext:
    """All that a stage may know: what is not in here, or in a file of its inputs, must not change its output."""

    options: Mapping[str, Any]
    """JSON values; they belong to the cache key."""
    inputs: Mapping[str, Mapping[str, Path]]
    """Files of each predecessor, by role and file name: only those that the stage's kind declares."""
    output_dir: Path
    """An empty folder. Everything in it when the stage returns is its output."""
    work_dir: Path
    """A folder that survives a kill, so that long work can go on; another one when the code or options change."""
    log_dir: Path
    """Where logs for people go (TensorBoard); never part of an output."""
    project_dir: Path
    """The user's folder: his modules are imported from it."""
    seed: int
    progress: Progress
    run_artifact: ArtifactRunner


class StageFunction(Protocol):
    """The function behind a kind of stage. It is imported only when the stage really runs."""

    def __call__(self, context: StageContext) -> Metrics:
        """Write files to `context.output_dir`; return metrics.

        Raises:
            EdgeccError: the user's input cannot be used; one clear message.
        """


@dataclass(frozen=True)
class Read:
    """What a stage reads in one role: the kinds of stage that may fill the role, and the files it takes from it."""

    after: tuple[str, ...]
    files: tuple[str, ...]
    optional: bool = False


@dataclass(frozen=True)
class StageKind:
    """A kind of stage. Raise `version` whenever the same inputs would give another output."""

    name: str
    version: int
    function: str
    """`module:function`, imported late: TensorFlow comes with it."""
    reads: Mapping[str, Read]
    """By role. Only the files named here reach the stage, so what is not named cannot invalidate it."""
    libraries: tuple[str, ...]
    """Distributions whose versions belong to the cache key."""


@dataclass(frozen=True)
class Stage:
    """One stage of one project's plan."""

    name: str
    """Such as `emit/int8/tflite`: unique in the plan."""
    kind: StageKind
    options: Mapping[str, Any]
    inputs: Mapping[str, Stage]
    """Predecessors by role."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse a plan whose order is not legal, before anything runs."""
        for role, read in self.kind.reads.items():
            predecessor = self.inputs.get(role)
            if predecessor is None and not read.optional:
                raise ValueError(f"stage {self.name}: nothing fills the role {role}; expected one of {read.after}")
            if predecessor is not None and predecessor.kind.name not in read.after:
                raise ValueError(
                    f"stage {self.name}: {predecessor.name} cannot fill the role {role}; expected one of {read.after}"
                )
        if unknown := set(self.inputs) - set(self.kind.reads):
            raise ValueError(f"stage {self.name}: has no role {sorted(unknown)}")
