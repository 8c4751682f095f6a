"""What edgecc's compile costs over calling the converters by hand, on the same trained model.

    python benchmarks/studies/compile_overhead.py [PAIRS]

Both start a fresh process, load the same `model.keras` and write TFLite float32, TFLite int8 and ONNX float32; the data
are prepared already for both. edgecc also folds batch normalisation, compares each artifact with the Keras model on
validation samples, in the runtime that will run it, and writes manifests. They run in turn, A B B A; the ratio of the
medians is printed, and edgecc's with the comparison taken out.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from project_copies import copy_example, edgecc, edit, finish

WITHOUT_COUNTERPART = ("reference", "verify/", "lint/", "evaluate/", "compare/")
"""Stages that only look at what was converted."""
BARE = """
import sys, pathlib
import keras, numpy as np, tensorflow as tf, tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

folder = pathlib.Path(sys.argv[1])
model = keras.saving.load_model(folder / "model.keras", compile=False)
x = np.load(folder / "representative.npz")["x"]

def converter():
    return tf.lite.TFLiteConverter.from_keras_model(model)

(folder / "float32.tflite").write_bytes(converter().convert())
quantizing = converter()
quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
quantizing.representative_dataset = lambda: ([sample[None]] for sample in x)
quantizing.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
quantizing.inference_input_type = quantizing.inference_output_type = tf.int8
(folder / "int8.tflite").write_bytes(quantizing.convert())

serve = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, *model.input_shape[1:]))])
frozen = convert_variables_to_constants_v2(serve.get_concrete_function())
names = [[tensor.name for tensor in tensors] for tensors in (frozen.inputs, frozen.outputs)]
proto, _ = tf2onnx.convert.from_graph_def(frozen.graph.as_graph_def(), input_names=names[0], output_names=names[1])
(folder / "float32.onnx").write_bytes(proto.SerializeToString())
"""


def main(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        project = _project_with_a_trained_model(folder)
        seconds: dict[str, list[float]] = {"bare": [], "edgecc": []}
        for pair in range(pairs):
            for name in ("bare", "edgecc") if pair % 2 == 0 else ("edgecc", "bare"):
                seconds[name].append(_timed_bare(folder) if name == "bare" else _timed_edgecc(project, folder))
        comparing = _comparing_s(project)
    for name, values in seconds.items():
        print(f"{name:7} median {statistics.median(values):.2f} s, min {min(values):.2f} s, max {max(values):.2f} s")
    bare, with_edgecc = (statistics.median(seconds[name]) for name in ("bare", "edgecc"))
    without = (with_edgecc - comparing) / bare
    print(f"edgecc takes {with_edgecc / bare:.2f} times the bare converters' time (median of {pairs} pairs);")
    print(f"{comparing:.2f} s of it compare artifacts with the model; without that, {without:.2f} times")


def _project_with_a_trained_model(folder: Path) -> Path:
    project = copy_example("digits", folder)
    edit(project, "epochs = 8\n", "epochs = 1\n")
    edit(project, "max_trials = 8\n", "max_trials = 1\n")
    edit(project, "epochs = 40\n", "epochs = 3\n")
    finish(edgecc("compile", project, home=folder / "home"))
    (model,) = project.glob(".edgecc/cache/train-*/*/files/model.keras")
    (representative,) = project.glob(".edgecc/cache/data-*/*/files/representative.npz")
    shutil.copy(model, project)
    shutil.copy(model, folder)
    shutil.copy(representative, folder)
    edit(project, 'builder = "models:cnn"', 'path = "model.keras"')
    return project


def _comparing_s(project: Path) -> float:
    """What the last compile spent on the stages that have no counterpart in the bare script."""
    entries = [json.loads(file.read_text()) for file in project.glob(".edgecc/cache/*/*/entry.json")]
    durations = {entry["record"]["name"]: entry["record"]["duration_s"] for entry in entries}
    return sum(duration for name, duration in durations.items() if name.startswith(WITHOUT_COUNTERPART))


def _timed_bare(folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE, folder], check=True, capture_output=True)
    return time.perf_counter() - start


def _timed_edgecc(project: Path, folder: Path) -> float:
    for stage in (project / ".edgecc/cache").iterdir():
        if not stage.name.startswith("data-"):
            shutil.rmtree(stage)
    shutil.rmtree(project / "build", ignore_errors=True)
    start = time.perf_counter()
    finish(edgecc("compile", project, home=folder / "home"))
    return time.perf_counter() - start


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
