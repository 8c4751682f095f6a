"""Scoring raw outputs on the host: which class each sample was given, and how often that was right.

Where a score cannot be had, the reason is returned in its place, to be shown as why the metric is unmeasured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import TensorSpec
from edgecc.errors import DataError
from edgecc.files import sha256_of_file
from edgecc.quantization import dequantize

Array = npt.NDArray[Any]
Classes = npt.NDArray[np.int64]
NO_CLASS = -1
"""The prediction for an output that holds NaN: it is never right and agrees with nothing."""


@dataclass(frozen=True)
class EvaluationSet:
    """Samples to run, shape (n, ...), and their labels, shape (n,), where there are any."""

    x: Array
    y: Array | None
    sha256: str


def load_evaluation(path: Path) -> EvaluationSet:
    """Read an evaluation set: `.npz` with `x` and, where the samples are labelled, `y`.

    Raises:
        DataError: the file cannot be read, has no `x`, or `x` and `y` differ in length.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays.get("y")
        digest = sha256_of_file(path)
        x, y = np.asarray(x), None if y is None else np.asarray(y)
    except Exception as error:  # a foreign file leads numpy and zipfile to whatever they raise
        raise DataError(f"{path}: expected an .npz file with `x` and `y`; {error}") from error
    if x.ndim == 0 or len(x) == 0 or (y is not None and (y.ndim == 0 or len(y) != len(x))):
        shapes = f"x {x.shape}" + ("" if y is None else f", y {y.shape}")
        raise DataError(f"{path}: expected one label a sample and at least one sample; got {shapes}")
    return EvaluationSet(x=x, y=y, sha256=digest)


def top1(raw: Array, spec: TensorSpec) -> Classes | str:
    """The class of each sample, from raw outputs (n, classes).

    A single output, (n, 1) or (n,), is read as the probability of class 1, as a sigmoid gives it, and is class 1
    above 0.5; outside [0, 1] it is no probability, and there is no class to be had.
    """
    values = dequantize(raw, spec)
    if values.ndim == 1:
        values = values[:, np.newaxis]
    if values.ndim != 2:
        return f"an output of shape (n, classes) is needed; this one is {raw.shape}"
    undefined = np.isnan(values).any(axis=1)
    if values.shape[1] > 1:
        classes = values.argmax(axis=1)
    elif _are_probabilities(values[~undefined]):
        classes = (values[:, 0] > 0.5).astype(np.int64)
    else:
        return "the model's single output leaves [0, 1], so it is no probability of a class"
    return np.where(undefined, NO_CLASS, classes).astype(np.int64)


def _are_probabilities(values: npt.NDArray[np.float64]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def class_count(raw: Array) -> int:
    """How many classes raw outputs (n, classes) tell apart; a single output tells two."""
    return max(2, raw.shape[1] if raw.ndim > 1 else 1)


def accuracy(predictions: Classes, y: Array | None, classes: int) -> float | str:
    """The fraction of samples whose class is their label; labels are integers from 0 to `classes` - 1."""
    if y is None:
        return "the evaluation set has no labels `y`"
    if not np.issubdtype(y.dtype, np.integer):
        return f"integer labels are needed for top-1 accuracy; y is {y.dtype}"
    if y.size != len(predictions):
        return f"one label a sample is needed; y has shape {y.shape}"
    labels = y.reshape(-1)
    if labels.min() < 0 or labels.max() >= classes:
        return f"labels from 0 to {classes - 1} are needed; y goes from {labels.min()} to {labels.max()}"
    return float(np.mean(predictions == labels))


def agreement(predictions: Classes, reference: Classes) -> float | str:
    """The fraction of samples that were given the same class by both."""
    if len(predictions) != len(reference):
        return f"the reference ran {len(reference)} samples, this artifact {len(predictions)}"
    return float(np.mean((predictions == reference) & (predictions != NO_CLASS)))
