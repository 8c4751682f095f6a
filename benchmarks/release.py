"""A release: what passed the gate, with everything that a user of the models needs, in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from edgecc.artifact import Format, Manifest, first_problem, manifest_path
from edgecc.benchmarks.built import read_built
from edgecc.benchmarks.release_folder import ReleasedArtifact, ReleaseRecord, check_place, seal, to_json, write_release
from edgecc.benchmarks.report import render_reports
from edgecc.benchmarks.report.release_notes import render_notes
from edgecc.benchmarks.report.summary import headline
from edgecc.errors import ArtifactError
from edgecc.project import Project, ProjectFolder
from edgecc.results import Judgement, Results, Status

_REPORTS = ("index.html", "summary.md", "verdict.json")


@dataclass(frozen=True)
class Release:
    """What came of it: a folder with files, or the reasons why nothing was packed."""

    judgement: Judgement
    files: tuple[Path, ...] = ()
    refused: tuple[str, ...] = ()
    """Each a sentence that stands alone; empty where the release was packed."""


def pack(folder: ProjectFolder, results: Results, judgement: Judgement, output: Path) -> Release:
    """Pack every variant that ships, in all its formats, if every one of them passed; nothing otherwise.

    Args:
        folder: the project.
        results: what was judged.
        judgement: of these results, made just now.
        output: the release's folder. An older release there is replaced.

    Raises:
        ArtifactError: an artifact changed since it was judged.
        OutputError: `output` holds something else than a release, or cannot be written to.
    """
    if reasons := refusals(folder.project, judgement):
        return Release(judgement, refused=reasons)
    check_place(output)
    contents = _contents(folder, results, judgement)
    write_release(contents, output)
    return Release(judgement, files=tuple(output / name for name in contents))


def refusals(project: Project, judgement: Judgement) -> tuple[str, ...]:
    """Why this is no release: verdicts that count and did not pass; artifacts that no budget that counts has judged."""
    counting = [verdict for verdict in judgement.verdicts if verdict.severity == "error"]
    failing = tuple(f"{verdict.status}: {verdict.reason}" for verdict in counting if verdict.status is not Status.PASS)
    if failing or judgement.status is not Status.PASS:
        return failing or (headline(judgement),)
    judged = {(verdict.variant, verdict.format) for verdict in counting}
    return tuple(
        f"{variant} ({format}) ships, and no budget judges it."
        for variant, format in _shipped(project)
        if (variant, format) not in judged
    )


def _shipped(project: Project) -> list[tuple[str, Format]]:
    return [(variant, format) for variant in project.shipped for format in project.formats_of(variant)]


def _contents(folder: ProjectFolder, results: Results, judgement: Judgement) -> dict[str, bytes]:
    """Every file of the release by its name."""
    contents: dict[str, bytes] = {}
    manifests: dict[str, Manifest] = {}
    for variant, format in _shipped(folder.project):
        path = folder.artifact(variant, format)
        name = f"models/{variant}/{path.name}"
        manifests[name], contents[name] = _read_judged(folder, variant, format, results)
        contents[f"models/{variant}/{manifest_path(path).name}"] = to_json(manifests[name])
    reports = render_reports(results, judgement, folder.trials if folder.trials.is_file() else None)
    contents |= {name: reports[name].encode() for name in _REPORTS}
    contents["results.json"] = to_json(results)
    contents["NOTES.md"] = render_notes(results, judgement, manifests).encode()
    return seal(contents, _record(results, manifests))


def _read_judged(folder: ProjectFolder, variant: str, format: Format, results: Results) -> tuple[Manifest, bytes]:
    """An artifact's manifest and bytes, if they are still what was judged."""
    manifest = read_built(folder, variant, format)
    path = folder.artifact(variant, format)
    content = path.read_bytes()
    measured = {row.artifact.sha256 for row in results.rows if (row.variant, row.format) == (variant, format)}
    if measured != {manifest.artifact.sha256} or hashlib.sha256(content).hexdigest() != manifest.artifact.sha256:
        raise ArtifactError(
            f"{path}: expected the artifact that was judged; it was changed", hint="edgecc run builds and judges anew"
        )
    return manifest, content


def _record(results: Results, manifests: Mapping[str, Manifest]) -> ReleaseRecord:
    artifacts = tuple(
        ReleasedArtifact(
            variant=manifest.variant,
            artifact=manifest.artifact.model_copy(update={"path": name}),
            git_commit=manifest.git_commit,
        )
        for name, manifest in manifests.items()
    )
    try:
        return ReleaseRecord(
            project=results.project,
            run_id=results.run_id,
            edgecc_version=results.edgecc_version,
            artifacts=artifacts,
        )
    except ValidationError as error:
        message = f"expected results that can name a release; {first_problem(error)}"
        raise ArtifactError(message, hint="edgecc bench measures anew") from error
