"""The machine that is emulated: a kernel and a root file system, made once and kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock
from pydantic import ValidationError

from edgecc.errors import TargetError
from edgecc.files import sha256_of_file, sha256_of_json, writing_to
from edgecc.progress import Progress
from edgecc.results import Environment
from edgecc.targets.arm64.boot import INITRD, KERNEL
from edgecc.targets.arm64.cpio import write_tar
from edgecc.targets.arm64.image import export, image_tag
from edgecc.targets.arm64.kernel import PACKAGE, SUITE, check_kernel, fetch_kernel

DESCRIPTION = "machine.json"
"""The Environment that the machine told when it was made."""

_VERSION = 1
"""Raise it where the same image and kernel would make other files."""


def machine_folder(base_image: str, kernel: Path | None) -> Path:
    """Where the machine lies, or would: the digest of all that goes into it is in its name.

    Raises:
        TargetError: the kernel is none, or cannot be read.
    """
    content = {
        "version": _VERSION,
        "image": image_tag(base_image),
        "kernel": f"{PACKAGE} of {SUITE}" if kernel is None else _digest_of_kernel(kernel),
    }
    return platformdirs.user_cache_path("edgecc") / "arm64" / sha256_of_json(content)[:16]


def read_description(folder: Path) -> Environment | None:
    """What the machine in a folder told of itself; None where there is none, or only a part of one."""
    try:
        return Environment.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError):
        return None


def make_machine(
    folder: Path,
    base_image: str,
    kernel: Path | None,
    describe: Callable[[Path], Environment],
    progress: Progress,
) -> None:
    """Make the machine in a folder of its own out of the image, which is built, and a kernel.

    Args:
        folder: of `machine_folder`.
        base_image: of the image.
        kernel: None for Debian's, which is downloaded.
        describe: starts the machine in a folder and asks it what it is.
        progress: where to report.

    Raises:
        TargetError: the image is not there, the kernel cannot be got, or the machine does not start.
        OutputError: the cache folder cannot be written to.
    """
    with _made_aside(folder) as aside, progress.task("making the emulated machine", 3) as task:
        task.describe("its root file system")
        _write_initrd(image_tag(base_image), aside)
        task.advance()
        task.describe("its kernel")
        if kernel is None:
            fetch_kernel(aside / KERNEL)
        else:
            shutil.copyfile(kernel, aside / KERNEL)
        task.advance()
        task.describe("starting it")
        (aside / DESCRIPTION).write_text(describe(aside).model_dump_json())
        task.advance()


def remove_machine(folder: Path) -> None:
    """Remove the machine, where there is one.

    Raises:
        OutputError: it cannot be removed.
    """
    if folder.exists():
        with writing_to(folder.parent):
            shutil.rmtree(folder)


def _digest_of_kernel(kernel: Path) -> str:
    check_kernel(kernel)
    return sha256_of_file(kernel)


@contextlib.contextmanager
def _made_aside(folder: Path) -> Iterator[Path]:
    """A folder that becomes `folder` when all went well. What a killed edgecc left of one goes first."""
    aside = folder.with_name(f".{folder.name}")
    with writing_to(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                yield aside
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)


def _write_initrd(tag: str, folder: Path) -> None:
    tar_path = folder / "root.tar"
    export(tag, tar_path)
    try:
        with tarfile.open(tar_path) as tar, (folder / INITRD).open("wb") as file:
            write_tar(tar, file)
    except (tarfile.TarError, ValueError) as error:
        raise TargetError(f"the root file system of the image {tag} cannot be read: {error}") from error
    tar_path.unlink()
