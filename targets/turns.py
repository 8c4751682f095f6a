"""One measurement at a time on this machine: whoever runs something here waits for the others of the same user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgecc.errors import TargetError


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Hold this machine; waits while another process or thread does. The kernel lets go for one that was killed.

    Raises:
        TargetError: the folder whose lock it is cannot be made, or is not this user's.
    """
    with _folder() as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def is_taken() -> bool:
    """Whether another process or thread is measuring here now.

    Raises:
        TargetError: as `turn`.
    """
    with _folder() as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def _folder() -> Iterator[int]:
    """The descriptor of a folder of this user's, which is itself what is locked: nothing is written."""
    path = Path(tempfile.gettempdir()) / f"edgecc-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise TargetError(
            f"expected a folder {path} that edgecc may make, so that two measurements take turns: {error.strerror}"
        ) from error
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise TargetError(f"{path}: expected a folder of yours; it is another user's", hint="remove it")
        yield descriptor
    finally:
        os.close(descriptor)
