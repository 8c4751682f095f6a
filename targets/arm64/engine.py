"""Docker's engine: a client of it, whose errors are TargetErrors."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgecc.errors import TargetError
from edgecc.targets.arm64.lacks import Lack

if TYPE_CHECKING:
    from docker import DockerClient

EXTRA = "pip install 'edgecc[arm64]'"
START = "start it: systemctl start docker; where it listens elsewhere, set DOCKER_HOST"
PERMIT = "let this user reach it: sudo usermod -aG docker $USER, then log in again"


@contextlib.contextmanager
def engine() -> Iterator[DockerClient]:
    """A client of the engine, for a while.

    Raises:
        TargetError: Docker's Python library is not installed, the engine does not answer or stops to, or it refuses.
    """
    if importlib.util.find_spec("docker") is None:
        raise TargetError("Docker's Python library is not installed", hint=EXTRA)
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    with contextlib.closing(_client()) as client:
        try:
            yield client
        except DockerException as error:
            raise TargetError(f"Docker's engine refused: {_in_one_line(error)}") from error
        except RequestException as error:
            raise TargetError(f"Docker's engine stopped answering: {_in_one_line(error)}", hint=START) from error


def engine_lack() -> Lack | None:
    """What is missing for `engine` to work."""
    try:
        with engine():
            return None
    except TargetError as error:
        return Lack(error.message, error.hint or START)


def _client() -> DockerClient:
    import docker
    from docker.errors import DockerException

    try:
        return docker.from_env()
    except DockerException as error:
        hint = PERMIT if "PermissionError" in str(error) else START
        raise TargetError(f"Docker's engine does not answer: {_in_one_line(error)}", hint=hint) from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:500]
