"""Why one artifact is larger or slower than another: reads both, times their operators, and compares them.

It lies above compiler and benchmarks because it needs both: the one reads and cuts files, the other times and compares.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgecc.artifact import Artifact, Format, describe_file, manifest_path, read_manifest
from edgecc.errors import ArtifactError
from edgecc.progress import Progress, Silent
from edgecc.project import ProjectFolder
from edgecc.results import Failure, Results

if TYPE_CHECKING:
    from edgecc.benchmarks.matching import Operator
    from edgecc.benchmarks.why import Measured, Why, WhyReport
    from edgecc.targets.profile import ProcessProfile

MAX_CUT_BYTES = 2e9
"""A TFLite file is not timed where its cuts, each as large as the file, would be larger than this together."""


def explain_files(
    before: Path,
    after: Path,
    *,
    num_threads: int = 1,
    shapes: Sequence[tuple[int, ...]] = (),
    time_s: float = 3.0,
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
    from edgecc.targets.profile import profile_once

    old, new = _read(before.absolute()), _read(after.absolute())
    formats = (old.artifact.format, new.artifact.format)
    if formats[0] != formats[1]:
        raise ArtifactError(f"expected two files of one format; {before} is {formats[0]}, {after} is {formats[1]}")
    if time_s == 0:
        return explain(old, new, "no time was given to measure")
    run = partial(profile_once, num_threads=num_threads, shapes=shapes, time_s=time_s)
    timed = _timed(old.artifact, new.artifact, run, progress or Silent())
    if isinstance(timed, str):
        return explain(old, new, timed)
    return explain(replace(old, profiles=timed[0]), replace(new, profiles=timed[1]), None)


def explain_runs(
    before: Results, after: Results, folder: ProjectFolder | None, *, progress: Progress | None = None
) -> WhyReport:
    """Compare the artifacts of two runs that are still at hand, each pair as `explain_files` does.

    Raises:
        ArtifactError, MissingExtraError, TargetError: as `explain_files`.
    """
    from edgecc.benchmarks.why import WhyReport
    from edgecc.benchmarks.why_files import file_pairs

    found = list(file_pairs(before, after, folder))
    pairs = [explain_files(each.before, each.after, progress=progress) for each in found if not isinstance(each, str)]
    return WhyReport(pairs=tuple(pairs), left_out=tuple(each for each in found if isinstance(each, str)))


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
    old: Artifact, new: Artifact, run: Callable[..., ProcessProfile | Failure], progress: Progress
) -> tuple[tuple[ProcessProfile, ...], tuple[ProcessProfile, ...]] | str:
    """The profiles of either file, whose processes ran in turn, A B B A ...; or why there are none."""
    from edgecc.benchmarks.why import PROCESSES

    profiles: dict[str, list[ProcessProfile]] = {"old": [], "new": []}
    with _cuts(old) as old_cuts, _cuts(new) as new_cuts, progress.task("profile", PROCESSES) as task:
        for cuts in (old_cuts, new_cuts):
            if isinstance(cuts, str):
                return cuts
        both = [("old", old, old_cuts), ("new", new, new_cuts)]
        for turn in range(PROCESSES):
            for name, artifact, cuts in both if turn % 2 == 0 else reversed(both):
                answer = run(artifact, cuts)
                if isinstance(answer, Failure):
                    return f"{artifact.path}: {answer.kind}: {answer.message}"
                profiles[name].append(answer)
            task.advance()
    return tuple(profiles["old"]), tuple(profiles["new"])


@contextmanager
def _cuts(artifact: Artifact) -> Iterator[list[Path] | str]:
    """A TFLite file cut after each operator, in a folder that goes away; nothing of an ONNX file."""
    from edgecc.compiler.backend.prefixes import count_steps, prefixes

    if artifact.format is Format.ONNX:
        yield []
        return
    content = Path(artifact.path).read_bytes()
    count = count_steps(content)
    if count * len(content) > MAX_CUT_BYTES:
        yield f"{artifact.path} is too large to be cut after each of its {count} operators"
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.tflite" for index in range(count)]
        for path, prefix in zip(paths, prefixes(content), strict=True):
            path.write_bytes(prefix)
        yield paths
