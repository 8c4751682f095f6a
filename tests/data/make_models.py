"""Make the small models that the tests run without TensorFlow: `python tests/data/make_models.py`.

One tiny CNN, (8, 8, 1) to 4 classes, as float32 with an open batch, as float32 for images of any size, and as full int8
with batch 1; its weights lie beside it, so that a test can compute the answers with numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

HERE = Path(__file__).parent


def main() -> None:
    random = np.random.default_rng(0)
    weights = {
        "kernel": random.normal(0, 0.4, (3, 3, 1, 4)).astype(np.float32),
        "bias": random.normal(0, 0.1, 4).astype(np.float32),
        "dense": random.normal(0, 1, (4, 4)).astype(np.float32),
        "dense_bias": random.normal(0, 0.1, 4).astype(np.float32),
    }
    np.savez(HERE / "cnn_weights.npz", **weights)
    (HERE / "cnn_float32.tflite").write_bytes(_converter(weights, batch=None).convert())
    (HERE / "cnn_open.tflite").write_bytes(_converter(weights, batch=1, size=None).convert())
    (HERE / "cnn_int8.tflite").write_bytes(_as_int8(_converter(weights, batch=1)).convert())


def _converter(weights: dict[str, Any], batch: int | None, size: int | None = 8) -> Any:
    def cnn(image: Any) -> Any:
        features = tf.nn.relu(tf.nn.conv2d(image, weights["kernel"], 1, "VALID") + weights["bias"])
        return tf.reduce_mean(features, (1, 2)) @ weights["dense"] + weights["dense_bias"]

    concrete = tf.function(cnn).get_concrete_function(tf.TensorSpec((batch, size, size, 1), tf.float32, name="image"))
    return tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(concrete)])


def _as_int8(converter: Any) -> Any:
    def representative() -> Iterator[list[Any]]:
        random = np.random.default_rng(1)
        for _ in range(100):
            yield [random.random((1, 8, 8, 1), dtype=np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter


if __name__ == "__main__":
    main()
