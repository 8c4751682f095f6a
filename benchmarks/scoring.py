"""What artifacts are scored on, and the project's own metrics, on the host."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgecc.errors import DataError, UserCodeError
from edgecc.files import sha256_of_file
from edgecc.project import MetricSection
from edgecc.project_code import importable
from edgecc.samples import Arrays, by_name, read_arrays
from edgecc.scoring import UserMetric, load_metrics

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EvaluationSet:
    """Samples to run, and their labels where there are any: each one array (n, ...), or several (edgecc.samples)."""

    x: Arrays
    y: Arrays | None
    sha256: str
    is_classification: bool = True
    """False where the data stage found that the labels are not classes."""


def load_evaluation(path: Path) -> EvaluationSet:
    """Read an evaluation set: `.npz` with `x` and, where the samples are labelled, `y`; `x.NAME` of several inputs.

    Raises:
        DataError: the file cannot be read, has no `x`, or its arrays differ in length.
    """
    try:
        groups = read_arrays(path)
        digest = sha256_of_file(path)
        parts = {group: by_name(groups[group]) for group in ("x", "y") if group in groups or group == "x"}
    except Exception as error:  # a foreign file leads numpy and zipfile to whatever they raise
        raise DataError(f"{path}: expected an .npz file with `x` and `y`; {error}") from error
    shapes = {f"{group}.{name}".rstrip("."): a.shape for group, named in parts.items() for name, a in named.items()}
    if len({shape[:1] for shape in shapes.values()}) > 1 or any(shape[:1] in ((), (0,)) for shape in shapes.values()):
        given = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(f"{path}: expected one label a sample and at least one sample; got {given}")
    return EvaluationSet(groups["x"], groups.get("y"), digest, is_classification="task" not in groups)


@contextlib.contextmanager
def own_metrics(metrics: Mapping[str, MetricSection], project_dir: Path | None) -> Iterator[tuple[UserMetric, ...]]:
    """A project's own metrics, to be called inside. What they print goes to stderr: stdout is for data.

    Raises:
        UserCodeError: a function is missing, or its module raised.
    """
    if not metrics or project_dir is None:
        yield ()
        return
    with importable(project_dir), contextlib.redirect_stdout(sys.stderr):
        yield load_metrics(metrics, project_dir)


def own_score(metric: UserMetric, outputs: Sequence[Array], evaluation: EvaluationSet) -> float | str:
    """A project's own metric on an artifact's real outputs, or why it has no value."""
    try:
        return metric(outputs, evaluation.y, evaluation.x)
    except UserCodeError as error:
        return error.message
