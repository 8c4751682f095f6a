"""The baseline: a release that passed, committed with its artifacts, which later ones are judged against.

A folder is believed only as a whole: every file has the digest that `baseline.json` gives it, and all speak of one run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from edgecc.artifact import Artifact, Format, Record, first_problem, manifest_path, read_manifest
from edgecc.benchmarks.results_store import load
from edgecc.errors import ArtifactError
from edgecc.files import is_file, sha256_of_file
from edgecc.project import ProjectFolder
from edgecc.results import Judgement, Results, Row, Status

BASELINE_VERSION = 1
RECORD, RESULTS, VERDICT = "baseline.json", "results.json", "verdict.json"
_RESTORE = "restore the folder from version control, or remove it, and edgecc baseline set writes it anew"
_MANIFEST_SUFFIX = manifest_path(Path("x")).name.removeprefix("x")

_NAME = "[A-Za-z0-9][A-Za-z0-9._-]*"
InnerPath = Annotated[str, StringConstraints(pattern=f"^{_NAME}(/{_NAME})*$")]
"""A path that stays inside the folder it is relative to."""
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
RecordT = TypeVar("RecordT", bound=Record)


class BaselineRecord(Record):
    """What `baseline.json` says."""

    schema_version: Literal[1] = 1
    project: str
    run_id: str
    git_commit: str | None
    """The commit that its artifacts were built from."""
    edgecc_version: str
    created_at: str
    """UTC time at which the run became the baseline."""
    sha256: Annotated[Mapping[InnerPath, Sha256], Field(min_length=2)]
    """Digests of results, verdict, artifacts and manifests, by path relative to the folder."""


@dataclass(frozen=True)
class Baseline:
    """A baseline that was read and found sound."""

    record: BaselineRecord
    results: Results
    """Of the variants that ship, and those that budgets compare them with."""
    judgement: Judgement
    folder: Path

    def artifact(self, variant: str, format: Format) -> Artifact | None:
        """The baseline's artifact, its path absolute; None where it has none."""
        name = artifact_name(self.record.project, variant, format)
        if name not in self.record.sha256:
            return None
        row = rows_of(self.results, variant, format)[0]
        return row.artifact.model_copy(update={"path": str((self.folder / name).absolute())})


def artifact_name(project: str, variant: str, format: Format) -> str:
    """An artifact's path in the folder of a baseline."""
    return f"{variant}/{project}.{format}"


def rows_of(results: Results, variant: str, format: Format) -> list[Row]:
    """One artifact on every target."""
    return [row for row in results.variant_rows if (row.variant, row.format) == (variant, format)]


def read_baseline(folder: ProjectFolder) -> Baseline | None:
    """Read a project's baseline and check every file of it; None where there is no such folder.

    Raises:
        ArtifactError: a file is missing, damaged, of another version of edgecc, project or run, or not in the folder
            itself; or the run had not passed.
    """
    places = (folder.baseline, aside(folder.baseline))
    found = next((place for place in places if os.path.lexists(place)), None)
    return None if found is None else read_folder(found, folder.project.name)


def aside(place: Path) -> Path:
    """Where a baseline lies for the moment in which another takes its place, and stays if that moment is the last."""
    return place.with_name(f".{place.name}.replaced")


def read_folder(root: Path, project: str) -> Baseline:
    """Read and check a baseline wherever it lies.

    Raises:
        ArtifactError: as for `read_baseline`.
    """
    try:
        record = _parse(_own_file(root, RECORD), BaselineRecord)
        if record.project != project:
            raise ArtifactError(f"{root / RECORD}: expected the project {project}; got {record.project}")
        for name, digest in record.sha256.items():
            if sha256_of_file(_own_file(root, name)) != digest:
                raise ArtifactError(f"{root / name}: its sha256 is not the one in {RECORD}: the file was changed")
        return _checked(root, record)
    except ArtifactError as error:
        raise ArtifactError(error.message, hint=_RESTORE) from error
    except OSError as error:
        raise ArtifactError(f"{error.filename or root}: cannot be read: {error.strerror}", hint=_RESTORE) from error


