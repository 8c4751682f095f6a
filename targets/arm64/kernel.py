"""The kernel that the emulated machine starts: Debian's for ARM64 virtual machines, taken out of its package.

Nothing is installed, and what apt knows on this machine stays as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from edgecc.errors import TargetError
from edgecc.targets.arm64.lacks import Lack

SUITE = "bookworm"
PACKAGE = "linux-image-cloud-arm64"

_NAME = "vmlinuz-"
_TIMEOUT_S = 600.0
# Of an ARM64 kernel's header, at this offset; source: the kernel's Documentation/arm64/booting.rst.
_MAGIC, _MAGIC_OFFSET = b"ARM\x64", 56
_GZIP = b"\x1f\x8b"


def fetch_kernel(destination: Path) -> None:
    """Write Debian's newest kernel of SUITE to a file.

    Raises:
        TargetError: mmdebstrap is not installed or gets no packages, or there is no kernel in them.
        OSError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".kernel-") as folder:
        archive = Path(folder) / "packages.tar"
        _download(archive)
        try:
            _extract(archive, destination)
        except tarfile.TarError as error:
            raise TargetError(f"the packages that mmdebstrap got cannot be read: {error}") from error


def kernel_lack() -> Lack | None:
    """What is missing for `fetch_kernel` to work."""
    if shutil.which("mmdebstrap") is not None:
        return None
    return Lack(
        "mmdebstrap is not installed, which gets the kernel",
        "apt-get install mmdebstrap, or name a kernel of your own with `kernel`",
    )


def check_kernel(path: Path) -> None:
    """Look whether a file is a kernel that QEMU can start on an ARM64 machine.

    Raises:
        TargetError: it cannot be read, or is none; says what is expected.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_MAGIC_OFFSET + len(_MAGIC))
    except OSError as error:
        raise TargetError(f"the kernel {path} cannot be read: {error.strerror}") from error
    if not head.endswith(_MAGIC) and not head.startswith(_GZIP):
        raise TargetError(
            f"{path}: expected a Linux kernel for ARM64 (an Image, or one that gzip compressed)",
            hint="leave `kernel` out: edgecc then gets Debian's",
        )


def _download(archive: Path) -> None:
    command = ["mmdebstrap", "--variant=extract", "--arch=arm64", f"--include={PACKAGE}", SUITE, str(archive)]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise TargetError(f"cannot start mmdebstrap: {error.strerror}", hint="apt-get install mmdebstrap") from error
    except subprocess.TimeoutExpired as error:
        raise TargetError(f"mmdebstrap got no kernel within {_TIMEOUT_S:g} s") from error
    if ended.returncode != 0:
        raise TargetError(
            f"mmdebstrap gets no kernel: {_last_error(ended.stderr)}",
            hint="it needs Debian's package archive and its keys (debian-archive-keyring); "
            "or name a kernel of your own with `kernel`",
        )


def _extract(archive: Path, destination: Path) -> None:
    with tarfile.open(archive) as tar:
        found = [member for member in tar if member.isreg() and Path(member.name).name.startswith(_NAME)]
        content = tar.extractfile(found[0]) if found else None
        if content is None:
            raise TargetError(f"there is no {_NAME}* in the packages that {PACKAGE} of {SUITE} brings")
        with destination.open("wb") as file:
            shutil.copyfileobj(content, file)


def _last_error(log: str) -> str:
    """The last line that tells of an error; mmdebstrap's very last one only says that it gave up."""
    lines = [line for line in log.splitlines() if line.strip()] or ["it says nothing"]
    errors = [line for line in lines if line.startswith("E:") and not line.startswith("E: mmdebstrap")]
    return (errors or lines)[-1]
