"""The data stage: load the user's samples, refuse what would make later numbers lie, write them down."""

from __future__ import annotations

import difflib
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgecc.artifact import Record
from edgecc.compiler.frontend.datasets import LOADERS
from edgecc.compiler.frontend.samples import (
    Split,
    fingerprints,
    read_representative,
    read_splits,
    shared_samples,
)
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import DataError, UserCodeError
from edgecc.files import sha256_of_file
from edgecc.samples import Array, Arrays, by_name, read_arrays, sample_count, take, write_arrays
from edgecc.training import DataSection
from edgecc.user_code import load_entry_point

BUILT_IN = "edgecc"
_FILES = {"train": "train.npz", "validation": "validation.npz", "test": "evaluation.npz"}


class DataDescription(Record):
    """What data.json says about the samples. It is silent on the test set: a new one must not train a new model."""

    schema_version: Literal[1] = 1
    task: Literal["classification", "other"]
    input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]]
    """Of one sample; of each input by its name where there are several, or by its position: "0", "1", ..."""
    targets: tuple[str, ...] = ()
    """The names or positions of what several outputs are trained on; empty where `y` is one array."""
    classes: int | None
    labels: tuple[str, ...] | None
    """The classes' names, in order, where the loader gives them."""


def prepare(context: StageContext) -> Metrics:
    """Run the loader, check what it gives, and write it as `.npz` files of `x` in float32 and `y` (edgecc.samples).

    The test set has a member `task` beside them where its labels are not classes.

    Raises:
        UserCodeError: the loader is missing or raised.
        DataError: the samples cannot be used; says which, and where.
    """
    section = DataSection.model_validate(context.options["data"])
    loaded = load_data(section.loader, context.project_dir, context.seed)
    splits = read_splits(loaded)
    classes = _count_classes(splits, loaded.get("labels"))
    digests = {name: fingerprints(split.x) for name, split in splits.items()}
    overlap = _check_overlap(digests, allowed=section.allow_overlap)
    representative = _representative(loaded, splits["train"], digests, section, context.seed)

    for name, split in splits.items():
        write_arrays(context.output_dir / _FILES[name], **_groups(split, classes))
    write_arrays(context.output_dir / "representative.npz", x=representative)
    description = _describe(splits["train"], classes, loaded.get("labels"))
    (context.output_dir / "data.json").write_text(description.model_dump_json(indent=1) + "\n")
    return {
        "splits": {name: _summary(split, classes, context.output_dir / _FILES[name]) for name, split in splits.items()},
        "representative_samples": sample_count(representative),
        "classes": classes,
        "labels": description.labels,
        "overlap": overlap,
        "converted": _tell_conversions(context, splits),
    }


def load_data(loader: str, project_dir: Path, seed: int) -> Any:
    """Call a loader: `edgecc:NAME`, or a function of the user's that takes no arguments.

    The global random generators are seeded before it is called, so that a loader that shuffles gives the same splits.
    """
    module, _, name = loader.partition(":")
    if module == BUILT_IN:
        return _built_in(name)()
    load = load_entry_point(loader, project_dir)
    _seed_global_generators(seed)
    return load()


def _seed_global_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        tensorflow.random.set_seed(seed)


def read_description(path: Path) -> DataDescription:
    """Read a data.json."""
    return DataDescription.model_validate_json(path.read_bytes())


def read_samples(path: Path) -> tuple[Arrays, Arrays]:
    """Read the `x` and `y` of one split."""
    groups = read_arrays(path)
    return groups["x"], groups["y"]


def _built_in(name: str) -> Callable[[], Mapping[str, Any]]:
    if name not in LOADERS:
        close = difflib.get_close_matches(name, LOADERS, n=1)
        raise UserCodeError(
            f"{BUILT_IN}:{name}: expected one of {', '.join(f'{BUILT_IN}:{known}' for known in LOADERS)}",
            hint=f"did you mean `{BUILT_IN}:{close[0]}`?" if close else None,
        )
    return LOADERS[name]


def _groups(split: Split, classes: int | None) -> dict[str, Arrays]:
    if classes is not None:
        return {"x": split.x, "y": _labels(split).astype(np.int64)}
    # Whoever scores it must not take other integers for classes.
    mark: dict[str, Arrays] = {"task": np.asarray("other")} if split.name == "test" else {}
    return {"x": split.x, "y": split.y, **mark}


