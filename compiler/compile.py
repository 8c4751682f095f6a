"""The compiler's one entrance: a project in, verified artifacts with their manifests out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgecc.artifact import ArtifactRunner, Format
from edgecc.compiler.pipeline.pipeline import Pipeline
from edgecc.compiler.plan import make_plan
from edgecc.compiler.publish import Compiled, Publisher
from edgecc.errors import EdgeccError
from edgecc.progress import Progress
from edgecc.project import ProjectFolder


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
        EdgeccError: a stage could not do its work. All that does not need it is done all the same, and what was
            finished stays in the cache; of several errors the first is raised, and the others are noted.
    """
    plan = make_plan(folder, emitted)
    pipeline = Pipeline(project_dir=folder.root, state_dir=folder.state, progress=progress, run_artifact=run_artifact)
    publisher = Publisher(folder, plan, pipeline)
    stages = plan.stages()
    failures: dict[int, EdgeccError] = {}
    with progress.task("compile", total=len(stages)) as task:
        for stage in stages:
            task.describe(stage.name)
            try:
                pipeline.result(stage)
            except EdgeccError as error:
                failures.setdefault(id(error), error)  # the same one from every stage that needs the failed one
            task.advance()
    published = publisher.publish()
    for other in list(failures.values())[1:]:
        progress.note(f"error: {other.message} (stage {other.stage})")
    if failures:
        raise next(iter(failures.values()))
    return Compilation(published, tuple(pipeline.ran))
