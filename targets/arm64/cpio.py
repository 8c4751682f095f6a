"""Writes what Linux unpacks into memory when it starts: a cpio archive in the "newc" format, not compressed.

The same files give the same bytes. Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

TRAILER = "TRAILER!!!"
_MAGIC = b"070701"
_ALIGNMENT = 4
_LARGEST_FIELD = 0xFFFF_FFFF

# The kernel brings /dev/console and mounts the rest; a container's file system has empty files there.
_LEFT_OUT = ("dev", "proc", "sys")

_TYPES = {
    tarfile.REGTYPE: stat.S_IFREG,
    tarfile.AREGTYPE: stat.S_IFREG,
    tarfile.LNKTYPE: stat.S_IFREG,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
}


@dataclass(frozen=True)
class Entry:
    """One header of the archive. Entries with one `inode` and `links` above 1 are one file."""

    name: str
    mode: int
    """The type in its high bits, as stat has it."""
    size_bytes: int = 0
    inode: int = 0
    links: int = 1
    uid: int = 0
    gid: int = 0
    mtime: int = 0


def write_tar(tar: tarfile.TarFile, out: IO[bytes]) -> None:
    """Write the files, folders and links of a tar file, in its order; devices and pipes are left out.

    What lies in /dev, /proc and /sys is left out too, but for the folders themselves.

    Raises:
        ValueError: a hard link to nothing, or a file of 4 GiB or more, which the format cannot hold.
        OSError: `out` cannot be written to.
    """
    members = [member for member in tar.getmembers() if member.type in _TYPES and not _is_left_out(member)]
    links = Counter(_name(member.linkname) for member in members if member.islnk())
    inodes: dict[str, int] = {}
    names = {_name(member.name) for member in members}
    for folder in _folders(names):
        if folder not in names:
            _write(out, Entry(folder, stat.S_IFDIR | 0o755))
    for inode, member in enumerate(members, 1):
        name = _name(member.linkname) if member.islnk() else _name(member.name)
        inodes.setdefault(name, inode)
        _write_member(tar, member, out, inode=inodes[name], links=1 + links[name])
    if absent := links.keys() - {_name(member.name) for member in members if member.isreg()}:
        raise ValueError(f"a hard link to {min(absent)}, which is not there")
    _write_trailer(out)


def write_files(files: Mapping[str, bytes | Path], out: IO[bytes]) -> None:
    """Write an archive of files by name, with the folders they need; the content of a Path is read from there.

    Raises:
        ValueError: a file of 4 GiB or more.
        OSError: a file cannot be read, or `out` cannot be written to.
    """
    for folder in _folders(files):
        _write(out, Entry(folder, stat.S_IFDIR | 0o755))
    for inode, (name, content) in enumerate(files.items(), 1):
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            _write(out, Entry(name, stat.S_IFREG | 0o755, file.seek(0, io.SEEK_END), inode), file)
    _write_trailer(out)


def _folders(files: Iterable[str]) -> list[str]:
    """Every folder that files lie in, parents first."""
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    return sorted(folders - {"."})


def _is_left_out(member: tarfile.TarInfo) -> bool:
    name = _name(member.name)
    return not name or ("/" in name and name.partition("/")[0] in _LEFT_OUT)


def _name(name: str) -> str:
    """Without the `./`, or `/`, that some put before it."""
    return str(PurePosixPath("/") / name)[1:]


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, out: IO[bytes], *, inode: int, links: int) -> None:
    content = _content(tar, member)
    entry = Entry(
        name=_name(member.name),
        mode=_TYPES[member.type] | stat.S_IMODE(member.mode),
        size_bytes=0 if content is None else content.seek(0, io.SEEK_END),
        inode=inode,
        links=links,
        uid=member.uid,
        gid=member.gid,
        mtime=min(max(0, int(member.mtime)), _LARGEST_FIELD),  # Python compares it with what a .pyc tells
    )
    _write(out, entry, content)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes] | None:
    if member.issym():
        return io.BytesIO(_encoded(member.linkname))
    return tar.extractfile(member) if member.isreg() else None


def _write_trailer(out: IO[bytes]) -> None:
    _write(out, Entry(TRAILER, 0))


def _write(out: IO[bytes], entry: Entry, content: IO[bytes] | None = None) -> None:
    if entry.size_bytes > _LARGEST_FIELD:
        raise ValueError(f"{entry.name} has {entry.size_bytes} bytes; a cpio archive takes files below 4 GiB")
    name = _encoded(entry.name) + b"\0"
    fields = (
        *(entry.inode, entry.mode, entry.uid, entry.gid, entry.links, entry.mtime, entry.size_bytes),
        *(0, 0, 0, 0),  # devices
        len(name),
        0,  # a checksum, in another format
    )
    header = _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    out.write(header + _padding(len(header)))
    if content is not None:
        content.seek(0)
        shutil.copyfileobj(content, out, 1 << 20)
        out.write(_padding(entry.size_bytes))


def _encoded(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _padding(size_bytes: int) -> bytes:
    return b"\0" * (-size_bytes % _ALIGNMENT)
