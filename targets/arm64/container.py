"""One command in a fresh container that can reach nothing but what it is given, and of which nothing is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from edgecc.errors import TargetError
from edgecc.targets.arm64.engine import engine
from edgecc.targets.child import LOG_BYTES

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LABEL = "edgecc"
PIDS_LIMIT = 256
TMPFS = {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}  # noqa: S108 - the container's own
START_S = 30.0
"""How much longer than its command a container may take, to start and to end, before it is killed from outside."""


@dataclass(frozen=True)
class Job:
    """What runs in the container, and what it sees of this machine."""

    image: str
    command: Sequence[str]
    variables: Mapping[str, str]
    read_only: Mapping[str, Path]
    """Files of this machine, absolute, by their paths in the container."""
    writable: Mapping[str, Path]
    """Folders of this machine, absolute, by their paths in the container."""
    memory_limit_bytes: float
    timeout_s: float


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    exit_code: int
    """128 and the signal where one killed the command."""
    timed_out: bool
    out_of_memory: bool
    """The kernel killed something in it at the memory limit."""
    log: str
    """The end of what it wrote to stderr."""


def run_in_container(job: Job) -> Ended:
    """Run a job to its end, or kill it after its time; the container is removed either way.

    Raises:
        TargetError: Docker's engine does not answer or refuses, or the image is gone.
    """
    with engine() as client:
        container = _create(client, job)
        try:
            return _run(container, job.timeout_s)
        finally:
            container.remove(force=True, v=True)


def remove_orphans() -> None:
    """Remove the containers that a killed edgecc left on this machine.

    Raises:
        TargetError: Docker's engine does not answer.
    """
    from docker.errors import NotFound

    with engine() as client:
        for container in client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True):
            if _is_orphan(container.labels[LABEL]):
                try:
                    container.remove(force=True, v=True)
                except NotFound:
                    continue  # another edgecc was quicker


def owner() -> str:
    """The name of this process, told apart from those of other containers and from later ones with its number."""
    return f"{_namespace()}/{os.getpid()}/{psutil.Process().create_time():.2f}"


def _is_orphan(label: str) -> bool:
    namespace, _, process = label.partition("/")
    pid, _, created = process.partition("/")
    if namespace != _namespace() or not pid.isdigit():
        return False
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" != created
    except psutil.NoSuchProcess:
        return True


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _create(client: DockerClient, job: Job) -> Container:
    from docker.errors import ImageNotFound
    from docker.types import LogConfig, Mount, Ulimit

    mounts = [Mount(inside, str(path), "bind", read_only=True) for inside, path in job.read_only.items()]
    mounts += [Mount(inside, str(path), "bind") for inside, path in job.writable.items()]
    try:
        return client.containers.create(
            job.image,
            ["timeout", "-s", "KILL", f"{job.timeout_s:g}", *job.command],
            environment={"HOME": "/tmp", **job.variables},  # noqa: S108
            mounts=mounts,
            labels={LABEL: owner()},
            user=f"{os.getuid()}:{os.getgid()}",
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs=TMPFS,
            mem_limit=int(job.memory_limit_bytes),
            memswap_limit=int(job.memory_limit_bytes),  # memory and swap: no swap
            pids_limit=PIDS_LIMIT,
            ulimits=[Ulimit(name="core", soft=0, hard=0)],
            init=True,  # as process 1 an emulated program that crashes would hang
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
        )
    except ImageNotFound as error:
        raise TargetError(f"Docker's image {job.image} is not there") from error


def _run(container: Container, timeout_s: float) -> Ended:
    container.start()
    state = _wait(container, timeout_s + START_S)
    log = container.logs(stdout=False, stderr=True)[-LOG_BYTES:].decode(errors="replace")
    code, out_of_memory = state["ExitCode"], state["OOMKilled"]
    # By the engine's clock: it may take longer to start a container than the command may run.
    ran_s = (_time(state["FinishedAt"]) - _time(state["StartedAt"])).total_seconds()
    timed_out = code == 128 + signal.SIGKILL and not out_of_memory and ran_s >= timeout_s
    return Ended(code, timed_out, out_of_memory, log)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _wait(container: Container, seconds: float) -> Mapping[str, Any]:
    """The container's state once it ended, by itself or killed."""
    from requests.exceptions import ConnectionError, ReadTimeout

    try:
        container.wait(timeout=seconds)
    except (ReadTimeout, ConnectionError):  # the engine's own end comes out at the next call
        container.kill()
        container.wait()
    container.reload()
    state: Mapping[str, Any] = container.attrs["State"]
    return state
