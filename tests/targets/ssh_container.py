"""An ARM64 Debian in a container, with an OpenSSH server on a loopback port: a device that one logs in to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecc.targets.arm64 import image
from edgecc.targets.arm64.container import LABEL, owner
from edgecc.targets.arm64.cpu_models import CPU_MODELS, cpuinfo
from edgecc.targets.arm64.emulator import is_native
from edgecc.targets.arm64.engine import engine

from .ssh_server import SSHD, ServerFiles, index_variables, wait_for_answer, write_server_files

if TYPE_CHECKING:
    from docker.models.containers import Container

CPU = CPU_MODELS["cortex-a72"]
# `extract` unpacks and runs nothing, as in make_base.sh: the Dockerfile does what the packages' scripts would do.
UNPACK = [
    "mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=openssh-server,python3.11-venv", "bookworm",
]  # fmt: skip
DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ADD server.tar /
RUN mkdir -p /run/sshd && sed -i s:/bin/bash:/bin/sh: /etc/passwd \\
 && echo 'sshd:x:100:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
"""


@dataclass(frozen=True)
class SshContainer(ServerFiles):
    """A running server; root may log in."""

    id: str

    def is_there(self) -> bool:
        with engine() as client:
            return self.id in [each.id for each in client.containers.list(all=True, ignore_removed=True)]


def build_server_image(base_image: str) -> str:
    """The tag of the image with the server: built on the ARM64 image where it is not there yet, and left there."""
    tag = image._tag("edgecc-test-sshd", {"base": base_image, "unpack": UNPACK, "dockerfile": DOCKERFILE})
    with engine() as client:
        if not image._exists(client, tag):
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([*UNPACK, f"{folder}/server.tar"], check=True, capture_output=True)
                image._build(client, Path(folder), DOCKERFILE, tag, base_image)
    return tag


@contextlib.contextmanager
def started_container(server_image: str, folder: Path) -> Iterator[SshContainer]:
    """Runs the server; the container is removed at the end, or as `arm64_docker`'s are if this process is killed."""
    # Byte code is not worth the time that an emulated compiler takes.
    variables = {**index_variables(), "PIP_NO_COMPILE": "1", "QEMU_CPU": CPU.name}
    files = write_server_files(folder, variables)
    with engine() as client:
        container = client.containers.run(
            server_image,
            [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")],
            detach=True,
            init=True,
            network_mode="host",  # the server listens on loopback alone; pip reaches what it reaches here
            environment={"QEMU_CPU": CPU.name},
            mounts=_mounts(folder, variables),
            labels={LABEL: owner()},
        )
        try:
            wait_for_answer(files.port, lambda: _last_words(container))
            yield SshContainer(folder, files.port, container.id)
        finally:
            container.remove(force=True, v=True)


def _mounts(folder: Path, variables: dict[str, str]) -> list[Any]:
    """The server's files, those that pip's variables name, and a /proc/cpuinfo that is no x86's."""
    from docker.types import Mount

    words = [Path(word.removeprefix("file://")) for value in variables.values() for word in value.split()]
    paths = {folder, *(path for path in words if path.is_absolute() and path.exists())}
    mounts = [Mount(str(path), str(path), "bind", read_only=True) for path in sorted(paths)]
    if not is_native():
        (folder / "cpuinfo").write_text(cpuinfo(CPU, os.cpu_count() or 1))
        mounts.append(Mount("/proc/cpuinfo", str(folder / "cpuinfo"), "bind", read_only=True))
    return mounts


def _last_words(container: Container) -> str | None:
    container.reload()
    return None if container.status == "running" else container.logs().decode(errors="replace")
