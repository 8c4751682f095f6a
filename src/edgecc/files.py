"""Reading and writing files so that nobody ever sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecc.errors import OutputError


def sha256_of_file(path: Path) -> str:
    """The file's SHA-256 as 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(path: Path) -> bool:
    """Whether this is a regular file or a link to one; False too where the name is more than the system takes."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def sha256_of_json(value: Any) -> str:
    """SHA-256 of a JSON value in one canonical spelling (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write aside and rename in, so that a reader sees the old file or the new one, never a half.

    Raises:
        OutputError: the folder cannot be made or written to, or is full.
    """
    data = content.encode() if isinstance(content, str) else content
    with writing_to(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write below `folder` into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}",
            hint="free space there, change its permissions, or work in another folder",
        ) from error
