"""Why one artifact is larger or slower than another: reads both, times their operators, and compares them.

It lies above compiler and benchmarks because it needs both: the one reads and cuts files, the other times and compares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgecc.artifact import Artifact, Format, describe_file, manifest_path, read_manifest
from edgecc.errors import ArtifactError
from edgecc.progress import Progress, Silent
from edgecc.results import Failure

if TYPE_CHECKING:
    from edgecc.benchmarks.matching import Operator
    from edgecc.benchmarks.why import Measured, Why
    from edgecc.targets.profile import ProcessProfile

MAX_CUTS = 200
"""A TFLite file with more operators is not timed: its cuts would fill memory and take hours."""


def explain_files(
    before: Path,
    after: Path,
    *,
    num_threads: int = 1,
    shapes: Sequence[tuple[int, ...]] = (),
    time_s: float | None = None,
    progress: Progress | None = None,
) -> Why:
    """Compare two model files of one format, operator by operator, on this machine.

    Args:
        before: a `.tflite` or `.onnx` file.
        after: another of the same format.
        num_threads: of the runtime.
        shapes: of the models' inputs, where they are open.
        time_s: how long each of the processes times; bytes alone are compared where it is 0.
        progress: where to report.

    Raises:
        ArtifactError: no such file, not a model, or the formats differ.
        MissingExtraError: the files are ONNX, and onnx is not installed.
        TargetError: a process cannot be started.
    """
    from edgecc.benchmarks.why import explain

    sides = [_read(path.absolute()) for path in (before, after)]
    formats = [side.artifact.format for side in sides]
    if formats[0] != formats[1]:
        raise ArtifactError(f"expected two files of one format; {before} is {formats[0]}, {after} is {formats[1]}")
    timed = _timed(sides, num_threads, shapes, time_s, progress or Silent())
    if isinstance(timed, str):
        return explain(*sides, unmeasured=timed)
    old, new = (replace(side, profiles=tuple(own)) for side, own in zip(sides, timed, strict=True))
    return explain(old, new, unmeasured=None)


def _read(path: Path) -> Measured:
    from edgecc.benchmarks.why import Measured
    from edgecc.compiler.backend.operator_bytes import bytes_of_operators

    artifact = describe_file(path)
    found = bytes_of_operators(path, artifact.format)
    return Measured(artifact, found.operators, found.structure_bytes, _layers(path, found.operators))


def _layers(path: Path, operators: Sequence[Operator]) -> Mapping[int, str]:
    """The Keras layer of each operator, where a manifest lists the layers in the order in which they run."""
    if not manifest_path(path).is_file():
        return {}
    listed = [layer for stage in read_manifest(path).stages for layer in stage.metrics.get("layers", ())]
    kinds = {layer["operator"] for layer in listed}
    positions = [index for index, operator in enumerate(operators) if operator.kind in kinds]
    if [operators[index].kind for index in positions] != [layer["operator"] for layer in listed]:
        return {}  # it tells of some of them only
    return {index: str(layer["layer"]) for index, layer in zip(positions, listed, strict=True)}


def _timed(
    sides: Sequence[Measured],
    num_threads: int,
    shapes: Sequence[tuple[int, ...]],
    time_s: float | None,
    progress: Progress,
) -> list[list[ProcessProfile]] | str:
    """The profiles of each side, whose processes ran in turn; or why there are none."""
    from edgecc.benchmarks.why import PROCESSES
    from edgecc.targets.profile import TIME_S, profile_once

    if time_s == 0:
        return "no time was given to measure"
    profiles: list[list[ProcessProfile]] = [[], []]
    with _cuts(sides[0].artifact) as old, _cuts(sides[1].artifact) as new, progress.task("profile", PROCESSES) as task:
        if isinstance(old, str) or isinstance(new, str):
            return old if isinstance(old, str) else str(new)
        for turn in range(PROCESSES):
            for number in (0, 1) if turn % 2 == 0 else (1, 0):
                options = {"num_threads": num_threads, "shapes": shapes, "time_s": TIME_S if time_s is None else time_s}
                answer = profile_once(sides[number].artifact, (old, new)[number], **options)
                if isinstance(answer, Failure):
                    return f"{sides[number].artifact.path}: {answer.kind}: {answer.message}"
                profiles[number].append(answer)
            task.advance()
    return profiles


@contextmanager
def _cuts(artifact: Artifact) -> Iterator[list[Path] | str]:
    """A TFLite file cut after each operator, in a folder that goes away; nothing of an ONNX file."""
    from edgecc.compiler.backend.prefixes import count_steps, prefixes

    if artifact.format is Format.ONNX:
        yield []
        return
    content = Path(artifact.path).read_bytes()
    if (count := count_steps(content)) > MAX_CUTS:
        yield f"{artifact.path} has {count} operators, and at most {MAX_CUTS} are timed"
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.tflite" for index in range(count)]
        for path, prefix in zip(paths, prefixes(content), strict=True):
            path.write_bytes(prefix)
        yield paths
