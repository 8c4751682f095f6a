from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecc.errors import TargetError
from edgecc.targets.arm64.container import Job, owner, remove_orphans, run_in_container

from .fake_docker import FakeClient, FakeContainer


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(
        image="edgecc-arm64:1",
        command=["python3", "-P", "/edgecc/runner.py"],
        variables={"QEMU_CPU": "cortex-a72"},
        read_only={"/edgecc/model": tmp_path / "a model, it is"},
        writable={"/edgecc/out": tmp_path / "out"},
        memory_limit_bytes=300e6,
        timeout_s=5.5,
    )


def state(code: int, out_of_memory: bool = False, seconds: float = 2.0) -> dict[str, Any]:
    """As the engine tells it, of a container that ran for so long."""
    started = "2026-11-24T17:59:58.250000000Z"
    return {
        "ExitCode": code,
        "OOMKilled": out_of_memory,
        "StartedAt": started,
        "FinishedAt": f"2026-11-24T18:00:{seconds - 1.75:012.9f}Z",
    }


def test_what_a_container_may_do(job: Job, fake_docker: FakeClient, tmp_path: Path) -> None:
    fake_docker.container = FakeContainer(state(0))
    run_in_container(job)
    (created,) = fake_docker.created
    assert created["command"] == ["timeout", "-s", "KILL", "5.5", "python3", "-P", "/edgecc/runner.py"]
    assert created["environment"] == {"HOME": "/tmp", "QEMU_CPU": "cortex-a72"}  # noqa: S108
    assert created["network_mode"] == "none"
    assert created["cap_drop"] == ["ALL"]
    assert created["security_opt"] == ["no-new-privileges"]
    assert created["read_only"]
    assert created["init"]
    assert created["mem_limit"] == created["memswap_limit"] == 300_000_000
    assert created["pids_limit"] == 256
    assert created["user"] == f"{os.getuid()}:{os.getgid()}"
    model, out = created["mounts"]
    assert (model["Source"], model["ReadOnly"]) == (str(tmp_path / "a model, it is"), True)
    assert (out["Source"], out["ReadOnly"]) == (str(tmp_path / "out"), False)


@pytest.mark.parametrize(
    ("code", "out_of_memory", "seconds", "timed_out"),
    [(0, False, 9.0, False), (137, False, 5.6, True), (137, False, 5.4, False), (137, True, 5.6, False),
     (139, False, 5.6, False)],
)  # fmt: skip
def test_how_a_container_ended(
    code: int, out_of_memory: bool, seconds: float, timed_out: bool, job: Job, fake_docker: FakeClient
) -> None:
    fake_docker.container = FakeContainer(state(code, out_of_memory, seconds), log=b"a" * 5000 + b"the end \xff")
    ended = run_in_container(job)
    assert (ended.exit_code, ended.timed_out, ended.out_of_memory) == (code, timed_out, out_of_memory)
    assert ended.log.endswith("the end �")
    assert len(ended.log) == 4096
    assert fake_docker.container.removed


def test_a_container_that_never_ends_is_killed_from_outside(job: Job, fake_docker: FakeClient) -> None:
    from requests.exceptions import ConnectionError

    def time_out() -> None:
        raise ConnectionError("Read timed out.")

    fake_docker.container = FakeContainer(state(137, seconds=36.0), on_wait=time_out)
    assert run_in_container(job).timed_out
    assert fake_docker.container.killed
    assert fake_docker.container.removed


def test_nothing_is_left_after_an_interrupt(job: Job, fake_docker: FakeClient) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    fake_docker.container.on_wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        run_in_container(job)
    assert fake_docker.container.removed
    assert fake_docker.closed


def test_an_image_that_is_gone(job: Job, fake_docker: FakeClient) -> None:
    from docker.errors import ImageNotFound

    def fail() -> None:
        raise ImageNotFound("No such image")

    fake_docker.on_create = fail
    with pytest.raises(TargetError, match="Docker's image edgecc-arm64:1 is not there"):
        run_in_container(job)


def test_an_engine_that_stops(job: Job, fake_docker: FakeClient) -> None:
    from requests.exceptions import ConnectionError

    def fail() -> None:
        raise ConnectionError("Connection aborted.")

    fake_docker.container.on_start = fail
    with pytest.raises(TargetError, match=r"Docker's engine stopped answering: Connection aborted\."):
        run_in_container(job)


def test_a_container_that_cannot_start(job: Job, fake_docker: FakeClient) -> None:
    from docker.errors import APIError

    def fail() -> None:
        raise APIError("400", explanation="bind source path does not exist")

    fake_docker.container.on_start = fail
    with pytest.raises(TargetError, match="refused: bind source path does not exist"):
        run_in_container(job)
    assert fake_docker.container.removed


def test_only_orphans_are_removed(fake_docker: FakeClient) -> None:
    namespace, pid, created = owner().split("/")
    gone = max(psutil.pids()) + 100_000
    labels = {
        f"{namespace}/{gone}/{created}": True,
        f"{namespace}/{pid}/1.00": True,  # the number is another process's now
        f"{namespace}/{pid}/{created}": False,
        f"pid:[1]/{gone}/{created}": False,  # of an edgecc in a container
        "by hand": False,
    }
    fake_docker.listed = [FakeContainer(state(0), labels={"edgecc": label}) for label in labels]
    remove_orphans()
    assert [each.removed for each in fake_docker.listed] == list(labels.values())
