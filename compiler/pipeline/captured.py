"""Keep what libraries print while a stage runs out of the user's terminal, and in a log instead."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgecc.files import writing_to


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Send stdout and stderr to a file, those of native libraries as well: TensorFlow writes to the descriptors."""
    with writing_to(log.parent):
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("w", buffering=1, encoding="utf-8")
    with file, _descriptors_to(file.fileno()), contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


@contextlib.contextmanager
def _descriptors_to(target: int) -> Iterator[None]:
    """Native libraries know nothing of `sys.stdout`; a notebook's or a test's `sys.stdout` knows no descriptor."""
    _flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in saved:
            os.dup2(target, number)
        yield
    finally:
        for number, original in saved:
            os.dup2(original, number)
            os.close(original)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):  # a closed stream has nothing to flush
            stream.flush()
