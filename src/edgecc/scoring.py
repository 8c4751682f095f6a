"""Scoring a model's outputs: the class of each sample, how often that is right, and the metrics of the user's own.

Outputs are real values, dequantized: one array (samples, ...) an output. The compiler scores validation samples with
these functions, and benchmarks the evaluation set. Where a score cannot be had, the reason is returned in its place.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import UserCodeError
from edgecc.metrics import Better
from edgecc.project import MetricSection
from edgecc.samples import Arrays, by_name, from_names, read_arrays, sample_count
from edgecc.user_code import load_entry_point

Array = npt.NDArray[Any]
Classes = npt.NDArray[np.int64]
_SCORING_HINT = "it gets the `y` of validation, which is what the model trains on; the test set's may be another"
NO_CLASS = -1
"""The prediction for an output that holds NaN: it is never right and agrees with nothing."""


def top1(outputs: Sequence[Array]) -> Classes | str:
    """The class of each sample, from a model's one output of shape (samples, classes).

    A single column, (samples, 1) or (samples,), is read as the probability of class 1, as a sigmoid gives it, and is
    class 1 above 0.5; outside [0, 1] it is no probability, and there is no class to be had.
    """
    if len(outputs) != 1:
        return f"a model with one output is needed; this one has {len(outputs)}"
    values = outputs[0][:, np.newaxis] if outputs[0].ndim == 1 else outputs[0]
    if values.ndim != 2:
        return f"an output of shape (n, classes) is needed; this one is {values.shape}"
    undefined = np.isnan(values).any(axis=1)
    if values.shape[1] > 1:
        classes = values.argmax(axis=1)
    elif _are_probabilities(values[~undefined]):
        classes = (values[:, 0] > 0.5).astype(np.int64)
    else:
        return "the model's single output leaves [0, 1], so it is no probability of a class"
    return np.where(undefined, NO_CLASS, classes).astype(np.int64)


def _are_probabilities(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def class_count(outputs: Sequence[Array]) -> int:
    """How many classes outputs (samples, classes) tell apart; a single column tells two."""
    return max(2, outputs[0].shape[1] if outputs[0].ndim > 1 else 1)


def correct(predictions: Classes, y: Arrays | None, classes: int) -> npt.NDArray[np.bool_] | str:
    """Whether each sample's class is its label, an integer from 0 to `classes` - 1."""
    if y is None:
        return "the evaluation set has no labels `y`"
    if not isinstance(y, np.ndarray):
        return f"one label a sample is needed; y has {len(y)} arrays"
    if not np.issubdtype(y.dtype, np.integer):
        return f"integer labels are needed for top-1 accuracy; y is {y.dtype}"
    if y.size != len(predictions):
        return f"one label a sample is needed; y has shape {y.shape}"
    labels = y.reshape(-1)
    if labels.min() < 0 or labels.max() >= classes:
        return f"labels from 0 to {classes - 1} are needed; y goes from {labels.min()} to {labels.max()}"
    return np.asarray(predictions == labels)


def accuracy(predictions: Classes, y: Arrays | None, classes: int) -> float | str:
    """The fraction of samples whose class is their label."""
    right = correct(predictions, y, classes)
    return right if isinstance(right, str) else float(right.mean())


def agreement(predictions: Classes, reference: Classes) -> float | str:
    """The fraction of samples that were given the same class by both."""
    if len(predictions) != len(reference):
        return f"the reference ran {len(reference)} samples, this artifact {len(predictions)}"
    return float(np.mean((predictions == reference) & (predictions != NO_CLASS)))


@dataclass(frozen=True)
class UserMetric:
    """A metric of the user's own."""

    name: str
    better: Better
    spec: str
    """`module:function`."""
    function: Callable[..., Any]
    takes_inputs: bool

    def __call__(self, outputs: Sequence[Array], y: Arrays | None, inputs: Arrays) -> float:
        """Score outputs; with several, the function gets a list of them.

        Raises:
            UserCodeError: the function raised, or gave something else than one finite number.
        """
        given = [outputs[0] if len(outputs) == 1 else list(outputs), y, *([inputs] if self.takes_inputs else [])]
        value = self.function(*map(_read_only, given))
        number = _number(value)
        if number is None or not np.isfinite(number):
            shown = repr(value) if number is not None else f"{type(value).__name__} {np.shape(value) or ''}".rstrip()
            raise UserCodeError(f"{self.spec}: expected one finite number; got {shown}")
        return number


