"""What the compiler hands to the targets: a file, and a manifest beside it that tells where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgecc.errors import ArtifactError
from edgecc.files import is_file, sha256_of_file, write_atomically

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Record(BaseModel):
    """A frozen value that is read from and written to a file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Format(StrEnum):
    """The file formats edgecc emits and measures."""

    TFLITE = "tflite"
    ONNX = "onnx"


class TensorSpec(Record):
    """One input or output of an artifact.

    `shape` has -1 for a dimension that is open. Where the tensor is quantized,
    real value = scale * (stored value - zero_point), per `quantized_dimension` where there are several scales.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    quantized_dimension: int = 0


class StageRecord(Record):
    """One stage on the way to an artifact: what it was told, what it read and wrote, what it measured."""

    name: str
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    """sha256 by file name."""
    outputs: Mapping[str, str]
    duration_s: float
    metrics: Mapping[str, Any]


class Figures(Record):
    """What an artifact is, and how it does on the validation samples."""

    size_bytes: int
    compressed_bytes: int
    """After gzip -9."""
    sparsity: float
    """Share of exact zeros among the weights."""
    score: float | None
    """Top-1 accuracy, or the project's first metric where there are no classes; None where there is neither."""
    samples: int


class StepRecord(Record):
    """One compression step: the artifacts before and after it."""

    kind: str
    before_variant: str
    """A variant of the project, or `VARIANT@STEP`: a variant as it is after that step; `VARIANT@base` before all."""
    before: Figures
    after: Figures
    lost: int | None = None
    """Validation samples that were right before and are wrong after; None where there are no classes."""
    gained: int | None = None
    p_value: float | None = None
    """Of McNemar's exact test on these two: how often chance alone would part them so far."""


class Artifact(Record):
    """A model file. `path` is relative to the manifest that names it, or absolute for a bare file."""

    path: str
    format: Format
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(gt=0, strict=True)]


class Manifest(Record):
    """Where an artifact came from: enough to say what it is and to make it again."""

    schema_version: Literal[1] = 1
    project: str
    variant: str
    artifact: Artifact
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    recipe: Mapping[str, Any]
    """The variant's `distill`, `prune` and `quantize`; None for each that is not done."""
    stages: tuple[StageRecord, ...]
    steps: tuple[StepRecord, ...] = ()
    """The compression steps of this variant, in order."""
    evaluation_sha256: str
    seed: int
    tool_versions: Mapping[str, str]
    git_commit: str | None


class ArtifactOutputs(Protocol):
    """What running an artifact on samples gave: the specs it declares, and real (dequantized) outputs."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The artifact's inputs."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The artifact's outputs."""

    @property
    def values(self) -> tuple[npt.NDArray[np.float32], ...]:
        """One array an output, in the artifact's order: shape (samples, ...), dequantized to float32."""


class ArtifactRunner(Protocol):
    """Runs an artifact for a compiler stage that must see what it does. The caller of the compiler supplies it."""

    def __call__(self, artifact: Path, format: Format, inputs: tuple[npt.NDArray[Any], ...]) -> ArtifactOutputs:
        """Run samples one by one: one array an input, in the artifact's order, real values of shape (samples, ...).

        Raises:
            ArtifactError: the file is not a model, or the runtime failed on it; names the cause.
        """


def format_of(path: Path) -> Format:
    """The format that a file's name claims.

    Raises:
        ArtifactError: the ending is not one that edgecc knows.
    """
    try:
        return Format(path.suffix.removeprefix("."))
    except ValueError:
        known = ", ".join(f".{format}" for format in Format)
        raise ArtifactError(f"{path}: expected a file that ends in {known}; got `{path.suffix}`") from None


def describe_file(path: Path) -> Artifact:
    """An Artifact for a file on disk, whoever built it.

    Raises:
        ArtifactError: no such file, an empty one, or an ending that edgecc does not know.
    """
    format = format_of(path)
    if not is_file(path):
        raise ArtifactError(f"{path}: no such file")
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise ArtifactError(f"{path}: expected a model in the format {format}; the file is empty")
    return Artifact(path=str(path), format=format, sha256=sha256_of_file(path), size_bytes=size_bytes)


def manifest_path(artifact: Path) -> Path:
    """Where the manifest of an artifact lies: beside it."""
    return artifact.with_name(artifact.name + ".manifest.json")


def write_manifest(artifact: Path, manifest: Manifest) -> None:
    """Write the manifest beside its artifact.

    Raises:
        OutputError: the folder cannot be written to.
    """
    write_atomically(manifest_path(artifact), manifest.model_dump_json(indent=1) + "\n")


def read_manifest(artifact: Path) -> Manifest:
    """Read the manifest beside an artifact and check that it speaks of this very file.

    Raises:
        ArtifactError: no manifest, one that cannot be read, or one of another file.
    """
    path = manifest_path(artifact)
    hint = "edgecc compile writes both anew"
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=hint) from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: expected a manifest; {first_problem(error)}", hint=hint) from error
    if describe_file(artifact).sha256 != manifest.artifact.sha256:
        raise ArtifactError(f"{artifact}: its sha256 is not the one in {path.name}: the file was changed", hint=hint)
    return manifest


def first_problem(error: ValidationError) -> str:
    """The first fault of a machine-written file, in one line."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"])) or "the file"
    return f"{where}: {fault['msg']}"
