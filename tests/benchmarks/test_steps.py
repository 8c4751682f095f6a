"""The steps and layers that manifests record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgecc.artifact import Artifact, Format, Manifest, StageRecord, StepRecord
from edgecc.benchmarks.steps import layers_of, steps_of
from edgecc.project import Project

STUDENT = {"student": "models:student"}
PRUNE = {"method": "channel", "sparsity": 0.5}
VARIANTS = {
    "float32": {},
    "int8": {"quantize": "int8"},
    "distilled-int8": {"distill": STUDENT, "quantize": "int8"},
    "small-int8": {"distill": STUDENT, "prune": PRUNE, "quantize": "int8"},
}


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project(variants=VARIANTS)


def manifest(variant: str, steps: tuple[StepRecord, ...], stages: tuple[StageRecord, ...] = ()) -> Manifest:
    artifact = Artifact(path="demo.tflite", format=Format.TFLITE, sha256="a" * 64, size_bytes=1)
    return Manifest(
        project="demo", variant=variant, artifact=artifact, inputs=(), outputs=(), recipe={}, stages=stages,
        steps=steps, evaluation_sha256="e" * 64, seed=0, tool_versions={}, git_commit=None,
    )  # fmt: skip


@pytest.fixture
def manifests(project: Project, make_record: Callable[..., StepRecord]) -> list[Manifest]:
    """As the compiler writes them: the records of `Project.steps_of`."""
    return [
        manifest(
            variant,
            tuple(make_record(step.kind, step.before) for step in project.steps_of(variant, Format.TFLITE)),
        )
        for variant in project.variants
    ]


def test_each_step_is_told_once_with_the_variant_without_it(project: Project, manifests: list[Manifest]) -> None:
    told = [(s.record.kind, s.record.before_variant, s.variant, s.without) for s in steps_of(project, manifests)]
    assert told == [
        ("quantize", "float32", "int8", "float32"),
        ("distill", "float32", "distilled-int8@distill", "int8"),
        ("quantize", "distilled-int8@distill", "distilled-int8", None),
        ("prune", "distilled-int8@distill", "small-int8@prune", "distilled-int8"),
        ("quantize", "small-int8@prune", "small-int8", None),
    ]


def test_the_steps_that_the_project_plans_are_those_of_the_manifests(
    project: Project, manifests: list[Manifest]
) -> None:
    planned = {
        (step.kind, step.before, step.after)
        for variant in project.variants
        for step in project.steps_of(variant, Format.TFLITE)
    }
    found = {(step.record.kind, step.record.before_variant, step.variant) for step in steps_of(project, manifests)}
    assert found == planned


def test_layers_are_those_of_the_quantize_stage() -> None:
    layer = {"layer": "conv", "operator": "CONV_2D", "sqnr_db": None, "cosine": 1.0, "kept": True}

    def stage(name: str, **metrics: Any) -> StageRecord:
        return StageRecord(name=name, options={}, inputs={}, outputs={}, duration_s=1, metrics=metrics)

    stages = (stage("emit/int8/tflite"), stage("quantize/int8/tflite", layers=[layer]))
    [found] = layers_of([manifest("float32", ()), manifest("int8", (), stages)])
    assert (found.variant, found.format, found.layers[0].model_dump()) == ("int8", Format.TFLITE, layer)
