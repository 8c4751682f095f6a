"""The samples from which a quantizer learns the range of every activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgecc.errors import DataError


@dataclass(frozen=True)
class Calibration:
    """Representative samples, shape (n, ...), float32."""

    x: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)

    def __call__(self) -> Iterator[list[npt.NDArray[np.float32]]]:
        """Yield one batch of one sample for each of the model's inputs, as the TFLite converter asks for them."""
        for index in range(len(self)):
            yield [self.x[index : index + 1]]


def read_calibration(path: Path, sample_shape: tuple[int, ...]) -> Calibration:
    """Read `x` of a `.npz` file.

    Raises:
        DataError: no samples, samples that do not have the model's shape, or values that are not finite.
    """
    with np.load(path) as arrays:
        x = arrays["x"].astype(np.float32)
    if len(x) == 0 or x.shape[1:] != sample_shape:
        raise DataError(f"expected representative samples of shape {sample_shape}; got an array of shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError("expected representative samples with finite values; got NaN or infinity")
    return Calibration(x)
