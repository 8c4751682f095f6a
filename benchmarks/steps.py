"""The compression steps behind artifacts, as their manifests record them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from edgecc.artifact import Format, Manifest, StepRecord
from edgecc.project import Project
from edgecc.results import ArtifactLayers, LayerError


@dataclass(frozen=True)
class PlannedStep:
    """One compression step: what it makes, in which format, and what it did on validation samples."""

    variant: str
    """A variant of the project, or `VARIANT@STEP`."""
    format: Format
    record: StepRecord
    without: str | None
    """The variant of the project that goes without this step, where there is one."""


def steps_of(project: Project, manifests: Iterable[Manifest]) -> tuple[PlannedStep, ...]:
    """Every step on the way to these artifacts, each once, in their order."""
    found: dict[tuple[str, str, Format], PlannedStep] = {}
    for step in (step for manifest in manifests for step in _steps(project, manifest)):
        known = found.setdefault((step.record.before_variant, step.variant, step.format), step)
        if known.without is None:  # another variant that takes this step may have a twin without it
            found[step.record.before_variant, step.variant, step.format] = step
    return tuple(found.values())


def _steps(project: Project, manifest: Manifest) -> Iterator[PlannedStep]:
    records, format = manifest.steps, manifest.artifact.format
    made = [*(record.before_variant for record in records), manifest.variant][1:]
    for record, variant in zip(records, made, strict=True):
        yield PlannedStep(variant, format, record, _without(project, manifest.variant, record, format))


def _without(project: Project, variant: str, record: StepRecord, format: Format) -> str | None:
    """The variant that differs from this one by this step alone, or else the one that the step begins with."""
    wanted = {**project.variants[variant].recipe(), record.kind: None}
    twins = [
        name for name, section in project.variants.items()
        if section.recipe() == wanted and format in project.formats_of(name)
    ]  # fmt: skip
    before = record.before_variant if record.before_variant in project.variants else None
    return next(iter(twins), before)


def layers_of(manifests: Iterable[Manifest]) -> tuple[ArtifactLayers, ...]:
    """Each layer's error of the artifacts that were quantized."""
    return tuple(
        ArtifactLayers(
            variant=manifest.variant,
            format=manifest.artifact.format,
            layers=tuple(LayerError.model_validate(layer) for layer in stage.metrics["layers"]),
        )
        for manifest in manifests
        for stage in manifest.stages
        if stage.name.startswith("quantize/") and stage.metrics.get("layers")
    )
