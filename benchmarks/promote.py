"""Makes a run that passed the baseline: what ships and how it measured, as one folder to commit."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from edgecc.artifact import Format, Record, manifest_path
from edgecc.benchmarks.baseline import (
    RECORD,
    RESULTS,
    VERDICT,
    Baseline,
    BaselineRecord,
    artifact_name,
    aside,
    failures,
    not_finite,
    read_folder,
    rows_of,
)
from edgecc.benchmarks.built import read_built
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file, write_atomically, writing_to
from edgecc.project import Project, ProjectFolder
from edgecc.results import Judgement, Results, Status

_PASS_FIRST = "edgecc run measures and judges anew; where a regression is meant, remove the folder baseline/ first"
_GIT_ATTRIBUTES = "* -text\n"
"""Git changes no line ends here: the digests are of bytes."""


def promote(folder: ProjectFolder, results: Results, judgement: Judgement) -> Baseline:
    """Make a passed run the project's baseline: a kill leaves the old one whole, or the new one.

    Raises:
        ArtifactError: the run did not pass, was narrowed, holds a failure or what is no number, or the artifacts in
            `build/` are not those that were measured; names all that was found.
        OutputError: the project's folder cannot be written to.
    """
    objections = list(_objections(folder.project, results, judgement))
    if objections:
        listed = "\n".join(f"  {objection}" for objection in objections)
        message = f"the run {results.run_id} cannot become the baseline:\n{listed}"
        raise ArtifactError(message, hint=_PASS_FIRST)
    kept = _kept(folder.project, results)
    contents = _artifacts(folder, kept) | {RESULTS: _json(kept), VERDICT: _json(judgement)}
    new = folder.baseline.with_name(f".{folder.baseline.name}.new")
    with writing_to(folder.root):
        _remove(new)
        try:
            _fill(new, kept, contents)
            read_folder(new, folder.project.name)
            _swap_in(new, folder.baseline)
        finally:
            _remove(new)
    return read_folder(folder.baseline, folder.project.name)


def _objections(project: Project, results: Results, judgement: Judgement) -> Iterator[str]:
    if not project.targets:
        yield "the project has no targets, so nothing was measured"
    for variant, format in _held(project):
        for target in project.targets:
            rows = [row for row in rows_of(results, variant, format) if row.target == target]
            if len(rows) != 1:
                seen = f"the results hold it {len(rows)} times" if rows else "it was not measured"
                yield f"{variant} ({format}) on {target}: {seen}"
    yield from failures(results)
    yield from not_finite(_kept(project, results).model_dump(), "results")
    # Without any verdict there was no budget to judge.
    if judgement.verdicts and judgement.status is not Status.PASS:
        yield from (
            verdict.reason
            for verdict in judgement.verdicts
            if verdict.severity == "error" and verdict.status is not Status.PASS
        )


def _held(project: Project) -> list[tuple[str, Format]]:
    """What ships, and what a regression is judged of though it does not ship."""
    named = [budget.variant for budget in project.budgets if budget.max_regression is not None and budget.variant]
    return [
        (variant, format)
        for variant in dict.fromkeys([*project.shipped, *named])
        for format in project.formats_of(variant)
    ]


def _kept(project: Project, results: Results) -> Results:
    """Without what no later run is compared with."""
    compared = {budget.reference for budget in project.budgets if budget.max_drop is not None}
    held = {variant for variant, _ in _held(project)} | compared
    rows = tuple(row for row in results.variant_rows if row.variant in held)
    return results.model_copy(update={"rows": rows, "steps": (), "layers": (), "paired": ()})


def _artifacts(folder: ProjectFolder, results: Results) -> dict[str, bytes]:
    """What ships, as it was measured, by path in the baseline."""
    contents = {}
    for variant, format in _held(folder.project):
        path = folder.artifact(variant, format)
        now = read_built(folder, variant, format).artifact.sha256
        for row in rows_of(results, variant, format):
            if row.artifact.sha256 != now:
                message = f"{path}: its sha256 is not the one that was measured on {row.target}"
                raise ArtifactError(message, hint="edgecc bench measures what is built now")
        name = artifact_name(folder.project.name, variant, format)
        contents[name] = path.read_bytes()
        contents[manifest_path(Path(name)).as_posix()] = manifest_path(path).read_bytes()
    return contents


def _json(record: Record) -> bytes:
    return (record.model_dump_json(indent=1) + "\n").encode()


def _fill(new: Path, results: Results, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        write_atomically(new / name, content)
    record = BaselineRecord(
        project=results.project,
        run_id=results.run_id,
        git_commit=results.git_commit,
        edgecc_version=importlib.metadata.version("edgecc"),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sha256={name: sha256_of_file(new / name) for name in sorted(contents)},
    )
    write_atomically(new / RECORD, _json(record))
    write_atomically(new / ".gitattributes", _GIT_ATTRIBUTES)


def _swap_in(new: Path, place: Path) -> None:
    """No folder takes another's place in one step: between the two, the old one is found under its other name."""
    old = aside(place)
    if os.path.lexists(place):
        _remove(old)
        place.rename(old)
    new.rename(place)
    _remove(old)


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
