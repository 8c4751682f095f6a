"""Plans: what is measured is what was compiled, and it belongs together."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.artifact import Format, Manifest, describe_file, write_manifest
from edgecc.benchmarks.built import built_now
from edgecc.benchmarks.plan import plan_file, plan_project
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file
from edgecc.project import BenchSection, Project, ProjectFolder

MakeProject = Callable[..., Project]


@pytest.fixture
def compiled(tmp_path: Path, make_project: MakeProject) -> ProjectFolder:
    """A project whose build folder holds float32 and int8 in TFLite."""
    folder = ProjectFolder(root=tmp_path, file=tmp_path / "edgecc.toml", project=make_project())
    folder.build.mkdir()
    folder.evaluation.write_bytes(b"samples")
    for variant, format in folder.project.emitted():
        write_artifact(folder, variant, format)
    return folder


def write_artifact(folder: ProjectFolder, variant: str, format: Format, /, **changes: Any) -> None:
    path = folder.artifact(variant, format)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(variant.encode())
    recipe = folder.project.variants[variant].recipe()
    manifest = Manifest(
        project="demo", variant=variant, artifact=describe_file(path), inputs=(), outputs=(), recipe=recipe, stages=(),
        seed=0, evaluation_sha256=sha256_of_file(folder.evaluation), tool_versions={}, git_commit="1f0c3de",
    )  # fmt: skip
    write_manifest(path, manifest.model_copy(update=changes))


def test_a_project_is_planned_in_its_order(compiled: ProjectFolder) -> None:
    plan = plan_project(compiled, compiled.project.emitted())
    assert [subject.variant for subject in plan.subjects] == ["float32", "int8"]
    assert (plan.reference_variant, plan.git_commit) == ("float32", "1f0c3de")
    assert all(subject.path.is_absolute() for subject in plan.subjects)


def test_artifacts_of_two_commits_name_none(compiled: ProjectFolder) -> None:
    write_artifact(compiled, "int8", Format.TFLITE, git_commit="0000000")
    assert plan_project(compiled, compiled.project.emitted()).git_commit is None


def test_an_artifact_beside_another_evaluation_set_is_refused(compiled: ProjectFolder) -> None:
    write_artifact(compiled, "int8", Format.TFLITE, evaluation_sha256="0" * 64)
    with pytest.raises(ArtifactError, match="another evaluation set"):
        plan_project(compiled, compiled.project.emitted())
    assert len(plan_project(compiled, [("float32", Format.TFLITE)]).subjects) == 1


@pytest.mark.parametrize("missing", ["evaluation.npz", "int8/demo.tflite", "int8/demo.tflite.manifest.json"])
def test_what_is_missing_is_named_with_what_to_do(compiled: ProjectFolder, missing: str) -> None:
    (compiled.build / missing).unlink()
    with pytest.raises(ArtifactError, match=re.escape(missing.removesuffix(".manifest.json"))):
        plan_project(compiled, compiled.project.emitted())


def test_the_gate_sees_what_lies_there_now(compiled: ProjectFolder) -> None:
    compiled.artifact("float32", Format.TFLITE).unlink()
    compiled.artifact("int8", Format.TFLITE).write_bytes(b"changed")
    built = built_now(compiled)
    assert built.artifacts == {}
    assert "no such file" in built.refused["float32", Format.TFLITE]
    assert "the file was changed" in built.refused["int8", Format.TFLITE]
    assert built.evaluation == sha256_of_file(compiled.evaluation)
    compiled.evaluation.unlink()
    assert built_now(compiled).evaluation is None


def test_another_variants_artifact_is_no_evidence(compiled: ProjectFolder) -> None:
    write_artifact(compiled, "int8", Format.TFLITE, variant="float32")
    with pytest.raises(
        ArtifactError, match=r"expected demo, int8, tflite, made by .*; its manifest says demo, float32"
    ):
        plan_project(compiled, compiled.project.emitted())
    assert ("int8", Format.TFLITE) in built_now(compiled).refused


def test_a_variant_that_is_quantized_otherwise_now_is_no_evidence(
    compiled: ProjectFolder, make_project: MakeProject
) -> None:
    changed = make_project(variants={"float32": {}, "int8": {}})
    folder = compiled.model_copy(update={"project": changed})
    refused = built_now(folder).refused["int8", Format.TFLITE]
    assert "expected demo, int8, tflite, as it was trained; its manifest says demo, int8, tflite, made by" in refused


def test_a_bare_file_has_no_reference(tmp_path: Path) -> None:
    (tmp_path / "theirs.onnx").write_bytes(b"x")
    plan = plan_file(tmp_path / "theirs.onnx", BenchSection(), shapes=((1, 3),))
    assert (plan.project, plan.reference_variant, plan.evaluation) == ("theirs", None, None)
    assert plan.subjects[0].shapes == ((1, 3),)
    with pytest.raises(ArtifactError, match="no such file"):
        plan_file(tmp_path / "absent.onnx", BenchSection())
