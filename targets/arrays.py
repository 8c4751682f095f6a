"""The arrays that go with a request and its reply: a `.npy` for one input or output, an `.npz` for several."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def by_position(arrays: tuple[Array, ...]) -> dict[str, Array]:
    """Name arrays "0", "1", ...: the runner takes such samples in the order of the model's inputs."""
    return {str(index): array for index, array in enumerate(arrays)}


def write_inputs(path: Path, inputs: Mapping[str, Array]) -> None:
    """Write samples, one array (samples, ...) an input, for a request's `inputs_path`.

    Several are written in C order, uncompressed: the runner reads them sample by sample.
    """
    members: dict[str, Any] = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    with path.open("wb") as file:
        if len(inputs) == 1:
            np.save(file, next(iter(members.values())), allow_pickle=False)
        else:
            np.savez(file, **members)


def read_outputs(path: Path) -> tuple[Array, ...]:
    """Read what a runner wrote to `outputs_path`: one raw array (samples, ...) an output, in the model's order.

    Raises:
        OSError, ValueError, EOFError, zipfile.BadZipFile: there is nothing that can be read.
    """
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return (loaded,)
    with loaded:
        return tuple(loaded[str(index)] for index in range(len(loaded.files)))
