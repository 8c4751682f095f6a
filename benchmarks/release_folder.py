"""A release on disk: its checksums, its archive, and how it takes the place of an older one.

The folder is built beside its place and renamed in, so that nobody ever sees half of one. The same contents give the
same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from edgecc.artifact import Artifact, Record
from edgecc.errors import OutputError
from edgecc.files import write_atomically, writing_to

CHECKSUMS, IDENTITY = "SHA256SUMS", "release.json"

_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ReleasedArtifact(Record):
    """One artifact of a release; its path is relative to the release's folder."""

    variant: str
    artifact: Artifact
    git_commit: str | None
    """The commit that it was built from."""


class ReleaseRecord(Record):
    """What release.json says: which release a folder holds."""

    schema_version: Literal[1] = 1
    project: _FileName
    run_id: _FileName
    """The bench whose results passed."""
    edgecc_version: str
    artifacts: tuple[ReleasedArtifact, ...]

    @property
    def archives(self) -> tuple[str, str]:
        """The file that holds all the others, and the one with its checksum."""
        name = f"{self.project}-{self.run_id}.tar.gz"
        return name, f"{name}.sha256"


def to_json(record: BaseModel) -> bytes:
    """As edgecc writes JSON."""
    return (record.model_dump_json(indent=1) + "\n").encode()


def seal(contents: Mapping[str, bytes], record: ReleaseRecord) -> dict[str, bytes]:
    """These files by name, with release.json, SHA256SUMS of them all, and an archive of them all with its checksum."""
    sealed = dict(contents) | {IDENTITY: to_json(record)}
    sealed[CHECKSUMS] = _checksums(sealed)
    archive, checksum = record.archives
    packed = {archive: _archive(sealed, archive.removesuffix(".tar.gz"))}
    return sealed | packed | {checksum: _checksums(packed)}


def _checksums(contents: Mapping[str, bytes]) -> bytes:
    """What `sha256sum -c` reads."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(contents.items())]
    return "".join(lines).encode()


def _archive(contents: Mapping[str, bytes], root: str) -> bytes:
    """A tar.gz that tells nothing of when and by whom it was made."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", mtime=0, fileobj=packed) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as archive,
    ):
        for name, content in sorted(contents.items()):
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def check_place(place: Path) -> None:
    """Make sure that a release may be written here: nothing is there, or a release and nothing else.

    Raises:
        OutputError: something else would be lost.
    """
    if not place.exists() and not place.is_symlink():
        return
    with writing_to(place):
        strangers = _strangers(place)
    if strangers:
        raise OutputError(
            f"{place}: expected no folder, or one that holds a release of edgecc's and nothing else; got {strangers}",
            hint="name another folder with --output, or move away what is there",
        )


def _strangers(place: Path) -> str | None:
    """What a new release would destroy."""
    if not place.is_dir():
        return "a file"
    found = sorted(str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir() or path.is_symlink())
    if not found:
        return None
    try:
        record = ReleaseRecord.model_validate_json((place / IDENTITY).read_bytes())
        listed = [line[66:] for line in (place / CHECKSUMS).read_text().splitlines()]
    except (OSError, ValueError):
        return f"`{found[0]}`, and no release"
    strangers = set(found) - {*listed, CHECKSUMS, *record.archives}
    return f"`{min(strangers)}` as well" if strangers else None


def write_release(contents: Mapping[str, bytes], place: Path) -> None:
    """Write these files aside, and rename them in for what is there.

    Raises:
        OutputError: the folder cannot be written to; what was there stays.
    """
    place = place.resolve()
    with writing_to(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as aside:
            new, old = Path(aside, "new"), Path(aside, "old")
            for name, content in contents.items():
                write_atomically(new / name, content)
            _swap(new, place, old)


def _swap(new: Path, place: Path, old: Path) -> None:
    try:
        if place.exists():
            place.rename(old)
        new.rename(place)
    except BaseException:
        if old.exists() and not place.exists():
            old.rename(place)
        raise
