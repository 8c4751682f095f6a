"""Debian's packages are stood in for by a script: what it leaves is what mmdebstrap would."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecc.errors import TargetError
from edgecc.targets.arm64 import kernel
from edgecc.targets.arm64.kernel import check_kernel, fetch_kernel, kernel_lack

IMAGE = b"\0" * 56 + b"ARM\x64" + b"the rest"

Install = Callable[[str], None]


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a stand-in on the PATH that runs the given statements; `out` is the file that it shall write."""

    def install(statements: str) -> None:
        script = tmp_path / "bin" / "mmdebstrap"
        script.parent.mkdir()
        script.write_text(f"#!{sys.executable} -S\nimport sys\nout = sys.argv[-1]\n{textwrap.dedent(statements)}")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")

    return install


def packages(path: Path, **files: bytes) -> Path:
    """A tar file as mmdebstrap writes one."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./boot/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_the_kernel_is_taken_out_of_its_package(mmdebstrap: Install, tmp_path: Path) -> None:
    archive = packages(tmp_path / "packages.tar", **{"config-6.1": b"text", "vmlinuz-6.1.0-56-cloud-arm64": IMAGE})
    mmdebstrap(f"""
        import shutil
        assert "--arch=arm64" in sys.argv and "--include=linux-image-cloud-arm64" in sys.argv
        shutil.copy({str(archive)!r}, out)
        """)
    folder = tmp_path / "machine"
    folder.mkdir()
    fetch_kernel(folder / "vmlinuz")
    assert (folder / "vmlinuz").read_bytes() == IMAGE
    assert [path.name for path in folder.iterdir()] == ["vmlinuz"]


def test_packages_without_a_kernel(mmdebstrap: Install, tmp_path: Path) -> None:
    archive = packages(tmp_path / "packages.tar", **{"config-6.1": b"text"})
    mmdebstrap(f"import shutil; shutil.copy({str(archive)!r}, out)")
    with pytest.raises(TargetError, match="there is no vmlinuz-"):
        fetch_kernel(tmp_path / "vmlinuz")
    assert not (tmp_path / "vmlinuz").exists()


def test_packages_that_cannot_be_got(mmdebstrap: Install, tmp_path: Path) -> None:
    mmdebstrap("""
        sys.stderr.write("I: running apt-get\\nE: Unable to locate package linux-image\\nE: mmdebstrap failed\\n")
        sys.exit(25)
        """)
    with pytest.raises(TargetError, match=r"E: Unable to locate package linux-image$") as caught:
        fetch_kernel(tmp_path / "vmlinuz")
    assert "debian-archive-keyring" in (caught.value.hint or "")


def test_an_archive_that_is_none(mmdebstrap: Install, tmp_path: Path) -> None:
    mmdebstrap("open(out, 'w').write('half')")
    with pytest.raises(TargetError, match="cannot be read"):
        fetch_kernel(tmp_path / "vmlinuz")


def test_a_mirror_that_hangs(mmdebstrap: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_TIMEOUT_S", 0.5)
    mmdebstrap("import time; time.sleep(60)")
    with pytest.raises(TargetError, match=r"got no kernel within 0\.5 s"):
        fetch_kernel(tmp_path / "vmlinuz")


def test_mmdebstrap_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    lack = kernel_lack()
    assert lack is not None
    assert "apt-get install mmdebstrap" in lack.remedy
    with pytest.raises(TargetError, match="cannot start mmdebstrap"):
        fetch_kernel(tmp_path / "vmlinuz")


@pytest.mark.parametrize("content", [IMAGE, b"\x1f\x8b and so on"])
def test_kernels(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    check_kernel(tmp_path / "vmlinuz")


@pytest.mark.parametrize("content", [b"", b"MZ\0\0zimg" + b"\0" * 100, b"\x7fELF" + b"\0" * 100])
def test_what_is_no_kernel(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(content)
    with pytest.raises(TargetError, match="expected a Linux kernel for ARM64") as caught:
        check_kernel(tmp_path / "vmlinuz")
    assert "leave `kernel` out" in (caught.value.hint or "")


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="vmlinuz cannot be read: No such file"):
        check_kernel(tmp_path / "vmlinuz")
