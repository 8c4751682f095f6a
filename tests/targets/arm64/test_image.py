from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.errors import OutputError, TargetError
from edgecc.progress import Silent
from edgecc.targets.arm64 import image
from edgecc.targets.arm64.image import build, export, image_lacks, image_tag, is_built, remove

from .fake_docker import FakeClient

BASE = "python:3.11-slim"


@pytest.fixture(autouse=True)
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "install_wheels", lambda folder: (folder / "litert").mkdir(parents=True))


@pytest.fixture
def mmdebstrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Puts a shell script in its place; its last argument is the tar file to make."""

    def install(script: str) -> None:
        command = tmp_path / "bin" / "mmdebstrap"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nfor tar in "$@"; do :; done\n{script}\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")

    return install


def test_a_tag_tells_what_goes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {image_tag(BASE), image_tag("local"), image_tag("python:3.11")}
    assert len(tags) == 3
    assert all(tag.startswith("edgecc-arm64:") for tag in tags)
    before = image_tag(BASE)
    assert image_tag(BASE) == before
    monkeypatch.setattr(image, "requirements", lambda: {"litert": ["onnxruntime==0"]})
    assert image_tag(BASE) != before


def test_a_base_is_pulled_once_and_built_on(fake_docker: FakeClient) -> None:
    assert not is_built(BASE)
    build(BASE, Silent())
    assert fake_docker.pulled == [(BASE, "linux/arm64")]
    (built,) = fake_docker.built
    assert built["tag"] == image_tag(BASE)
    assert (built["platform"], built["buildargs"]) == ("linux/arm64", {"BASE_IMAGE": BASE})
    assert is_built(BASE)
    build(BASE, Silent())
    assert len(fake_docker.built) == 1


@pytest.mark.parametrize(("architecture", "pulls"), [("arm64", 0), ("amd64", 1)])
def test_a_base_that_is_here(architecture: str, pulls: int, fake_docker: FakeClient) -> None:
    fake_docker.present[BASE] = architecture
    build(BASE, Silent())
    assert len(fake_docker.pulled) == pulls


def test_a_base_that_cannot_be_pulled(fake_docker: FakeClient) -> None:
    from docker.errors import APIError

    def fail() -> None:
        raise APIError("500", explanation="Get registry:\nno such host")

    fake_docker.on_pull = fail
    with pytest.raises(
        TargetError, match=r"python:3\.11-slim cannot be pulled for linux/arm64: Get registry: no such"
    ) as caught:
        build(BASE, Silent())
    assert 'base_image = "local"' in (caught.value.hint or "")


def test_a_build_that_fails(fake_docker: FakeClient) -> None:
    from docker.errors import BuildError

    def fail() -> None:
        raise BuildError("returned a non-zero code: 1", iter([{"stream": "expected Python 3.11\n"}, {"stream": "\n"}]))

    fake_docker.on_build = fail
    with pytest.raises(
        TargetError, match=r"cannot be built: expected Python 3\.11 returned a non-zero code: 1"
    ) as caught:
        build(BASE, Silent())
    assert "an ARM64 image with Python 3.11" in (caught.value.hint or "")


def test_an_engine_that_stops_is_not_a_full_disk(fake_docker: FakeClient) -> None:
    from requests.exceptions import ConnectionError

    def fail(error: Exception) -> Callable[[], None]:
        def on_build() -> None:
            raise error

        return on_build

    fake_docker.on_build = fail(ConnectionError("gone"))
    with pytest.raises(TargetError, match="stopped answering"):
        build(BASE, Silent())
    fake_docker.on_build = fail(OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="No space left on device"):
        build(BASE, Silent())


def test_a_base_is_made_here(fake_docker: FakeClient, mmdebstrap: Any) -> None:
    mmdebstrap('echo "$SOURCE_DATE_EPOCH" > "$tar"')
    build("local", Silent())
    base, built = fake_docker.built
    assert base["tag"].startswith("edgecc-arm64-base:")
    assert built["buildargs"] == {"BASE_IMAGE": base["tag"]}
    assert fake_docker.pulled == []
    remove("local")
    assert fake_docker.present == {}


def test_a_base_that_cannot_be_made(fake_docker: FakeClient, mmdebstrap: Any) -> None:
    mmdebstrap("echo 'I: running' >&2; echo 'E: apt-get update failed' >&2; exit 1")
    with pytest.raises(TargetError, match="mmdebstrap cannot make the base image: E: apt-get update failed"):
        build("local", Silent())
    assert fake_docker.built == []


def test_only_a_local_base_needs_mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert image_lacks(BASE) == []
    (lack,) = image_lacks("local")
    assert lack.remedy == "apt-get install mmdebstrap"


def test_the_base_of_a_registry_is_not_ours_to_remove(fake_docker: FakeClient) -> None:
    build(BASE, Silent())
    remove(BASE)
    assert list(fake_docker.present) == [BASE]
    remove(BASE)


def test_export(fake_docker: FakeClient, tmp_path: Path) -> None:
    from docker.errors import ImageNotFound

    fake_docker.container.content = (b"one", b"two")
    export("edgecc-arm64:1", tmp_path / "root.tar")
    assert (tmp_path / "root.tar").read_bytes() == b"onetwo"
    assert fake_docker.container.removed
    with pytest.raises(OutputError):
        export("edgecc-arm64:1", tmp_path / "nowhere" / "root.tar")

    def fail() -> None:
        raise ImageNotFound("No such image")

    fake_docker.on_create = fail
    with pytest.raises(TargetError, match="No such image"):
        export("edgecc-arm64:1", tmp_path / "root.tar")
