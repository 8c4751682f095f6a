"""What TensorFlow Lite's converter, litert-quantizer and ONNX Runtime make of one model, by their own defaults.

    python benchmarks/studies/converters.py FOLDER FLOAT32

FOLDER has `model.keras` and `representative.npz` (`x`), and gets a file for each tool and setting; FLOAT32 is the same
model as `.onnx` in float32. Calibration is the tools' own, on the same samples.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

RECIPES = ("static_wi8_ai8", "dynamic_wi8_afp32", "weight_only_wi8_afp32")


def main(folder: Path, float32: Path) -> None:
    with np.load(folder / "representative.npz") as arrays:
        x = arrays["x"]
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    convert_with_tf_lite(folder, model, x)
    quantize_with_litert(folder, model, x)
    quantize_with_onnx_runtime(folder, float32, x)


def convert_with_tf_lite(folder: Path, model: Any, x: Any) -> None:
    signature = [tf.TensorSpec((1, *model.input_shape[1:]))]
    infer = tf.function(lambda sample: model(sample, training=False), input_signature=signature)
    frozen = convert_variables_to_constants_v2(infer.get_concrete_function())

    def convert(name: str, **settings: Any) -> None:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], frozen)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        for key, value in settings.items():
            setattr(converter, key, value)
        (folder / f"tf.lite {name}.tflite").write_bytes(converter.convert())

    integers = tf.lite.TargetSpec(supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8])
    convert(
        "int8", representative_dataset=lambda: ([sample[None]] for sample in x), target_spec=integers,
        inference_input_type=tf.int8, inference_output_type=tf.int8,
    )  # fmt: skip
    convert("dynamic")
    convert("float16", target_spec=tf.lite.TargetSpec(supported_types=[tf.float16]))


def quantize_with_litert(folder: Path, model: Any, x: Any) -> None:
    float32 = folder / "float32"
    float32.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    ((signature, details),) = Interpreter(str(float32)).get_signature_list().items()
    (argument,) = details["inputs"]
    for name in RECIPES:
        one = quantizer.Quantizer(str(float32), getattr(recipe, name)())
        samples = {signature: [{argument: sample[None]} for sample in x]}
        calibrated = one.calibrate(samples) if one.need_calibration else None
        one.quantize(calibrated).export_model(str(folder / f"litert-quantizer {name}.tflite"), overwrite=True)
    float32.unlink()


class Samples(quantization.CalibrationDataReader):
    def __init__(self, x: Any) -> None:
        self.samples: Iterator[Any] = iter(x)

    def get_next(self) -> dict[str, Any] | None:
        sample = next(self.samples, None)
        return None if sample is None else {"input": sample[None]}


def quantize_with_onnx_runtime(folder: Path, float32: Path, x: Any) -> None:
    prepared = folder / "prepared"
    quant_pre_process(str(float32), str(prepared), skip_symbolic_shape=True)
    for per_channel in (False, True):
        for reduce_range in (False, True):
            name = f"{'per-channel' if per_channel else 'per-tensor'}{' reduce_range' if reduce_range else ''}"
            quantization.quantize_static(
                str(prepared), str(folder / f"onnxruntime static {name}.onnx"), Samples(x), per_channel=per_channel,
                reduce_range=reduce_range,
            )  # fmt: skip
    quantization.quantize_dynamic(str(prepared), str(folder / "onnxruntime dynamic.onnx"))
    prepared.unlink()


if __name__ == "__main__" and len(sys.argv) > 1:
    main(*map(Path, sys.argv[1:]))
