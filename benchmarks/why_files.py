"""The artifacts that two runs measured, where they are still at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecc.benchmarks.baseline import artifact_name
from edgecc.errors import ArtifactError
from edgecc.files import is_file, sha256_of_file
from edgecc.project import ProjectFolder
from edgecc.results import Results, Row


@dataclass(frozen=True)
class FilePair:
    """The files of one variant in one format in two runs."""

    before: Path
    after: Path


def file_pairs(before: Results, after: Results, folder: ProjectFolder | None) -> Iterator[FilePair | str]:
    """The two files of every artifact that both runs measured, or why there is nothing to compare.

    A file is at hand where it has the sha256 that was measured: in `build/`, in `baseline/`, or where the run says.
    """
    old, new = _by_artifact(before), _by_artifact(after)
    for key in [key for key in old if key in new]:
        name = f"{key[0]} ({key[1]})"
        if old[key].artifact.sha256 == new[key].artifact.sha256:
            yield f"{name} is the same file in both runs"
            continue
        try:
            yield FilePair(_find(before, old[key], folder), _find(after, new[key], folder))
        except ArtifactError as error:
            yield f"{name}: {error.message}"


def _by_artifact(results: Results) -> dict[tuple[str, str], Row]:
    """One row of each artifact: it is the same file on every target."""
    return {(row.variant, row.format): row for row in results.variant_rows}


def _find(results: Results, row: Row, folder: ProjectFolder | None) -> Path:
    places = [Path(row.artifact.path)]
    if folder is not None:
        name = artifact_name(folder.project.name, row.variant, row.format)
        places = [folder.artifact(row.variant, row.format), folder.baseline / name, *places]
    found = next((place for place in places if is_file(place) and sha256_of_file(place) == row.artifact.sha256), None)
    if found is None:
        listed = " or ".join(map(str, places))
        raise ArtifactError(f"the file that run {results.run_id} measured is gone: it is not {listed}")
    return found