def _count_classes(splits: Mapping[str, Split], labels: Any) -> int | None:
    """How many classes there are, or None where the labels are not classes."""
    y = splits["train"].y
    if not isinstance(y, np.ndarray):
        return None
    if y.ndim == 2 and _is_one_hot(y):
        raise DataError(f"train: expected integer classes; got one-hot labels {y.shape}", hint="y.argmax(axis=1)")
    if not np.issubdtype(y.dtype, np.integer):
        return None
    if y.ndim == 2 and y.shape[1] == 1:
        raise DataError(f"train: expected classes of shape (samples,); got {y.shape}", hint="y[:, 0]")
    if y.ndim != 1:
        return None
    if labels is not None and not isinstance(labels, Sequence):
        raise DataError(f"labels: expected a list of the classes' names; got {type(labels).__name__}")
    classes = len(labels) if labels is not None else int(y.max()) + 1
    if classes > len(y):
        raise DataError(f"train: expected classes from 0 on; got {len(y)} samples and the class {y.max()}")
    for split in splits.values():
        _check_classes(split, classes, named=labels is not None)
    seen = np.unique(y)
    if len(seen) < 2:
        raise DataError(f"train: expected at least two classes; every sample is of class {seen[0]}")
    if len(seen) < classes:
        unseen = sorted(set(range(classes)) - set(seen.tolist()))
        raise DataError(f"train: expected samples of all the classes 0 to {classes - 1}; none of {_listed(unseen)}")
    return classes


def _is_one_hot(y: Array) -> bool:
    return y.shape[1] > 1 and bool(np.isin(y, (0, 1)).all()) and bool((y.sum(axis=1) == 1).all())


def _labels(split: Split) -> Array:
    if not isinstance(split.y, np.ndarray) or split.y.ndim != 1:
        raise DataError(f"{split.name}: expected y of shape () a sample, the classes, as in train; got other labels")
    return split.y


def _check_classes(split: Split, classes: int, *, named: bool) -> None:
    y = _labels(split)
    if not np.issubdtype(y.dtype, np.integer):
        raise DataError(f"{split.name}: expected integer classes in y, as in train; got dtype {y.dtype}")
    strange = np.unique(y[(y < 0) | (y >= classes)])
    if len(strange):
        why = "the loader names that many labels" if named else "that is what the training set has"
        raise DataError(f"{split.name}: expected classes 0 to {classes - 1} ({why}); got {_listed(strange.tolist())}")


def _check_overlap(digests: Mapping[str, list[bytes]], *, allowed: bool) -> dict[str, int]:
    """Count the samples of the other splits that are in the test set too; more than none is an error."""
    overlap = {}
    for name in ("train", "validation"):
        pairs = shared_samples(digests[name], digests["test"])
        overlap[name] = len(pairs)
        if pairs and not allowed:
            ours, theirs = pairs[0]
            raise DataError(
                f"{len(pairs)} samples of {name} are in the test set too, the first {name}[{ours}] = test[{theirs}]: "
                "an accuracy measured there would be too good",
                hint="drop them in the loader, or set `allow_overlap = true` under [data]",
            )
    return overlap


def _representative(
    loaded: Mapping[str, Any],
    train: Split,
    digests: Mapping[str, list[bytes]],
    section: DataSection,
    seed: int,
) -> Arrays:
    own = read_representative(loaded, like=train)
    in_test = set(digests["test"])
    if own is None:
        candidates = [index for index, digest in enumerate(digests["train"]) if digest not in in_test]
        return take(train.x, _draw(candidates, section.representative_samples, seed))
    shared = sum(digest in in_test for digest in fingerprints(own))
    if shared and not section.allow_overlap:
        raise DataError(
            f"representative: {shared} of {sample_count(own)} samples are in the test set too",
            hint="calibrate on training samples, or set `allow_overlap = true` under [data]",
        )
    return own


def _draw(candidates: list[int], wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw training samples, in the order they have there."""
    if len(candidates) < wanted:
        raise DataError(
            f"expected {wanted} training samples to calibrate on; there are {len(candidates)}",
            hint=f"set `representative_samples = {len(candidates)}` under [data]" if candidates else None,
        )
    drawn = np.random.default_rng(seed).choice(candidates, size=wanted, replace=False)
    return np.sort(drawn).astype(np.int64)


def _describe(train: Split, classes: int | None, labels: Any) -> DataDescription:
    shapes = {name: array.shape[1:] for name, array in by_name(train.x).items()}
    return DataDescription(
        task="other" if classes is None else "classification",
        input_shape=train.x.shape[1:] if isinstance(train.x, np.ndarray) else shapes,
        targets=() if isinstance(train.y, np.ndarray) else tuple(by_name(train.y)),
        classes=classes,
        labels=None if labels is None else tuple(str(label) for label in labels),
    )


def _summary(split: Split, classes: int | None, file: Path) -> dict[str, Any]:
    """What the manifest keeps of a split."""
    counts = None if classes is None else np.bincount(_labels(split), minlength=classes).tolist()
    return {"samples": len(split), "sha256": sha256_of_file(file), "samples_by_class": counts}


def _tell_conversions(context: StageContext, splits: Mapping[str, Split]) -> dict[str, str]:
    converted = {name: split.given_dtype for name, split in splits.items() if split.given_dtype != "float32"}
    for name, dtype in converted.items():
        context.progress.note(f"data: {name} came as {dtype} and was converted to float32 (not rescaled)")
    return converted


def _listed(values: list[int]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return shown if len(values) <= 5 else f"{shown} and {len(values) - 5} more"
