from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from edgecc.errors import TargetError
from edgecc.targets.arm64.engine import EXTRA, START, engine, engine_lack

from .fake_docker import FakeClient


def test_a_client_is_closed(fake_docker: FakeClient) -> None:
    with engine() as client:
        assert client is fake_docker
    assert fake_docker.closed
    assert engine_lack() is None


def test_the_library_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TargetError, match="Docker's Python library is not installed") as caught, engine():
        pass
    assert caught.value.hint == EXTRA == "pip install 'edgecc[arm64]'"


@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        ("ConnectionRefusedError(111)", "systemctl start docker"),
        ("PermissionError(13, 'denied')", "usermod -aG docker"),
    ],
)
def test_the_engine_does_not_answer(
    cause: str, hint: str, fake_docker: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import docker

    def fail() -> Any:
        raise docker.errors.DockerException(f"Error while fetching server API version: ('aborted',\n {cause})")

    monkeypatch.setattr(docker, "from_env", fail)
    lack = engine_lack()
    assert lack is not None
    assert "Docker's engine does not answer: Error while fetching" in lack.what
    assert "\n" not in lack.what
    assert hint in lack.remedy


def test_the_engine_stops_or_refuses(fake_docker: FakeClient) -> None:
    from docker.errors import APIError
    from requests.exceptions import ConnectionError

    with pytest.raises(TargetError, match="Docker's engine stopped answering: gone") as caught, engine():
        raise ConnectionError("gone")
    assert caught.value.hint == START
    with pytest.raises(TargetError, match="Docker's engine refused: no space left") as caught, engine():
        raise APIError("500", explanation="no space\nleft")
    assert fake_docker.closed
