"""The image is stood in for by a tar file, and Debian's kernel by a few bytes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import platformdirs
import pytest

from edgecc.errors import OutputError, TargetError
from edgecc.progress import Silent
from edgecc.results import Environment
from edgecc.targets.arm64 import machine
from edgecc.targets.arm64.machine import machine_folder, make_machine, read_description, remove_machine

ENVIRONMENT = Environment(
    os="Linux 6.1", machine="aarch64", cpu_model="aarch64", cores=1, governor=None, accelerator=None, python="3.11.2",
    runtimes={"litert": "2.3.0"}, emulated=False,
)  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, and an image and a kernel to make machines of."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr(machine, "export", export)
    monkeypatch.setattr(machine, "fetch_kernel", lambda path: path.write_bytes(b"kernel"))
    return tmp_path / "edgecc" / "arm64"


def export(tag: str, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("usr/bin/python3")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"ELF"))


def describe(folder: Path) -> Environment:
    """Starts what is there."""
    assert (folder / "vmlinuz").read_bytes() == b"kernel"
    assert b"usr/bin/python3\0" in (folder / "initrd.cpio").read_bytes()
    return ENVIRONMENT


def test_a_machine_is_made_and_removed(cache: Path) -> None:
    folder = machine_folder("local", None)
    assert folder.parent == cache
    assert read_description(folder) is None
    make_machine(folder, "local", None, describe, Silent())
    assert sorted(path.name for path in folder.iterdir()) == ["initrd.cpio", "machine.json", "vmlinuz"]
    assert read_description(folder) == ENVIRONMENT
    remove_machine(folder)
    remove_machine(folder)
    assert read_description(folder) is None
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_it_starts_the_kernel_of_the_users_own(cache: Path, tmp_path: Path) -> None:
    kernel = tmp_path / "Image"
    kernel.write_bytes(b"\0" * 56 + b"ARM\x64")
    folder = machine_folder("local", kernel)
    make_machine(folder, "local", kernel, lambda folder: ENVIRONMENT, Silent())
    assert (folder / "vmlinuz").read_bytes() == kernel.read_bytes()


def test_the_name_tells_what_went_in(cache: Path, tmp_path: Path) -> None:
    kernels = [tmp_path / "a", tmp_path / "b", tmp_path / "same"]
    for path, end in zip(kernels, (b"1", b"2", b"1"), strict=True):
        path.write_bytes(b"\0" * 56 + b"ARM\x64" + end)
    first, second, same = (machine_folder("local", kernel) for kernel in kernels)
    assert len({first, second, machine_folder("local", None), machine_folder("python:3.11-slim", None)}) == 4
    assert first == same


def test_nothing_is_left_of_one_that_does_not_start(cache: Path) -> None:
    def refuse(folder: Path) -> Environment:
        raise TargetError("no Python")

    folder = machine_folder("local", None)
    with pytest.raises(TargetError, match="no Python"):
        make_machine(folder, "local", None, refuse, Silent())
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_what_a_killed_edgecc_left_is_made_anew(cache: Path) -> None:
    folder = machine_folder("local", None)
    for half in (folder, folder.with_name(f".{folder.name}")):
        half.mkdir(parents=True)
        (half / "machine.json").write_text("{")
    assert read_description(folder) is None
    make_machine(folder, "local", None, describe, Silent())
    assert read_description(folder) == ENVIRONMENT
    assert [path for path in cache.iterdir() if path.is_dir()] == [folder]


def test_an_image_that_cannot_be_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "export", lambda tag, path: path.write_bytes(b"x" * 2000))
    with pytest.raises(TargetError, match="cannot be read"):
        make_machine(machine_folder("local", None), "local", None, describe, Silent())


def test_a_cache_folder_that_cannot_be_written_to(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file")
    with pytest.raises(OutputError, match="cannot write to"):
        make_machine(machine_folder("local", None), "local", None, describe, Silent())
