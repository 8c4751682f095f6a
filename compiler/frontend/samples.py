"""What a loader returned, as checked arrays: one split is `x` in float32 and `y`, each (samples, ...) or several."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import DataError
from edgecc.samples import Array, Arrays, by_name, from_names, listed, sample_count

SPLITS = ("train", "validation", "test")
_KNOWN = (*SPLITS, "representative", "labels")
_SEVERAL_HINT = "several inputs: a dict of arrays by the names of the model's inputs, or a tuple of them in order"


@dataclass(frozen=True)
class Split:
    """The samples of one split."""

    name: str
    x: Arrays
    """In float32."""
    y: Arrays
    given_dtype: str
    """The type `x` had before it was made float32."""

    def __len__(self) -> int:
        return sample_count(self.x)


def read_splits(loaded: Any) -> dict[str, Split]:
    """Turn what a loader returned into its three splits.

    Each is a pair (x, y), or a finite tf.data.Dataset of such pairs, batched or not. `x` is one array, or for several
    inputs a dict of arrays by name or a tuple of them in order; `y` likewise for several outputs.

    Raises:
        DataError: a split is missing, empty, ragged, not numeric or not finite, has another number of labels
            than samples, or the splits' samples differ in names or shapes.
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
    train = _read_split("train", loaded["train"])
    validation, test = (_with_inputs_like(train, _read_split(name, loaded[name])) for name in SPLITS[1:])
    # The test set may be scored on something else than is trained on: an autoencoder on labels of anomalies.
    validation = replace(validation, y=_like(train.y, validation.y, "validation", "y"))
    return {"train": train, "validation": validation, "test": test}


def read_representative(loaded: Mapping[str, Any], like: Split) -> Arrays | None:
    """The representative set of the loader's own, in float32, or None where it gives none.

    Raises:
        DataError: it is empty, not numeric, not finite, or named or shaped otherwise than the training samples.
    """
    given = loaded.get("representative")
    if given is None:
        return None
    raw = _unbatched(given)[0] if _is_dataset(given) else given
    x = _as_samples("representative", _parts("representative", "x", raw, samples=None))
    return _like(like.x, x, "representative", "x")


def fingerprints(x: Arrays) -> list[bytes]:
    """A digest of each sample's bytes in all inputs: equal samples have equal digests."""
    columns = [np.ascontiguousarray(array) for array in by_name(x).values()]
    return [
        hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest()
        for rows in zip(*columns, strict=True)
    ]


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
    x_parts = _parts(name, "x", raw_x, samples=_count(raw_y))
    x = _as_samples(name, x_parts)
    y = _as_labels(name, _parts(name, "y", raw_y, samples=sample_count(x)), sample_count(x))
    dtypes = dict.fromkeys(str(array.dtype) for array in by_name(x_parts).values())
    return Split(name, x, y, ", ".join(dtypes))


def _count(labels: Any) -> int | None:
    """How many samples labels are for, by their first array where they may be several."""
    several = list(labels.values()) if isinstance(labels, Mapping) else labels
    if isinstance(several, list | tuple) and len(several) and (several is not labels or np.ndim(several[0]) > 0):
        return len(several[0])
    return len(labels) if hasattr(labels, "__len__") else None


def _parts(name: str, part: str, given: Any, samples: int | None) -> Arrays:
    """One array, or several by name or in order.

    A list is one array, row by row, unless its items are arrays of as many samples as there are.
    """
    if isinstance(given, Mapping):
        return {str(key): _as_array(name, f"{part}[{key!r}]", value) for key, value in given.items()}
    if isinstance(given, tuple) or (isinstance(given, list) and _are_columns(given, samples)):
        return [_as_array(name, f"{part}[{index}]", value) for index, value in enumerate(given)]
    return _as_array(name, part, given)


def _are_columns(items: list[Any], samples: int | None) -> bool:
    return len(items) != samples and all(np.ndim(item) > 0 and len(item) == samples for item in items)


def _is_dataset(given: Any) -> bool:
    """Whether this is a tf.data.Dataset, asked without importing TensorFlow."""
    return hasattr(given, "as_numpy_iterator") and hasattr(given, "element_spec")


def _unbatched(dataset: Any) -> tuple[Any, Any]:
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
    if not elements:
        return np.empty((0, 1)), np.empty((0,))
    join = np.concatenate if _is_batched(_leaves(spec)) else np.stack
    return _joined(join, [element[0] for element in elements]), _joined(join, [element[1] for element in elements])


