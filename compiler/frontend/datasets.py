"""The data sets that come with edgecc: `edgecc:digits`, `edgecc:fashion_mnist` and `edgecc:watch`.

Their splits are part of the data set and do not depend on the project's seed: two runs with other seeds are
judged on the same test samples.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import DataError, MissingExtraError

Array = npt.NDArray[Any]

_SPLIT_SEED = 20_190_101
_FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_FASHION_LABELS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_WATCH_WINDOW = 100
_WATCH_STEP = 50


def digits() -> Mapping[str, Any]:
    """Handwritten digits of scikit-learn: 1,797 images (8, 8, 1), float32 in 0 to 1.

    60 % train, 20 % validation, 20 % test of every class. No image occurs twice.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="edgecc:digits", library="scikit-learn", extra="datasets") from error
    data = load_digits()
    x = (data.images[..., np.newaxis] / 16.0).astype(np.float32)
    train, validation, test = _stratified(data.target, (0.6, 0.2, 0.2))
    return _splits(x, data.target, train, validation, test) | {"labels": [str(digit) for digit in range(10)]}


def fashion_mnist() -> Mapping[str, Any]:
    """Zalando's Fashion-MNIST: 70,000 images (28, 28, 1), float32 in 0 to 1 (Xiao et al. 2017, arXiv:1708.07747).

    54,000 train and 6,000 validation (10 % of every class of the original training set), and the original 10,000
    test images. All 70,000 images are different from one another (by SHA-256), so nothing had to be dropped.

    Raises:
        DataError: neither Debian's package nor Keras's download gives the data.
    """
    x_train, y_train, x_test, y_test = _fashion_arrays()
    train, validation = _stratified(y_train, (0.9, 0.1))
    images = (x_train[..., np.newaxis] / np.float32(255)).astype(np.float32)
    return {
        "train": (images[train], y_train[train].astype(np.int64)),
        "validation": (images[validation], y_train[validation].astype(np.int64)),
        "test": ((x_test[..., np.newaxis] / np.float32(255)).astype(np.float32), y_test.astype(np.int64)),
        "labels": list(_FASHION_LABELS),
    }


def watch() -> Mapping[str, Any]:
    """Shoulder exercises seen by a smartwatch: windows (100, 6), float32 (Burns et al. 2018, arXiv:1802.01489).

    A window is 2 s at 50 Hz of acceleration (ax, ay, az) and angular rate (wx, wy, wz), in the data's own units;
    the next window of a recording begins 1 s later. Two of the ten people are held out for validation and two
    others for testing, so that no one is both trained and tested on.

    Raises:
        MissingExtraError: seglearn, which carries the data, is not installed.
        DataError: seglearn is there without the data's file.
    """
    data = _watch_recordings()
    people = np.random.default_rng(_SPLIT_SEED).permutation(np.unique(data["subject"]))
    groups = {"validation": people[:2], "test": people[2:4], "train": people[4:]}
    splits: dict[str, Any] = {name: _windows_of(data, group) for name, group in groups.items()}
    return splits | {"labels": list(data["y_labels"])}


LOADERS: Mapping[str, Callable[[], Mapping[str, Any]]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "watch": watch,
}
"""The built-in loaders by the name after `edgecc:`."""


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read a gzipped idx file of unsigned bytes (the format of MNIST, described at yann.lecun.com/exdb/mnist).

    Raises:
        DataError: not gzip, another magic number or type, or another number of bytes than its header says.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: expected a gzipped idx file; {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{path}: expected the idx magic 00 00 08 (unsigned bytes); got {content[:3].hex(' ')}")
    header_bytes = 4 + 4 * content[3]
    if len(content) < header_bytes:
        raise DataError(f"{path}: expected a header of {header_bytes} bytes; the file has {len(content)}")
    shape = tuple(int(size) for size in np.frombuffer(content[4:header_bytes], dtype=">u4"))
    expected_bytes = header_bytes + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected_bytes:
        raise DataError(f"{path}: expected {expected_bytes} bytes for shape {shape}; got {len(content)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header_bytes).reshape(shape)


def _fashion_arrays() -> tuple[Array, Array, Array, Array]:
    if not _FASHION_FOLDER.is_dir():
        return _fashion_from_keras()
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    x_train, y_train, x_test, y_test = (read_idx(_FASHION_FOLDER / f"{name}-ubyte.gz") for name in names)
    return x_train, y_train, x_test, y_test


def _fashion_from_keras() -> tuple[Array, Array, Array, Array]:
    hint = "on Debian: apt install dataset-fashion-mnist; elsewhere Keras downloads it, which needs a network"
    try:
        import keras

        (x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception when a download fails
        raise DataError(f"Fashion-MNIST is neither in {_FASHION_FOLDER} nor from Keras: {error}", hint=hint) from error
    return x_train, y_train, x_test, y_test


def _watch_recordings() -> Mapping[str, Any]:
    # The package itself needs pandas to be imported without saying so; the data are a plain file in it.
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(needed_by="edgecc:watch", library="seglearn", extra="datasets")
    path = Path(spec.submodule_search_locations[0]) / "data" / "watch_dataset.npy"
    if not path.is_file():
        raise DataError(f"{path}: expected the watch data set of seglearn; no such file")
    recordings: Mapping[str, Any] = np.load(path, allow_pickle=True).item()
    return recordings


def _windows_of(data: Mapping[str, Any], people: Array) -> tuple[Array, Array]:
    x, y = [], []
    for recording, label, person in zip(data["X"], data["y"], data["subject"], strict=True):
        if person in people:
            starts = range(0, len(recording) - _WATCH_WINDOW + 1, _WATCH_STEP)
            x += [recording[start : start + _WATCH_WINDOW] for start in starts]
            y += [label] * len(starts)
    return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.int64)


def _stratified(y: Array, fractions: tuple[float, ...]) -> list[Array]:
    """Indices of as many disjoint parts as there are fractions, each with its fraction of every class."""
    generator = np.random.default_rng(_SPLIT_SEED)
    bounds = np.cumsum(fractions)[:-1]
    parts: list[list[Array]] = [[] for _ in fractions]
    for label in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == label))
        cuts = np.round(bounds * len(members)).astype(int)
        for part, indices in zip(parts, np.split(members, cuts), strict=True):
            part.append(indices)
    return [np.sort(np.concatenate(part)) for part in parts]


def _splits(x: Array, y: Array, train: Array, validation: Array, test: Array) -> dict[str, Any]:
    parts = {"train": train, "validation": validation, "test": test}
    return {name: (x[indices], y[indices].astype(np.int64)) for name, indices in parts.items()}
