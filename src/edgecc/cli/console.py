"""What people see: progress on stderr, tables and JSON on stdout."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from edgecc.progress import Task

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID


class TerminalProgress:
    """Bars on a terminal; on anything else (a CI's log) lines."""

    def __init__(self) -> None:
        from rich.console import Console

        # A descriptor of its own: stages send 1 and 2 to their logs while they run.
        self._file = os.fdopen(os.dup(2), "w", buffering=1)
        self._console = Console(file=self._file, highlight=False)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Task]:
        """Show a bar for as long as the context lasts."""
        if not self._console.is_terminal:
            line = _LogLine(self._console, title)
            yield line
            line.done()
            return
        owner = self._progress is None
        progress = self._progress or self._start()
        identity = progress.add_task(title, total=total, now="")
        try:
            yield _Bar(progress, identity)
        finally:
            progress.remove_task(identity)
            if owner:
                progress.stop()
                self._progress = None

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, markup=False)

    def _start(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._progress.start()
        return self._progress


class _Bar:
    def __init__(self, progress: Progress, identity: TaskID) -> None:
        self._progress, self._identity = progress, identity

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._identity, steps)

    def describe(self, text: str) -> None:
        self._progress.update(self._identity, now=text)


class _LogLine:
    """A task in a log: a line now and then while it runs, and one when it ends."""

    INTERVAL_S = 20.0

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._last = ""
        self._spoke_s = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        pass

    def describe(self, text: str) -> None:
        self._last = text
        if time.monotonic() - self._spoke_s > self.INTERVAL_S:
            self._spoke_s = time.monotonic()
            self._console.print(f"{self._title}: {text}", markup=False)

    def done(self) -> None:
        self._console.print(f"{self._title}: done {self._last}".rstrip(), markup=False)


def show(renderable: RenderableType) -> None:
    """Print a table or text to stdout."""
    from rich.console import Console

    Console(highlight=False).print(renderable)
