"""Archives are read back by a reader that was written from the format's description alone."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecc.targets.arm64.cpio import write_files, write_tar


class Read(NamedTuple):
    inode: int
    mode: int
    uid: int
    gid: int
    links: int
    mtime: int
    content: bytes


def read(archive: bytes) -> dict[str, Read]:
    """What is in the first archive, by name; everything in it starts at multiples of 4."""
    entries: dict[str, Read] = {}
    position = 0
    while True:
        assert archive[position : position + 6] == b"070701"
        fields = [int(archive[position + 6 + 8 * i : position + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, uid, gid, links, mtime, size_bytes, *devices, name_bytes, checksum = fields
        assert (devices, checksum) == ([0] * 4, 0)
        name = archive[position + 110 : position + 110 + name_bytes]
        assert name.endswith(b"\0")
        start = -(-(position + 110 + name_bytes) // 4) * 4
        position = -(-(start + size_bytes) // 4) * 4
        if name == b"TRAILER!!!\0":
            assert position == len(archive)
            return entries
        text = name[:-1].decode(errors="surrogateescape")
        assert text not in entries
        entries[text] = Read(inode, mode, uid, gid, links, mtime, archive[start : start + size_bytes])


def written(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """The archive of a tar file."""
    tar_bytes, out = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    tar_bytes.seek(0)
    with tarfile.open(fileobj=tar_bytes) as tar:
        write_tar(tar, out)
    return out.getvalue()


def member(
    name: str, content: bytes = b"", *, type: bytes = tarfile.REGTYPE, **fields: object
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size = type, len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def test_the_bytes_of_a_small_archive() -> None:
    out = io.BytesIO()
    write_files({"ab": b"hello"}, out)
    fields = "00000001 000081ED 00000000 00000000 00000001 00000000 00000005"
    assert out.getvalue() == (
        b"070701" + fields.replace(" ", "").encode() + b"0" * 32 + b"00000003" + b"0" * 8 + b"ab\0"
        b"\0\0\0" b"hello\0\0\0"
        b"070701" + b"0" * 32 + b"00000001" + b"0" * 48 + b"0000000B" + b"0" * 8 + b"TRAILER!!!\0" b"\0\0\0"
    )  # fmt: skip


def test_what_a_tar_file_says_of_its_members_is_kept() -> None:
    entries = read(
        written(
            member("./usr/", type=tarfile.DIRTYPE, mode=0o711, mtime=7),
            member("./usr/python", b"ELF", mode=0o4755, uid=3, gid=4, mtime=1577836800.75),
            member("bin", type=tarfile.SYMTYPE, linkname="usr/bin", mode=0o777),
        )
    )
    assert entries["usr"]._replace(inode=0) == Read(0, stat.S_IFDIR | 0o711, 0, 0, 1, 7, b"")
    assert entries["usr/python"]._replace(inode=0) == Read(0, stat.S_IFREG | 0o4755, 3, 4, 1, 1577836800, b"ELF")
    assert entries["bin"]._replace(inode=0) == Read(0, stat.S_IFLNK | 0o777, 0, 0, 1, 0, b"usr/bin")
    assert len({entry.inode for entry in entries.values()}) == 3


def test_hard_links_are_one_file_with_its_content_once() -> None:
    entries = read(
        written(
            member("./one", b"content"),
            member("./two", type=tarfile.LNKTYPE, linkname="./one"),
            member("three", type=tarfile.LNKTYPE, linkname="one"),
            member("other", b"more"),
        )
    )
    linked = [entries[name] for name in ("one", "two", "three")]
    assert [(entry.inode, entry.links) for entry in linked] == [(linked[0].inode, 3)] * 3
    assert [entry.content for entry in linked] == [b"content", b"", b""]
    assert entries["other"].links == 1
    assert entries["other"].inode != linked[0].inode


def test_folders_that_a_tar_file_does_not_name_are_made() -> None:
    entries = read(written(member("opt/edgecc/site/numpy.py", b"x"), member("opt", type=tarfile.DIRTYPE, mode=0o700)))
    assert sorted(entries) == ["opt", "opt/edgecc", "opt/edgecc/site", "opt/edgecc/site/numpy.py"]
    assert list(entries).index("opt/edgecc/site") < list(entries).index("opt/edgecc/site/numpy.py")
    assert stat.S_ISDIR(entries["opt/edgecc"].mode)


def test_devices_and_what_the_kernel_brings_are_left_out() -> None:
    entries = read(
        written(
            member(".", type=tarfile.DIRTYPE),
            member("dev", type=tarfile.DIRTYPE),
            member("dev/console"),  # an empty file, as in a container's: the kernel would open it as its console
            member("proc/cpuinfo", b"x"),
            member("device", b"x"),
            member("null", type=tarfile.CHRTYPE),
            member("pipe", type=tarfile.FIFOTYPE),
        )
    )
    assert sorted(entries) == ["dev", "device"]


def test_a_hard_link_to_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="a hard link to gone, which is not there"):
        written(member("two", type=tarfile.LNKTYPE, linkname="gone"))


def test_a_file_that_the_format_cannot_hold(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ValueError, match="model has 4294967296 bytes; a cpio archive takes files below 4 GiB"):
        write_files({"model": large}, io.BytesIO())


def test_files_from_memory_and_from_disk(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    out = io.BytesIO()
    write_files({"edgecc/files/0/model": tmp_path / "model", "init": b"#!/bin/sh"}, out)
    entries = read(out.getvalue())
    assert list(entries) == ["edgecc", "edgecc/files", "edgecc/files/0", "edgecc/files/0/model", "init"]
    assert entries["edgecc/files/0/model"].content == b"weights"
    assert entries["init"].mode == stat.S_IFREG | 0o755


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and not name.startswith("TRAILER")
)


@settings(deadline=None)
@given(st.dictionaries(names, st.binary(max_size=50), max_size=6))
def test_whatever_the_files_they_come_back(files: dict[str, bytes]) -> None:
    out = io.BytesIO()
    write_files(files, out)
    entries = read(out.getvalue())
    assert {name: entry.content for name, entry in entries.items()} == files
    assert len({entry.inode for entry in entries.values()}) == len(files)


@settings(deadline=None)
@given(st.dictionaries(names, st.binary(max_size=50), max_size=6))
def test_the_same_files_give_the_same_bytes(files: dict[str, bytes]) -> None:
    members = [member(f"x/{name}", content) for name, content in files.items()]
    archive = written(*members)
    assert archive == written(*members)
    assert {name: entry.content for name, entry in read(archive).items()} == {
        **({"x": b""} if files else {}),
        **{f"x/{name}": content for name, content in files.items()},
    }
