"""An artifact and the manifest that speaks of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecc.artifact import Artifact, Format, Manifest, describe_file, manifest_path, read_manifest, write_manifest
from edgecc.errors import ArtifactError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "digits.tflite"
    path.write_bytes(b"model")
    described = describe_file(path)
    manifest = Manifest(
        project="digits",
        variant="int8",
        artifact=Artifact(path=path.name, format=Format.TFLITE, sha256=described.sha256, size_bytes=5),
        inputs=(),
        outputs=(),
        recipe={"distill": None, "prune": None, "quantize": None},
        stages=(),
        evaluation_sha256="0" * 64,
        seed=0,
        tool_versions={},
        git_commit=None,
    )
    write_manifest(path, manifest)
    return path


def test_manifest_round_trip(artifact: Path) -> None:
    assert read_manifest(artifact).variant == "int8"


def test_a_changed_artifact_is_not_the_manifests(artifact: Path) -> None:
    artifact.write_bytes(b"other")
    with pytest.raises(ArtifactError, match="sha256 is not the one"):
        read_manifest(artifact)


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 9}', "null"])
def test_a_damaged_manifest_is_refused(artifact: Path, damage: str) -> None:
    manifest_path(artifact).write_text(damage)
    with pytest.raises(ArtifactError, match="expected a manifest"):
        read_manifest(artifact)


def test_files_that_are_no_artifacts(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"ends in \.tflite, \.onnx; got `\.h5`"):
        describe_file(tmp_path / "model.h5")
    with pytest.raises(ArtifactError, match="no such file"):
        describe_file(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is empty"):
        describe_file(tmp_path / "model.onnx")