def _own_file(root: Path, name: str) -> Path:
    path = root / name
    for part in (*(root / parent for parent in reversed(Path(name).parents)), path):
        if part.is_symlink():
            raise ArtifactError(f"{part}: expected what belongs to the baseline; got a symbolic link")
    if not is_file(path):
        raise ArtifactError(f"{path}: no such file")
    return path


def _parse(path: Path, kind: type[RecordT]) -> RecordT:
    content = path.read_bytes()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: expected JSON; {error}") from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != BASELINE_VERSION:
        raise ArtifactError(f"{path}: expected schema_version {BASELINE_VERSION}; got {version!r}")
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactError(f"{path}: expected a {kind.__name__}; {first_problem(error)}") from error


def _checked(root: Path, record: BaselineRecord) -> Baseline:
    """The baseline, once it is sure that its files speak of one run that passed."""
    for name in (RESULTS, VERDICT):
        if name not in record.sha256:
            raise ArtifactError(f"{root / RECORD}: expected the digest of {name}; got none")
    results, judgement = load(root / RESULTS), _parse(root / VERDICT, Judgement)
    for name, other in ((RESULTS, results), (VERDICT, judgement)):
        expected, found = (record.project, record.run_id), (other.project, other.run_id)
        if found != expected:
            message = f"expected the project and run of {RECORD}, {' '.join(expected)}; got {' '.join(found)}"
            raise ArtifactError(f"{root / name}: {message}")
    if results.git_commit != record.git_commit:
        raise ArtifactError(f"{root / RECORD}: expected the commit of {RESULTS}, {results.git_commit}")
    _check_passed(root, results, judgement)
    _check_artifacts(root, record, results)
    return Baseline(record, results, judgement, root)


def _check_passed(root: Path, results: Results, judgement: Judgement) -> None:
    if judgement.verdicts and judgement.status is not Status.PASS:
        raise ArtifactError(f"{root / VERDICT}: expected the verdict of a run that passed; got {judgement.status}")
    for failure in failures(results):
        raise ArtifactError(f"{root / RESULTS}: expected no failure; {failure}")
    for name, record in ((RESULTS, results), (VERDICT, judgement)):
        for found in not_finite(record.model_dump(), name.removesuffix(".json")):
            raise ArtifactError(f"{root / name}: expected finite numbers; {found}")


def _check_artifacts(root: Path, record: BaselineRecord, results: Results) -> None:
    """Each has its manifest, and is the one that the results speak of."""
    names = set(record.sha256) - {RESULTS, VERDICT}
    artifacts = {name for name in names if not name.endswith(_MANIFEST_SUFFIX)}
    if alone := names ^ (artifacts | {name + _MANIFEST_SUFFIX for name in artifacts}):
        raise ArtifactError(f"{root / RECORD}: expected every artifact with its manifest; got no pair at {min(alone)}")
    for name in sorted(artifacts):
        manifest = read_manifest(root / name)
        variant, format = manifest.variant, manifest.artifact.format
        if (manifest.project, artifact_name(record.project, variant, format)) != (record.project, name):
            said = f"{manifest.project}, {variant}, {format}"
            raise ArtifactError(f"{root / name}: expected the artifact of its place; its manifest says {said}")
        if {row.artifact.sha256 for row in rows_of(results, variant, format)} != {manifest.artifact.sha256}:
            raise ArtifactError(f"{root / name}: expected the artifact that {RESULTS} speaks of; got another one")


def failures(results: Results) -> Iterator[str]:
    """What gave no numbers, and why."""
    for row in results.rows:
        if (failure := row.failure) is not None:
            cause = failure.kind.replace("_", " ")
            yield f"{row.variant} ({row.format}) on {row.target}: {cause}: {failure.message}"


def not_finite(value: Any, where: str) -> Iterator[str]:
    """Every number in nested mappings and tuples that is none, with the way to it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{where} is {value}"
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, tuple) else ()
    for key, child in children:
        yield from not_finite(child, f"{where}.{key}")