def _joined(join: Callable[[Any], Array], items: list[Any]) -> Any:
    """One array of all elements, or several where each element has several."""
    if isinstance(items[0], Mapping):
        return {key: join([item[key] for item in items]) for key in items[0]}
    if isinstance(items[0], tuple):
        return tuple(join(parts) for parts in zip(*items, strict=True))
    return join(items)


def _leaves(spec: Any) -> list[Any]:
    if isinstance(spec, Mapping):
        spec = tuple(spec.values())
    return [leaf for part in spec for leaf in _leaves(part)] if isinstance(spec, tuple) else [spec]


def _is_batched(specs: list[Any]) -> bool:
    """Batched elements have a leading dimension that all share; a single label has no dimension at all."""
    ranks = [spec.shape.rank for spec in specs]
    if 0 in ranks or len({spec.shape[0] for spec in specs}) != 1:
        return False
    if specs[0].shape[0] is not None and min(ranks) > 1:
        raise DataError(
            "expected a tf.data.Dataset whose batches can be told from single samples; every part of an element "
            f"begins with {specs[0].shape[0]}",
            hint="batch it without `drop_remainder=True`, or give arrays",
        )
    return True


def _as_array(name: str, part: str, given: Any) -> Array:
    try:
        array = np.asarray(given)
    except ValueError as error:
        message = f"{name}: expected {part} to be one array; its rows have different shapes"
        raise DataError(message, hint=_SEVERAL_HINT) from error
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise DataError(f"{name}: expected {part} to hold real numbers; got dtype {array.dtype}")
    return array


def _as_samples(name: str, parts: Arrays) -> Arrays:
    """The parts in float32, each (samples, ...) of as many samples."""
    named = {_titled("x", key): array for key, array in by_name(parts).items()}
    if not named:
        raise DataError(f"{name}: expected samples; x is empty", hint=_SEVERAL_HINT)
    for title, array in named.items():
        if array.ndim < 2:
            raise DataError(f"{name}: expected {title} of shape (samples, ...); got shape {array.shape}")
        if array.size == 0:
            raise DataError(f"{name}: expected samples; {title} is empty, shape {array.shape}")
    counts = {title: len(array) for title, array in named.items()}
    if len(set(counts.values())) > 1:
        given = ", ".join(f"{count} in {title}" for title, count in counts.items())
        raise DataError(f"{name}: expected as many samples in every input; got {given}", hint=_SEVERAL_HINT)
    return from_names({key: _in_float32(name, _titled("x", key), array) for key, array in by_name(parts).items()})


def _in_float32(name: str, title: str, array: Array) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is reported as that
        x = array.astype(np.float32, copy=False)
    _check_finite(name, title, x)
    return x


def _as_labels(name: str, parts: Arrays, samples: int) -> Arrays:
    """The parts, each of one label a sample; truth values become 0 and 1."""
    for key, y in by_name(parts).items():
        title = _titled("y", key)
        if y.ndim == 0 or len(y) != samples:
            labels = "a single value" if y.ndim == 0 else f"{len(y)}"
            raise DataError(
                f"{name}: expected as many labels as samples; got {samples} samples and {labels} in {title}"
            )
        _check_finite(name, title, y)
    return from_names({key: y.astype(np.int64) if y.dtype == np.bool_ else y for key, y in by_name(parts).items()})


def _titled(part: str, key: str) -> str:
    return f"{part}[{key!r}]" if key else part


def _check_finite(name: str, title: str, array: Array) -> None:
    bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"{name}: expected finite numbers in {title}; {len(bad)} of {len(array)} samples have NaN or infinity, "
            f"the first at index {bad[0]}"
        )


def _with_inputs_like(train: Split, split: Split) -> Split:
    return replace(split, x=_like(train.x, split.x, split.name, "x"))


def _like(train: Arrays, arrays: Arrays, name: str, part: str) -> Arrays:
    """The arrays under the names of the training set's, in its order and of its shapes."""
    given, expected = by_name(arrays), by_name(train)
    if set(given) != set(expected):
        raise DataError(
            f"{name}: expected {part} to be {listed(list(expected))}, as in train; got {listed(list(given))}"
        )
    for key, array in expected.items():
        if given[key].shape[1:] != array.shape[1:]:
            raise DataError(
                f"{name}: expected {_titled(part, key)} of shape {array.shape[1:]} a sample, as in train; "
                f"got {given[key].shape[1:]}"
            )
    return from_names({key: given[key] for key in expected})
