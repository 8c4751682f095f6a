"""Finished stages by content. Nothing in here is believed without its digest.

    <key>/lock                held while the stage is looked up or runs
    <key>/partial/            what a running (or killed) stage has written so far; never read
    <key>/<code>/entry.json   what the stage was, and the sha256 of each output
    <key>/<code>/files/...    the outputs

`key` covers all that is known before the stage runs; `code` the user's modules that it turned out to import.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from edgecc.artifact import Record, StageRecord
from edgecc.files import sha256_of_file, sha256_of_json, write_atomically, writing_to
from edgecc.progress import Progress
from edgecc.project_code import unchanged

PARTIAL = "partial"


class Entry(Record):
    """What `entry.json` holds."""

    schema_version: Literal[1] = 1
    record: StageRecord
    modules: Mapping[str, str]
    """The user's modules it imported: sha256 by path relative to the project."""
    tool_versions: Mapping[str, str]


@dataclass(frozen=True)
class Finished:
    """A stage's outputs, checked against their digests."""

    entry: Entry
    files: Path

    @property
    def record(self) -> StageRecord:
        """What the stage did."""
        return self.entry.record


class Cache:
    """The finished stages of one project."""

    def __init__(self, folder: Path, project_dir: Path) -> None:
        self._folder = folder
        self._project_dir = project_dir

    @contextlib.contextmanager
    def locked(self, key: str, progress: Progress) -> Iterator[None]:
        """Hold the stage, so that two processes never run it at once: the second finds what the first has made."""
        folder = self._folder / key
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                progress.note("waiting: another edgecc runs this stage of the project")
                lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def find(self, key: str) -> Finished | None:
        """The stage's outputs, if it was finished with the modules as they are now; a damaged entry is removed."""
        for path in sorted((self._folder / key).glob("*/entry.json")):
            if path.parent.name == PARTIAL:
                continue
            entry = _read(path)
            # The modules first: an entry of other code need not be read through.
            if entry is not None and not unchanged(entry.modules, self._project_dir):
                continue
            if entry is not None and digests(path.parent / "files") == dict(entry.record.outputs):
                return Finished(entry, path.parent / "files")
            shutil.rmtree(path.parent)
        return None

    def new_output_dir(self, key: str) -> Path:
        """An empty folder for a stage about to run; what a killed one left there is thrown away."""
        partial = self._folder / key / PARTIAL
        with writing_to(partial):
            shutil.rmtree(partial, ignore_errors=True)
            (partial / "files").mkdir(parents=True)
        return partial / "files"

    def keep(self, key: str, entry: Entry) -> Finished:
        """Make the output folder of the stage an entry, by one rename."""
        partial = self._folder / key / PARTIAL
        final = self._folder / key / sha256_of_json(dict(entry.modules))[:16]
        with writing_to(final):
            write_atomically(partial / "entry.json", entry.model_dump_json(indent=1))
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        return Finished(entry, final / "files")

    def work_dir(self, key: str) -> Path:
        """A folder for the stage's unfinished work, which a kill does not touch."""
        folder = self._folder / key / "work"
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_work(self, key: str) -> None:
        """The stage is finished: its unfinished work is of no use any more."""
        shutil.rmtree(self._folder / key / "work", ignore_errors=True)


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_of_file(path) for path in files}


def _read(path: Path) -> Entry | None:
    try:
        return Entry.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
