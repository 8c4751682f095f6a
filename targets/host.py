"""Runs an artifact on samples on this machine, whatever it is, for compiler stages that must see what it does."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import Format, TensorSpec
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file, writing_to
from edgecc.quantization import dequantize
from edgecc.targets.child import run_in_child
from edgecc.targets.wire import RUNTIME_OF, OutputsTask, RunReply, RunRequest

TIMEOUT_S = 1800.0
MEMORY_LIMIT_BYTES = 8e9


@dataclass(frozen=True)
class HostOutputs:
    """What an artifact declares, and its first output for every sample: shape (samples, ...), dequantized."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    values: npt.NDArray[np.float32]


def run_outputs(artifact: Path, format: Format, x: npt.NDArray[Any]) -> HostOutputs:
    """Run the samples `x`, real values of shape (samples, ...), one by one in a child process.

    Raises:
        ArtifactError: the file is not a model, does not take these samples, or its runtime failed; names the cause.
        OutputError: the temporary folder cannot be written to.
    """
    with tempfile.TemporaryDirectory(prefix="edgecc-") as name:
        folder = Path(name)
        with writing_to(folder):
            np.save(folder / "inputs.npy", x, allow_pickle=False)
        reply = run_in_child(
            _request(artifact, format, folder), timeout_s=TIMEOUT_S, memory_limit_bytes=MEMORY_LIMIT_BYTES
        )
        _raise_failure(artifact, reply)
        raw = np.load(folder / "outputs.npy", allow_pickle=False)
    return HostOutputs(reply.inputs, reply.outputs, dequantize(raw, reply.outputs[0]).astype(np.float32))


def _digest(artifact: Path) -> str:
    try:
        return sha256_of_file(artifact)
    except OSError as error:
        raise ArtifactError(f"{artifact}: cannot be read: {error.strerror}") from error


def _request(artifact: Path, format: Format, folder: Path) -> RunRequest:
    return RunRequest(
        artifact_path=str(artifact),
        artifact_sha256=_digest(artifact),
        runtime=RUNTIME_OF[format],
        inputs_path=str(folder / "inputs.npy"),
        outputs_path=str(folder / "outputs.npy"),
        task=OutputsTask(),
    )


def _raise_failure(artifact: Path, reply: RunReply) -> None:
    if reply.failure is not None:
        kind = reply.failure.kind.replace("_", " ")
        raise ArtifactError(f"{artifact}: cannot be run ({kind}): {reply.failure.message}")
