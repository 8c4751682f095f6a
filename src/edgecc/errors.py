"""Every error that edgecc raises on purpose.

    EdgeccError
    ├── ProjectError         the project file: one or more faults, all of them reported at once
    ├── UserCodeError        a builder or loader of the user's raised, is missing or returned the wrong thing
    ├── DataError            the data do not have the shape, values or separation that is needed
    ├── ModelError           a model that cannot be compiled: unbuilt, subclassed, an unsupported layer
    ├── ArtifactError        a file that is not what it claims to be: truncated, foreign, damaged
    ├── VerificationError    an artifact that disagrees with its Keras model more than the project allows
    ├── MissingExtraError    a library that an extra of edgecc installs is not there
    ├── OutputError          a folder that cannot be written to
    └── TargetError          a target that cannot be reached or cannot do what was asked

Library code raises; only the command line's `main` turns an error into text and an exit code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a verb's exit code tells a CI."""

    PASSED = 0
    BUDGET_BROKEN = 1
    FAILED = 2
    """The tool, its usage or its input failed."""
    UNDECIDED = 3
    """Inconclusive or unmeasured: not broken, and not passed either."""


class EdgeccError(Exception):
    """An error with a message for the user: what was expected, what came, where. `hint` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.stage: str | None = None
        """The compiler's stage that raised it, such as `quantize/int8/tflite`."""


class UserCodeError(EdgeccError):
    """A builder or loader of the user's is missing, raised, or returned something else than it should."""


class DataError(EdgeccError):
    """The data do not have the shape, values or separation that is needed."""


class ModelError(EdgeccError):
    """A Keras model that cannot be compiled."""


class ArtifactError(EdgeccError):
    """A file that is not what it claims to be."""


class VerificationError(EdgeccError):
    """An artifact that disagrees with its Keras model more than the project allows."""


class OutputError(EdgeccError):
    """A folder or file that cannot be written."""


class TargetError(EdgeccError):
    """A target that cannot be reached or cannot do what was asked."""


class MissingExtraError(EdgeccError):
    """A library that is installed by one of edgecc's extras is not there."""

    def __init__(self, *, needed_by: str, library: str, extra: str) -> None:
        super().__init__(
            f"{needed_by} needs {library}, which is not installed",
            hint=f"pip install 'edgecc[{extra}]'",
        )


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file: where, what was expected, what was given."""

    key: str
    expected: str
    given: str
    suggestion: str | None = None

    def __str__(self) -> str:
        nearest = f" Did you mean `{self.suggestion}`?" if self.suggestion else ""
        return f"{self.key}: expected {self.expected}; got {self.given}.{nearest}"


class ProjectError(EdgeccError):
    """A project file with faults, all of them at once."""

    def __init__(self, file: str, faults: Sequence[Fault], *, hint: str | None = None) -> None:
        self.file = file
        self.faults = tuple(faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        lines = "\n".join(f"  {fault}" for fault in faults)
        super().__init__(f"{file} has {count}:\n{lines}", hint=hint)
