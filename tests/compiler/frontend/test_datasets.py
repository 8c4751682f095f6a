from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from edgecc.compiler.frontend import datasets
from edgecc.compiler.frontend.datasets import digits, fashion_mnist, read_idx, watch
from edgecc.compiler.frontend.samples import fingerprints
from edgecc.errors import DataError

NEEDS_DEBIAN = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)


def idx(path: Path, magic: bytes, shape: tuple[int, ...], content: bytes) -> Path:
    path.write_bytes(gzip.compress(magic + struct.pack(f">{len(shape)}I", *shape) + content))
    return path


def test_an_idx_file_is_read(tmp_path: Path) -> None:
    path = idx(tmp_path / "a.gz", b"\x00\x00\x08\x03", (2, 2, 3), bytes(range(12)))
    np.testing.assert_array_equal(read_idx(path), np.arange(12).reshape(2, 2, 3))


@pytest.mark.parametrize(
    ("magic", "shape", "content", "message"),
    [
        (b"\x00\x00\x0d\x01", (2,), b"12345678", "expected the idx magic 00 00 08"),
        (b"\x00\x00\x08\x02", (2, 3), b"12345", r"expected 18 bytes for shape \(2, 3\); got 17"),
        (b"\x00\x00\x08\x02", (2, 3), b"1234567", r"expected 18 bytes for shape \(2, 3\); got 19"),
        (b"\x00\x00\x08\x09", (2,), b"", "expected a header of 40 bytes; the file has 8"),
    ],
)
def test_a_damaged_idx_file_is_refused(
    tmp_path: Path, magic: bytes, shape: tuple[int, ...], content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_idx(idx(tmp_path / "a.gz", magic, shape, content))


def test_a_file_that_is_not_gzip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"not gzip")
    with pytest.raises(DataError, match=r"a\.gz: expected a gzipped idx file"):
        read_idx(tmp_path / "a.gz")


def test_digits_are_split_by_class_without_sharing() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: edgecc[datasets] brings it")
    data = digits()
    x, y = data["train"]
    assert x.dtype == np.float32
    assert x.shape[1:] == (8, 8, 1)
    assert x.min() == 0
    assert x.max() == 1
    sizes = [len(data[name][0]) for name in ("train", "validation", "test")]
    assert sum(sizes) == 1797
    all_samples = [digest for name in ("train", "validation", "test") for digest in fingerprints(data[name][0])]
    assert len(set(all_samples)) == 1797
    # 178 images of the digit 0 in all: 60 % of them are 107.
    assert np.bincount(y)[0] == 107
    np.testing.assert_array_equal(digits()["test"][0], data["test"][0])


@NEEDS_DEBIAN
def test_fashion_mnist_keeps_the_original_test_set_and_holds_no_duplicates() -> None:
    data = fashion_mnist()
    assert data["train"][0].shape == (54_000, 28, 28, 1)
    assert data["test"][0].shape == (10_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data["validation"][1]), [600] * 10)
    # The first test image is an ankle boot; this is documented by the data set's own README.
    assert data["labels"][data["test"][1][0]] == "Ankle boot"
    samples = [digest for name in ("train", "validation", "test") for digest in fingerprints(data[name][0])]
    assert len(set(samples)) == 70_000


def test_fashion_mnist_that_is_nowhere_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_FASHION_FOLDER", tmp_path / "none")
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    with pytest.raises(DataError, match=r"neither in .* nor from Keras") as caught:
        fashion_mnist()
    assert "apt install dataset-fashion-mnist" in str(caught.value.hint)


def test_no_one_in_the_watch_set_is_both_trained_and_tested_on() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: edgecc[datasets] brings it")
    data = watch()
    recordings = datasets._watch_recordings()
    people_of = {}
    for recording, person in zip(recordings["X"], recordings["subject"], strict=True):
        for start in range(0, len(recording) - 99, 50):
            people_of[recording[start : start + 100].astype(np.float32).tobytes()] = person
    people = {
        name: {int(people_of[window.tobytes()]) for window in data[name][0]} for name in ("train", "validation", "test")
    }
    assert [len(people[name]) for name in ("train", "validation", "test")] == [6, 2, 2]
    assert len(set.union(*people.values())) == 10
    assert data["train"][0].shape[1:] == (100, 6)
    assert len(data["labels"]) == 7
