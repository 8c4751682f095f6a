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
from edgecc.targets.arrays import by_position, read_outputs, write_inputs
from edgecc.targets.child import run_in_child
from edgecc.targets.wire import RUNTIME_OF, OutputsTask, RunReply, RunRequest

TIMEOUT_S = 1800.0
MEMORY_LIMIT_BYTES = 8e9
INPUTS, OUTPUTS = "inputs.npy", "outputs.npy"


@dataclass(frozen=True)
class HostOutputs:
    """What an artifact declares, and each of its outputs for every sample: shape (samples, ...), dequantized."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    values: tuple[npt.NDArray[np.float32], ...]


def run_outputs(artifact: Path, format: Format, inputs: tuple[npt.NDArray[Any], ...]) -> HostOutputs:
    """Run samples one by one in a child process: one array an input, real values of shape (samples, ...).

    Raises:
        ArtifactError: the file is not a model, does not take these samples, or its runtime failed; names the cause.
        OutputError: the temporary folder cannot be written to.
    """
    with tempfile.TemporaryDirectory(prefix="edgecc-") as name:
        folder = Path(name)
        with writing_to(folder):
            write_inputs(folder / INPUTS, by_position(inputs))
        reply = run_in_child(
            _request(artifact, format, folder), timeout_s=TIMEOUT_S, memory_limit_bytes=MEMORY_LIMIT_BYTES
        )
        _raise_failure(artifact, reply)
        raw = read_outputs(folder / OUTPUTS)
    values = (dequantize(*pair).astype(np.float32) for pair in zip(raw, reply.outputs, strict=True))
    return HostOutputs(reply.inputs, reply.outputs, tuple(values))


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
        inputs_path=str(folder / INPUTS),
        outputs_path=str(folder / OUTPUTS),
        task=OutputsTask(),
    )


def _raise_failure(artifact: Path, reply: RunReply) -> None:
    if reply.failure is not None:
        kind = reply.failure.kind.replace("_", " ")
        raise ArtifactError(f"{artifact}: cannot be run ({kind}): {reply.failure.message}")
