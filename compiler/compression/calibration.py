"""Representative samples, and the range of every activation that a quantizer learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecc.compiler.backend.artifact_graph import Tensor
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.compression.histogram import Histogram, histogram_of
from edgecc.compiler.compression.probe import Probe, chunks, samples_per_chunk
from edgecc.compiler.compression.ranges import Range, choose_range
from edgecc.errors import DataError, ModelError
from edgecc.progress import Task
from edgecc.samples import in_order, read_arrays
from edgecc.variant import QuantizeSection

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Calibration:
    """Representative samples: one array (samples, ...) for each of the model's inputs, float32."""

    inputs: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.inputs[0])


def read_calibration(path: Path, inputs: Sequence[Tensor]) -> Calibration:
    """Read representative samples for these inputs of a model, each of shape (batch, ...).

    Raises:
        DataError: no samples, samples that do not have the inputs' names or shapes, values that are not finite, or
            samples that are all the same: no range can be learnt from them.
    """
    names = [tensor.name for tensor in inputs]
    arrays = tuple(array.astype(np.float32) for array in in_order(read_arrays(path)["x"], names))
    count = len(arrays[0])
    expected, given = [tensor.shape[1:] for tensor in inputs], [array.shape for array in arrays]
    if count == 0 or given != [(count, *shape) for shape in expected]:
        raise DataError(f"expected representative samples of shape {_shown(expected)}; got {_shown(given)}")
    for name, array in zip(names, arrays, strict=True):
        _require_information(array, "" if len(arrays) == 1 else f" of `{name}`")
    if count > 1 and all((array == array[0]).all() for array in arrays):
        raise DataError(
            f"expected representative samples that differ; all {count} are the same",
            hint="give samples like those the device will see, such as a draw of the training set",
        )
    return Calibration(arrays)


def _shown(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes))


def _require_information(array: Floats, where: str) -> None:
    if not np.isfinite(array).all():
        raise DataError(f"expected representative samples with finite values{where}; got NaN or infinity")
    if (array == array.flat[0]).all():
        raise DataError(
            f"expected representative samples with different values; every value{where} is {array.flat[0]:g}",
            hint="a range learnt from them would fit nothing else: give samples like those the device will see",
        )


def calibrate(
    probe: Probe, content: bytes, names: Sequence[str], samples: Calibration, section: QuantizeSection, task: Task
) -> dict[str, Range]:
    """The range of each of these tensors of a float model, chosen as the section says.

    `task` counts samples.

    Raises:
        ModelError: a tensor holds NaN or infinity.
        ArtifactError: the model cannot be run.
    """
    histograms = observe(probe, content, names, samples, task)
    return {name: choose_range(histogram, section) for name, histogram in histograms.items()}


def observe(
    probe: Probe, content: bytes, names: Sequence[str], samples: Calibration, task: Task
) -> dict[str, Histogram]:
    """What each of these tensors (inputs and outputs of the model among them) holds over all samples.

    A few samples are run at a time, so that memory stays bounded however many and however large the tensors are.

    Raises:
        ModelError: a tensor holds NaN or infinity.
        ArtifactError: the model cannot be run, or has no such tensor.
    """
    graph = probe.graph(content)
    inputs = {tensor.name for tensor in graph.inputs}
    exposed = expose(content, probe.format, [name for name in names if name not in inputs])
    histograms: dict[str, Histogram] = {}
    for chunk in chunks(samples.inputs, samples_per_chunk(graph, names)):
        tensors = probe.tensors(exposed, chunk)
        for name in names:
            seen = _histogram(name, tensors[name])
            histograms[name] = histograms[name].merged(seen) if name in histograms else seen
        task.advance(len(chunk[0]))
    return histograms


def _histogram(name: str, values: Floats) -> Histogram:
    if not np.isfinite(values).all():
        raise ModelError(
            f"expected finite activations; tensor `{name}` holds NaN or infinity on representative samples",
            hint="look for divisions, logarithms or exponentials of unbounded values in the model",
        )
    return histogram_of(values)
