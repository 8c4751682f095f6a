"""The compiler's one entrance: a project in, verified artifacts with their manifests out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import (
    Artifact,
    ArtifactRunner,
    Format,
    Manifest,
    TensorSpec,
    manifest_path,
    write_manifest,
)
from edgecc.compiler.pipeline.cache import Finished
from edgecc.compiler.pipeline.pipeline import Pipeline
from edgecc.compiler.pipeline.stage import Stage
from edgecc.compiler.plan import Emission, Plan, make_plan
from edgecc.files import sha256_of_file, writing_to
from edgecc.progress import Progress
from edgecc.project import ProjectFolder


@dataclass(frozen=True)
class Compiled:
    """One artifact in the project's build folder."""

    variant: str
    format: Format
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Compilation:
    """What a compile left in the build folder."""

    artifacts: tuple[Compiled, ...]
    ran: tuple[str, ...]
    """Stages that really ran; the others came from the cache."""


def compile_project(
    folder: ProjectFolder,
    emitted: Sequence[tuple[str, Format]],
    *,
    progress: Progress,
    run_artifact: ArtifactRunner,
) -> Compilation:
    """Bring the artifacts of these (variant, format) pairs up to date.

    An artifact reaches the build folder only after it was compared with its Keras model.

    Raises:
        EdgeccError: a stage could not do its work. What was finished stays in the cache.
    """
    plan = make_plan(folder, emitted)
    pipeline = Pipeline(project_dir=folder.root, state_dir=folder.state, progress=progress, run_artifact=run_artifact)
    stages = plan.stages()
    with progress.task("compile", total=len(stages)) as task:
        for stage in stages:
            task.describe(stage.name)
            pipeline.result(stage)
            task.advance()
    _publish_shared(folder, plan, pipeline)
    commit = git_commit(folder.root)
    artifacts = tuple(_publish(folder, emission, pipeline, commit) for emission in plan.emissions)
    return Compilation(artifacts, tuple(pipeline.ran))


def _publish_shared(folder: ProjectFolder, plan: Plan, pipeline: Pipeline) -> None:
    _copy(pipeline.result(plan.data).files / "evaluation.npz", folder.evaluation)
    if plan.tune is not None:
        _copy(pipeline.result(plan.tune).files / "trials.json", folder.trials)
    else:
        folder.trials.unlink(missing_ok=True)


def _publish(folder: ProjectFolder, emission: Emission, pipeline: Pipeline, commit: str | None) -> Compiled:
    path = folder.artifact(emission.variant, emission.format)
    chain = [pipeline.result(stage) for stage in _chain(emission.verify)]
    emitted, verified = pipeline.result(emission.emit), pipeline.result(emission.verify)
    artifact = Artifact(
        path=path.name,
        format=emission.format,
        sha256=emitted.record.outputs["artifact"],
        size_bytes=(emitted.files / "artifact").stat().st_size,
    )
    manifest = _manifest(folder, emission, artifact, chain, verified, commit)
    if _is_current(path, artifact.sha256):
        write_manifest(path, manifest)
    else:
        manifest_path(path).unlink(missing_ok=True)  # never the old manifest beside the new artifact
        _copy(emitted.files / "artifact", path)
        write_manifest(path, manifest)
    return Compiled(emission.variant, emission.format, path, manifest)


def _manifest(
    folder: ProjectFolder,
    emission: Emission,
    artifact: Artifact,
    chain: Sequence[Finished],
    verified: Finished,
    commit: str | None,
) -> Manifest:
    return Manifest(
        project=folder.project.name,
        variant=emission.variant,
        artifact=artifact,
        inputs=tuple(TensorSpec.model_validate(spec) for spec in verified.record.metrics["inputs"]),
        outputs=tuple(TensorSpec.model_validate(spec) for spec in verified.record.metrics["outputs"]),
        stages=tuple(finished.record for finished in chain),
        evaluation_sha256=sha256_of_file(folder.evaluation),
        seed=folder.project.seed,
        tool_versions={name: v for finished in chain for name, v in finished.entry.tool_versions.items()},
        git_commit=commit,
    )


def _chain(stage: Stage) -> list[Stage]:
    """The stage with everything before it, each once, in order."""
    ordered: dict[str, Stage] = {}
    for predecessor in stage.inputs.values():
        ordered.update({earlier.name: earlier for earlier in _chain(predecessor)})
    ordered[stage.name] = stage
    return list(ordered.values())


def _is_current(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256


def _copy(source: Path, destination: Path) -> None:
    """Copy aside and rename in. The copy is what is published, so that nothing done to it harms the cache."""
    if _is_current(destination, sha256_of_file(source)):
        return
    with writing_to(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=destination.parent, prefix=f".{destination.name}.", delete=False) as file:
            temporary = Path(file.name)
        try:
            shutil.copyfile(source, temporary)
            temporary.chmod(0o644)
            temporary.replace(destination)
        finally:
            temporary.unlink(missing_ok=True)


def git_commit(folder: Path) -> str | None:
    """The commit checked out around a folder, with `-dirty` where tracked files differ; None without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
