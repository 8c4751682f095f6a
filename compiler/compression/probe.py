"""Running models that exist as bytes only, and looking at what their tensors hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import ArtifactOutputs, ArtifactRunner, Format
from edgecc.compiler.backend.artifact_graph import Graph, read_graph
from edgecc.files import write_atomically

Floats = npt.NDArray[np.float32]
Inputs = tuple[npt.NDArray[Any], ...]
"""One array (samples, ...) for each of the model's inputs."""

CHUNK_BYTES = 64_000_000
"""About so much of what is looked at is in memory at a time."""


@dataclass(frozen=True)
class Probe:
    """Runs models of one format, one at a time."""

    format: Format
    folder: Path
    """Where the model is put to be run."""
    run_artifact: ArtifactRunner

    def run(self, content: bytes, inputs: Inputs) -> ArtifactOutputs:
        """What the model gives for these samples.

        Raises:
            ArtifactError: the runtime cannot run it.
        """
        return self.run_artifact(self._written(content), self.format, inputs)

    def tensors(self, content: bytes, inputs: Inputs) -> dict[str, Floats]:
        """The model's inputs and outputs (samples, ...), in real values, by name."""
        ran = self.run(content, inputs)
        names = [spec.name for spec in (*ran.inputs, *ran.outputs)]
        return dict(zip(names, (*inputs, *ran.values), strict=True))

    def graph(self, content: bytes) -> Graph:
        """The model's operators and tensors."""
        return read_graph(self._written(content), self.format)

    def _written(self, content: bytes) -> Path:
        path = self.folder / "probed"
        write_atomically(path, content)
        return path


def chunks(inputs: Inputs, samples: int) -> Iterator[Inputs]:
    """The samples in their order, so many at a time."""
    for start in range(0, len(inputs[0]), samples):
        yield tuple(array[start : start + samples] for array in inputs)


def samples_per_chunk(graph: Graph, names: Sequence[str]) -> int:
    """Of how many samples these tensors fill CHUNK_BYTES in float32; at least one."""
    shapes = {tensor.name: tensor.shape for operator in graph.operators for tensor in operator.outputs}
    sample_bytes = sum(4 * math.prod(map(abs, shapes[name])) for name in names if name in shapes)
    return max(1, CHUNK_BYTES // max(1, sample_bytes))
