"""Real values of quantized tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import TensorSpec


def dequantize(raw: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[np.float64]:
    """Real values of raw outputs of shape (samples, ...): scale * (raw - zero_point), or as they are if not quantized.

    Where there are several scales, they go along `spec.quantized_dimension`.
    """
    if not spec.scale:
        return raw.astype(np.float64)
    shape = [1] * raw.ndim
    if len(spec.scale) > 1:
        shape[spec.quantized_dimension] = -1
    scale = np.asarray(spec.scale, np.float64).reshape(shape)
    zero_point = np.asarray(spec.zero_point, np.float64).reshape(shape)
    return scale * (raw.astype(np.float64) - zero_point)
