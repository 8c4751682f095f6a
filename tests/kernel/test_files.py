"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgecc.errors import OutputError
from edgecc.files import sha256_of_file, sha256_of_json, write_atomically


def test_digests_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    # FIPS 180-2, appendix B.1.
    assert sha256_of_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_json_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert sha256_of_json({"a": 1, "b": [2]}) == sha256_of_json({"b": [2], "a": 1})
    assert sha256_of_json({"a": 1}) != sha256_of_json({"a": 2})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=str(tmp_path)):
        write_atomically(tmp_path / "file" / "below", "text")
