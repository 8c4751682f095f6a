"""An engine that answers as a test tells it to, behind the same client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass
class FakeContainer:
    state: dict[str, Any]
    log: bytes = b""
    labels: dict[str, str] = field(default_factory=dict)
    on_start: Callable[[], None] = lambda: None
    on_wait: Callable[[], None] = lambda: None
    content: tuple[bytes, ...] = ()
    removed: bool = False
    killed: bool = False

    def start(self) -> None:
        self.on_start()

    def wait(self, timeout: float | None = None) -> None:
        if not self.killed:
            self.on_wait()

    def kill(self) -> None:
        self.killed = True

    def reload(self) -> None:
        pass

    @property
    def attrs(self) -> dict[str, Any]:
        return {"State": self.state}

    def logs(self, stdout: bool, stderr: bool) -> bytes:
        assert (stdout, stderr) == (False, True)
        return self.log

    def export(self) -> Iterator[bytes]:
        yield from self.content

    def remove(self, force: bool = False, v: bool = False) -> None:
        assert force
        self.removed = True


class FakeClient:
    """Images by tag, with their architecture; what was asked for is kept."""

    def __init__(self) -> None:
        self.present: dict[str, str] = {}
        self.pulled: list[tuple[str, str]] = []
        self.built: list[dict[str, Any]] = []
        self.created: list[dict[str, Any]] = []
        self.container = FakeContainer({})
        self.listed: list[FakeContainer] = []
        self.on_pull: Callable[[], None] = lambda: None
        self.on_build: Callable[[], None] = lambda: None
        self.on_create: Callable[[], None] = lambda: None
        self.closed = False
        self.images = SimpleNamespace(get=self._get, pull=self._pull, build=self._build, remove=self._remove)
        self.containers = SimpleNamespace(create=self._create, list=lambda **_: self.listed)

    def close(self) -> None:
        self.closed = True

    def _get(self, tag: str) -> Any:
        from docker.errors import ImageNotFound

        if tag not in self.present:
            raise ImageNotFound(f"no such image: {tag}")
        return SimpleNamespace(attrs={"Architecture": self.present[tag]})

    def _pull(self, name: str, platform: str) -> None:
        self.on_pull()
        self.pulled.append((name, platform))
        self.present[name] = "arm64"

    def _build(self, **keys: Any) -> None:
        self.on_build()
        self.built.append(keys)
        self.present[keys["tag"]] = "arm64"

    def _remove(self, tag: str, force: bool) -> None:
        del self.present[tag]

    def _create(self, image: str, command: list[str], **keys: Any) -> FakeContainer:
        self.on_create()
        self.created.append({"image": image, "command": command, **keys})
        return self.container
