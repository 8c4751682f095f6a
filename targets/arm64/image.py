"""The ARM64 image: a base with Python, and the runtimes in /opt/edgecc, one folder a site."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from edgecc.errors import TargetError
from edgecc.files import sha256_of_json, writing_to
from edgecc.progress import Progress
from edgecc.targets.arm64.engine import engine
from edgecc.targets.arm64.lacks import Lack
from edgecc.targets.arm64.wheels import PYTHON, install_wheels, installer_lack, requirements

if TYPE_CHECKING:
    from docker import DockerClient

LOCAL = "local"
"""The base image that is made here out of Debian's packages."""
REPOSITORY = "edgecc-arm64"
PLATFORM = "linux/arm64"
SITES = "/opt/edgecc"
DOCKERFILE = Path(__file__).with_name("Dockerfile.arm64")
MAKE_BASE = Path(__file__).with_name("make_base.sh")
SOURCE_DATE_EPOCH = "1577836800"
"""2020-01-01: no file of the base is younger."""


def image_tag(base_image: str) -> str:
    """What the image of a base is called: the digest of all that goes in is in it."""
    base = _local_base_tag() if base_image == LOCAL else base_image
    return _tag(REPOSITORY, {"base": base, "dockerfile": DOCKERFILE.read_text(), "sites": requirements()})


def image_lacks(base_image: str) -> list[Lack]:
    """What this machine needs to build the image, beside Docker's engine."""
    lacks = [installer_lack()]
    if base_image == LOCAL and shutil.which("mmdebstrap") is None:
        lacks.append(Lack("mmdebstrap is not installed, which makes the base image", "apt-get install mmdebstrap"))
    return [lack for lack in lacks if lack is not None]


def is_built(base_image: str) -> bool:
    """Whether the image is there.

    Raises:
        TargetError: Docker's engine does not answer.
    """
    with engine() as client:
        return _exists(client, image_tag(base_image))


def build(base_image: str, progress: Progress) -> None:
    """Build the image where it is not there yet.

    Args:
        base_image: an ARM64 image with Python 3.11, or "local" for one that is made here first.
        progress: where to report.

    Raises:
        TargetError: Docker's engine does not answer, or a base, a wheel or a build failed; names the cause.
        OutputError: the temporary folder cannot be written to.
    """
    with _writing_here(), engine() as client:
        if _exists(client, image_tag(base_image)):
            return
        with progress.task("building the ARM64 image", 3) as task:
            task.describe(f"the base image ({base_image})")
            base = _make_base(client) if base_image == LOCAL else _pull(client, base_image)
            task.advance()
            with tempfile.TemporaryDirectory(prefix="edgecc-image-") as name:
                task.describe("the ARM64 wheels")
                install_wheels(Path(name) / "site")
                task.advance()
                task.describe("the image")
                _build(client, Path(name), DOCKERFILE.read_text(), image_tag(base_image), base)
                task.advance()


def remove(base_image: str) -> None:
    """Remove the image, and the base where it was made here.

    Raises:
        TargetError: Docker's engine does not answer.
    """
    tags = [image_tag(base_image), *([_local_base_tag()] if base_image == LOCAL else [])]
    with engine() as client:
        for tag in tags:
            if _exists(client, tag):
                client.images.remove(tag, force=True)


def export(tag: str, tar_path: Path) -> None:
    """Write the image's root file system to a tar file.

    Raises:
        TargetError: Docker's engine does not answer, or there is no such image.
        OutputError: the file cannot be written.
    """
    with writing_to(tar_path.parent), engine() as client:
        container = client.containers.create(tag, command=["true"], network_mode="none")
        try:
            with tar_path.open("wb") as file:
                file.writelines(container.export())
        finally:
            container.remove(force=True)


def _writing_here() -> AbstractContextManager[None]:
    """Outside of `engine`: the errors of a connection to it are operating system errors too, and not meant."""
    return writing_to(Path(tempfile.gettempdir()))


def _tag(repository: str, content: dict[str, object]) -> str:
    return f"{repository}:{sha256_of_json(content)[:12]}"


def _local_base_tag() -> str:
    return _tag(f"{REPOSITORY}-base", {"script": MAKE_BASE.read_text(), "epoch": SOURCE_DATE_EPOCH})


def _exists(client: DockerClient, tag: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(tag)
    except ImageNotFound:
        return False
    return True


def _pull(client: DockerClient, base_image: str) -> str:
    """Get the base from a registry, where it is not here for ARM64 already."""
    from docker.errors import APIError

    here = client.images.get(base_image).attrs if _exists(client, base_image) else {}
    if here.get("Architecture") != "arm64":
        try:
            client.images.pull(base_image, platform=PLATFORM)
        except APIError as error:
            cause = " ".join(str(error.explanation or error).split())
            raise TargetError(
                f"the base image {base_image} cannot be pulled for {PLATFORM}: {cause}",
                hint=f'base_image = "{LOCAL}" makes one here, out of Debian\'s packages',
            ) from error
    return base_image


def _make_base(client: DockerClient) -> str:
    tag = _local_base_tag()
    if not _exists(client, tag):
        with tempfile.TemporaryDirectory(prefix="edgecc-base-") as name:
            _run_make_base(Path(name) / "base.tar")
            _build(client, Path(name), "FROM scratch\nADD base.tar /\n", tag)
    return tag


def _run_make_base(tar_path: Path) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH}
    done = subprocess.run(
        ["sh", str(MAKE_BASE), str(tar_path)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        errors = [line for line in lines if line.startswith("E:")] or lines
        raise TargetError(
            f"mmdebstrap cannot make the base image: {errors[0]}",
            hint="a mirror of Debian's packages must answer",
        )


def _build(client: DockerClient, folder: Path, dockerfile: str, tag: str, base: str = "") -> None:
    from docker.errors import BuildError

    (folder / "Dockerfile").write_text(dockerfile)
    arguments = {"BASE_IMAGE": base} if base else {}
    try:
        client.images.build(path=str(folder), tag=tag, platform=PLATFORM, buildargs=arguments, rm=True, forcerm=True)
    except BuildError as error:
        said = [line["stream"].strip() for line in error.build_log if line.get("stream", "").strip()]
        raise TargetError(
            f"the image {tag} cannot be built: {' '.join([*said[-1:], str(error.msg)])}",
            hint=f"`base_image` must be an ARM64 image with Python {PYTHON} and glibc 2.34 or later",
        ) from error
