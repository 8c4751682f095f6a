"""What is to be measured: the artifacts of a project, or one bare file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecc.artifact import Artifact, Format, Manifest, describe_file
from edgecc.benchmarks.baseline import Baseline
from edgecc.benchmarks.built import read_built
from edgecc.benchmarks.regression import SIDE_BY_SIDE
from edgecc.benchmarks.steps import PlannedStep, layers_of, steps_of
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file
from edgecc.metrics import Better
from edgecc.project import BenchSection, MetricSection, Project, ProjectFolder
from edgecc.results import ArtifactLayers


@dataclass(frozen=True)
class Subject:
    """One artifact to measure."""

    variant: str
    path: Path
    artifact: Artifact
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes for the artifact's inputs, where they are open."""
    only_for_steps: bool = False
    """It is no variant of the project, and only there for a step to be compared with."""


@dataclass(frozen=True)
class PlannedPair:
    """Today's artifact and the baseline's, to be measured side by side on one target."""

    target: str
    baseline: Subject
    candidate: Subject
    limits: Mapping[str, float]
    """By metric: by which part it may be worse; the tightest of the budgets' limits, and all that is decided."""


@dataclass(frozen=True)
class BenchPlan:
    """One bench: which artifacts, how much, and what they are scored on."""

    project: str
    subjects: tuple[Subject, ...]
    bench: BenchSection
    seed: int
    """Of the random inputs that latency is measured on."""
    evaluation: Path | None
    """`.npz` with `x` and, where the samples are labelled, `y`."""
    reference_variant: str | None
    """The variant whose predictions the others are compared with."""
    target_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By target: its keys in the project file, beside `kind`."""
    git_commit: str | None = None
    """The commit that all the artifacts were built from, where they name the same one."""
    metrics: Mapping[str, MetricSection] = field(default_factory=dict)
    """The project's own, by name."""
    project_dir: Path | None = None
    """Where their functions are found."""
    steps: tuple[PlannedStep, ...] = ()
    """The compression steps of what is measured."""
    layers: tuple[ArtifactLayers, ...] = ()
    """The layers of what is quantized."""
    pairs: tuple[PlannedPair, ...] = ()
    """What is measured beside the baseline."""
    baseline_run_id: str | None = None

    @property
    def directions(self) -> dict[str, Better]:
        """Which way each of the project's own metrics is better."""
        return {name: section.better for name, section in self.metrics.items()}


def plan_project(
    folder: ProjectFolder, emitted: Iterable[tuple[str, Format]], baseline: Baseline | None = None
) -> BenchPlan:
    """Plan the bench of what a project has built: these variants in these formats, at least one.

    With a baseline, whatever a `max_regression` on a clock or on memory judges is also measured beside it, but
    for artifacts that are the same bytes.

    Raises:
        ArtifactError: an artifact, its manifest or the evaluation set is missing, is not what it claims to be, or
            does not belong to the others.
    """
    project = folder.project
    built = [_built(folder, variant, format) for variant, format in emitted]
    _check_evaluation(folder.evaluation, built)
    manifests = [manifest for _, manifest in built if manifest.variant in project.variants]
    subjects = tuple(subject for subject, _ in built)
    commits = {manifest.git_commit for _, manifest in built}
    return BenchPlan(
        project=project.name,
        subjects=subjects,
        bench=project.bench,
        seed=project.seed,
        evaluation=folder.evaluation,
        reference_variant=project.reference_variant,
        target_options={name: spec.options for name, spec in project.targets.items()},
        git_commit=commits.pop() if len(commits) == 1 else None,
        metrics=project.metrics,
        project_dir=folder.root,
        steps=steps_of(project, manifests),
        layers=layers_of(manifests),
        pairs=() if baseline is None else tuple(_pairs(project, subjects, baseline)),
        baseline_run_id=None if baseline is None else baseline.results.run_id,
    )


def _pairs(project: Project, subjects: Sequence[Subject], baseline: Baseline) -> Iterator[PlannedPair]:
    for subject in subjects:
        variant, format = subject.variant, subject.artifact.format
        before = baseline.artifact(variant, format)
        if before is None or before.sha256 == subject.artifact.sha256:
            continue
        for target in project.targets:
            if limits := _limits(project, variant, format, target):
                yield PlannedPair(target, Subject(variant, Path(before.path), before), subject, limits)


def _limits(project: Project, variant: str, format: Format, target: str) -> dict[str, float]:
    limits: dict[str, float] = {}
    for budget in project.budgets:
        judged = (budget.variant,) if budget.variant else project.shipped
        is_meant = variant in judged and budget.format in (None, format) and budget.target in (None, target)
        if is_meant and budget.max_regression is not None and budget.metric in SIDE_BY_SIDE:
            limits[budget.metric] = min(budget.limit, limits.get(budget.metric, budget.limit))
    return limits


def _built(folder: ProjectFolder, variant: str, format: Format) -> tuple[Subject, Manifest]:
    manifest = read_built(folder, variant, format)
    only_for_steps = variant not in folder.project.variants
    path = folder.artifact(variant, format)
    return Subject(variant, path, manifest.artifact, only_for_steps=only_for_steps), manifest


def _check_evaluation(path: Path, built: Sequence[tuple[Subject, Manifest]]) -> None:
    """Samples that an artifact was not built beside may be samples that it was trained on."""
    hint = "edgecc compile writes the artifacts and their evaluation set together"
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", hint=hint)
    digest = sha256_of_file(path)
    for subject, manifest in built:
        if manifest.evaluation_sha256 != digest:
            raise ArtifactError(f"{subject.path}: was built beside another evaluation set than {path}", hint=hint)


def plan_file(
    path: Path,
    bench: BenchSection,
    *,
    evaluation: Path | None = None,
    shapes: tuple[tuple[int, ...], ...] = (),
    seed: int = 0,
) -> BenchPlan:
    """Plan the bench of one file, whoever built it.

    Raises:
        ArtifactError: no such file, an empty one, or a format that edgecc does not know.
    """
    path = path.resolve()
    subject = Subject(variant=path.stem, path=path, artifact=describe_file(path), shapes=shapes)
    return BenchPlan(
        project=path.stem,
        subjects=(subject,),
        bench=bench,
        seed=seed,
        evaluation=evaluation,
        reference_variant=None,
    )