def _read_only(arrays: Arrays | None) -> Arrays | None:
    """What the user's function does in place must not reach the next artifact's score."""
    if arrays is None:
        return None
    views = {name: array.view() for name, array in by_name(arrays).items()}
    for view in views.values():
        view.flags.writeable = False
    return from_names(views)


def _number(value: Any) -> float | None:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        return None
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "iuf" else None


def load_metrics(sections: Mapping[str, MetricSection], project_dir: Path) -> tuple[UserMetric, ...]:
    """Import a project's metrics, whose folder must be importable, in the order of the project file.

    Raises:
        UserCodeError: a function is missing, or its module raised.
    """
    metrics = []
    for name, section in sections.items():
        function = load_entry_point(section.function, project_dir)
        metrics.append(UserMetric(name, section.better, section.function, function, _takes_inputs(function)))
    return tuple(metrics)


def _takes_inputs(function: Callable[..., Any]) -> bool:
    """Whether a metric wants the samples too: it names a parameter `inputs`, or cannot be called with two."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions do not tell
        return False
    try:
        signature.bind(None, None)
    except TypeError:
        return True
    return "inputs" in signature.parameters


@dataclass(frozen=True)
class Validation:
    """Validation samples, and their labels."""

    x: Arrays
    y: Arrays
    classes: int | None
    """How many there are; None where the labels are no classes."""

    def __len__(self) -> int:
        return sample_count(self.x)

    def correct(self, outputs: Sequence[Array]) -> npt.NDArray[np.bool_] | None:
        """Whether each sample's class is right; None where there are no classes."""
        predictions = top1(outputs)
        if self.classes is None or isinstance(predictions, str):
            return None
        right = correct(predictions, self.y, max(self.classes, class_count(outputs)))
        return None if isinstance(right, str) else right


def read_validation(files: Mapping[str, Path]) -> Validation:
    """Read what the data stage wrote, `validation.npz` and `data.json`."""
    arrays = read_arrays(files["validation.npz"])
    description = json.loads(files["data.json"].read_text(encoding="utf-8"))
    return Validation(arrays["x"], arrays["y"], description["classes"])


class Scorer:
    """What an artifact is worth on validation samples: top-1 accuracy, or else the project's first metric."""

    def __init__(self, validation: Validation, options: Mapping[str, Any], project_dir: Path) -> None:
        """Take the project's `[metrics]` as JSON values.

        Raises:
            UserCodeError: the first metric's function is missing, or its module raised.
        """
        first = dict(list(options.items())[:1])
        sections = {name: MetricSection.model_validate(section) for name, section in first.items()}
        self._validation = validation
        self._metric = next(iter(load_metrics(sections, project_dir)), None)

    def __call__(self, outputs: Sequence[Array]) -> float | None:
        """Score an artifact's outputs; None where there are neither classes nor metrics.

        Raises:
            UserCodeError: the metric raised, or gave something else than one finite number.
        """
        return self._score(outputs)[0]

    def goodness(self, outputs: Sequence[Array]) -> float | None:
        """The score, with its sign changed where less is better: more is always better.

        Raises:
            UserCodeError: as above.
        """
        score, better = self._score(outputs)
        return -score if score is not None and better == "lower" else score

    def _score(self, outputs: Sequence[Array]) -> tuple[float | None, Better]:
        right = self._validation.correct(outputs)
        if right is not None:
            return float(right.mean()), "higher"
        if self._metric is None:
            return None, "higher"
        try:
            return self._metric(outputs, self._validation.y, self._validation.x), self._metric.better
        except UserCodeError as error:
            raise UserCodeError(f"scoring validation samples: {error.message}", hint=_SCORING_HINT) from error
