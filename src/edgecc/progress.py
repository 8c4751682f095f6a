"""How long work tells that it goes on. The command line draws it; the library only reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of long work, with a bar of its own."""

    def advance(self, steps: int = 1) -> None:
        """So many more of the `total` steps are done."""

    def describe(self, text: str) -> None:
        """Say what is running now."""


class Progress(Protocol):
    """Where long work is reported."""

    def task(self, title: str, total: int | None = None) -> AbstractContextManager[Task]:
        """Show work under way for as long as the context lasts; `total` is None where nobody knows."""

    def note(self, text: str) -> None:
        """Say something that stays on the screen."""


class Silent:
    """Reports to nobody: the default of the Python API, and of tests."""

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Task]:  # noqa: ARG002
        yield self

    def advance(self, steps: int = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass
