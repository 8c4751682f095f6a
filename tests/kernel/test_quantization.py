"""Real values of quantized tensors, computed by hand."""

from __future__ import annotations

import numpy as np

from edgecc.artifact import TensorSpec
from edgecc.quantization import dequantize


def test_dequantize() -> None:
    spec = TensorSpec(name="y", shape=(1, 2), dtype="int8", scale=(0.5,), zero_point=(-3,))
    assert dequantize(np.array([[-3, 7], [127, -128]], np.int8), spec).tolist() == [[0.0, 5.0], [65.0, -62.5]]
    per_channel = spec.model_copy(update={"scale": (1.0, 10.0), "zero_point": (0, 1), "quantized_dimension": 1})
    assert dequantize(np.array([[4, 4]], np.int8), per_channel).tolist() == [[4.0, 30.0]]
