from __future__ import annotations

import pytest

from .fake_docker import FakeClient


@pytest.fixture
def fake_docker(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Stands in for Docker's engine."""
    docker = pytest.importorskip("docker", reason="docker's Python library is not installed")
    client = FakeClient()
    monkeypatch.setattr(docker, "from_env", lambda: client)
    return client
