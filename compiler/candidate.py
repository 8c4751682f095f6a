"""One artifact on trial: made as a compile makes it, from the same cache, and left there rather than published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Artifact, ArtifactRunner, Figures, Format
from edgecc.compiler.backend.artifact_graph import read_graph
from edgecc.compiler.pipeline.pipeline import Pipeline
from edgecc.compiler.pipeline.stage import Stage
from edgecc.compiler.plan import Emission, make_plan
from edgecc.files import sha256_of_file
from edgecc.metrics import user_metric
from edgecc.progress import Progress
from edgecc.project import ProjectFolder

_OWN_TRAINING = ("distill", "prune_magnitude", "prune_channel")
"""Kinds of stages that train one variant; what comes before them is the same for all."""


@dataclass(frozen=True)
class Candidate:
    """An artifact that may become a variant's."""

    path: Path
    """In the stage cache: to be read, and gone with it."""
    artifact: Artifact
    operators: int
    parameters: int | None
    """Of the Keras model, where the stage that made it tells."""
    trainings_s: Mapping[str, float]
    """How long each stage took that trained it, by the sha256 of the model that came out."""
    figures: Figures | None
    """On validation samples; None where it was not asked for."""
    score_metric: str | None
    """What the figures' score is: `accuracy`, or `user.NAME`; None where there is nothing to score by."""


def make_candidate(
    folder: ProjectFolder,
    variant: str,
    format: Format,
    *,
    evaluate: bool,
    progress: Progress,
    run_artifact: ArtifactRunner,
) -> Candidate:
    """Make one artifact, verify it and, with `evaluate`, score it on the validation samples.

    Raises:
        EdgeccError: a stage could not do its work; what was finished stays in the cache.
    """
    plan = make_plan(folder, [(variant, format)])
    pipeline = Pipeline(project_dir=folder.root, state_dir=folder.state, progress=progress, run_artifact=run_artifact)
    emission = next(each for each in plan.emissions if (each.variant, each.format) == (variant, format))
    emitted = pipeline.result(emission.artifact)
    pipeline.result(emission.verify)
    path = emitted.files / "artifact"
    figures = pipeline.result(emission.evaluate).record.metrics if evaluate else None
    return Candidate(
        path=path,
        artifact=Artifact(path=str(path), format=format, sha256=sha256_of_file(path), size_bytes=path.stat().st_size),
        operators=len(read_graph(path, format).operators),
        parameters=_parameters(pipeline, emission),
        trainings_s=_trainings(pipeline, emission.artifact),
        figures=None if figures is None else Figures.model_validate(figures),
        score_metric=_score_metric(folder, pipeline, plan.data),
    )


def _parameters(pipeline: Pipeline, emission: Emission) -> int | None:
    counts = [pipeline.result(stage).record.metrics.get("parameters") for stage in _before(emission.artifact)]
    return next((int(count) for count in counts if count is not None), None)


def _trainings(pipeline: Pipeline, artifact: Stage) -> dict[str, float]:
    finished = [pipeline.result(stage) for stage in _before(artifact) if stage.kind.name in _OWN_TRAINING]
    return {each.record.outputs["model.keras"]: each.record.duration_s for each in finished}


def _before(stage: Stage) -> list[Stage]:
    """What leads to the artifact, the last first: of several inputs, the one that becomes it."""
    line = [stage]
    while following := [each for role, each in line[-1].inputs.items() if role in ("artifact", "model")]:
        line += following
    return line


def _score_metric(folder: ProjectFolder, pipeline: Pipeline, data: Stage) -> str | None:
    description = json.loads((pipeline.result(data).files / "data.json").read_text(encoding="utf-8"))
    if description["classes"] is not None:
        return "accuracy"
    return next(map(user_metric, folder.project.metrics), None)
