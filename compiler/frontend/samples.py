"""What a loader returned, as checked arrays: one split is `x` (samples, ...) in float32 and `y` (samples, ...)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import DataError

Array = npt.NDArray[Any]

SPLITS = ("train", "validation", "test")
_KNOWN = (*SPLITS, "representative", "labels")


@dataclass(frozen=True)
class Split:
    """The samples of one split."""

    name: str
    x: npt.NDArray[np.float32]
    y: Array
    given_dtype: str
    """The type `x` had before it was made float32."""

    def __len__(self) -> int:
        return len(self.x)


def read_splits(loaded: Any) -> dict[str, Split]:
    """Turn what a loader returned into its three splits.

    Each is a pair of arrays (x, y), or a finite tf.data.Dataset of such pairs, batched or not.

    Raises:
        DataError: a split is missing, empty, ragged, not numeric or not finite, has another number of labels
            than samples, or the splits' sample shapes differ.
    """
    if not isinstance(loaded, Mapping):
        raise DataError(f"expected the loader to return a mapping of splits; got {type(loaded).__name__}")
    unknown = [str(key) for key in loaded if key not in _KNOWN]
    missing = [name for name in SPLITS if name not in loaded]
    if missing or unknown:
        given = ", ".join(f'"{key}"' for key in loaded) or "nothing"
        raise DataError(
            f'expected the splits "train", "validation" and "test" of the loader; got {given}',
            hint='each is a pair (x, y); "representative" (x) and "labels" (names) may come with them',
        )
    splits = {name: _read_split(name, loaded[name]) for name in SPLITS}
    _check_same_shape(splits)
    return splits


def read_representative(loaded: Mapping[str, Any], like: Split) -> npt.NDArray[np.float32] | None:
    """The representative set (samples, ...) of the loader's own, or None where it gives none.

    Raises:
        DataError: it is empty, not numeric, not finite, or shaped otherwise than the training samples.
    """
    given = loaded.get("representative")
    if given is None:
        return None
    x = _as_samples("representative", np.asarray(_unbatched(given)[0] if _is_dataset(given) else given))
    if x.shape[1:] != like.x.shape[1:]:
        raise DataError(f"representative: expected samples of shape {like.x.shape[1:]}; got {x.shape[1:]}")
    return x


def fingerprints(x: Array) -> list[bytes]:
    """A digest of each sample's bytes: equal samples have equal digests."""
    rows = np.ascontiguousarray(x)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def shared_samples(a: Iterable[bytes], b: Iterable[bytes]) -> list[tuple[int, int]]:
    """Pairs (index in a, index in b) of samples that are in both, by the first place in `b`, in the order of `a`."""
    first_in_b: dict[bytes, int] = {}
    for index, digest in enumerate(b):
        first_in_b.setdefault(digest, index)
    return [(index, first_in_b[digest]) for index, digest in enumerate(a) if digest in first_in_b]


def _read_split(name: str, given: Any) -> Split:
    if _is_dataset(given):
        raw_x, raw_y = _unbatched(given)
    elif isinstance(given, tuple | list) and len(given) == 2:
        raw_x, raw_y = given
    else:
        raise DataError(f"{name}: expected a pair (x, y) or a tf.data.Dataset; got {type(given).__name__}")
    raw_x = _as_array(name, "x", raw_x)
    x, y = _as_samples(name, raw_x), _as_array(name, "y", raw_y)
    if y.ndim == 0 or len(x) != len(y):
        labels = "a single value" if y.ndim == 0 else f"{len(y)}"
        raise DataError(f"{name}: expected as many labels as samples; got {len(x)} samples and {labels} in y")
    _check_finite(name, "y", y)
    return Split(name, x, y.astype(np.int64) if y.dtype == np.bool_ else y, str(raw_x.dtype))


def _is_dataset(given: Any) -> bool:
    """Whether this is a tf.data.Dataset, asked without importing TensorFlow."""
    return hasattr(given, "as_numpy_iterator") and hasattr(given, "element_spec")


def _unbatched(dataset: Any) -> tuple[Array, Array]:
    if int(dataset.cardinality()) == -1:
        raise DataError("expected a finite tf.data.Dataset; got one that repeats forever", hint="drop `.repeat()`")
    spec = dataset.element_spec
    try:
        elements = list(dataset.as_numpy_iterator())
    except Exception as error:  # whatever the user's generator or map raised, in TensorFlow's words
        raise DataError(f"reading the tf.data.Dataset raised {type(error).__name__}: {error}") from error
    if not isinstance(spec, tuple):
        spec, elements = (spec, spec), [(element, element) for element in elements]
    if len(spec) != 2:
        raise DataError(f"expected a tf.data.Dataset of pairs (x, y); got elements of {len(spec)} parts")
    join = np.concatenate if _is_batched(*spec) else np.stack
    if not elements:
        return np.empty((0, 1)), np.empty((0,))
    return join([element[0] for element in elements]), join([element[1] for element in elements])


def _is_batched(x_spec: Any, y_spec: Any) -> bool:
    """Batched elements have a leading dimension that x and y share; a single label has no dimension at all."""
    ranks = (x_spec.shape.rank, y_spec.shape.rank)
    return 0 not in ranks and x_spec.shape[0] == y_spec.shape[0]


def _as_array(name: str, part: str, given: Any) -> Array:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"{name}: expected {part} to be one array; its rows have different shapes") from error
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise DataError(f"{name}: expected {part} to hold real numbers; got dtype {array.dtype}")
    return array


def _as_samples(name: str, given: Any) -> npt.NDArray[np.float32]:
    array = _as_array(name, "x", given)
    if array.ndim < 2:
        raise DataError(f"{name}: expected x of shape (samples, ...); got shape {array.shape}")
    if array.size == 0:
        raise DataError(f"{name}: expected samples; x is empty, shape {array.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is reported as that
        x = array.astype(np.float32, copy=False)
    _check_finite(name, "x", x)
    return x


def _check_finite(name: str, part: str, array: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: expected finite numbers in {part}; {len(bad)} of {len(array)} samples have NaN or infinity, "
            f"the first at index {bad[0]}"
        )


def _check_same_shape(splits: Mapping[str, Split]) -> None:
    train = splits["train"]
    for name, split in splits.items():
        for part, given, expected in (("x", split.x, train.x), ("y", split.y, train.y)):
            if given.shape[1:] != expected.shape[1:]:
                raise DataError(
                    f"{name}: expected {part} of shape {expected.shape[1:]} a sample, as in train; "
                    f"got {given.shape[1:]}"
                )
