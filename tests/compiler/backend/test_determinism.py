"""The same model gives the same bytes, whatever the process, its hash seed, and what it did before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import hashlib, sys
from pathlib import Path
from edgecc.compiler.backend import onnx, tflite
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.progress import Silent

folder, scratch, disturbed = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "disturbed"

def emit(stage, name):
    output = scratch / f"{name}-{stage.__name__}"
    output.mkdir(parents=True)
    inputs = {"model": {"model.keras": folder / f"{name}.keras"}}
    options = {"model": {"builder": "models:build"}, "dynamic_batch": False}
    stage.emit(StageContext(options, inputs, output, output, output, folder, 0, Silent(), None))
    return hashlib.sha256((output / "artifact").read_bytes()).hexdigest()

if disturbed:
    import keras
    other = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3), keras.layers.Dense(3)])
    other(keras.ops.ones((1, 6, 6, 1)))
names = ["cnn_1d", "cnn"] if disturbed else ["cnn", "cnn_1d"]
for name in names:
    for stage in (tflite, onnx):
        print(emit(stage, name))
"""


def _start(folder: Path, state: str, hash_seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(folder / state), state],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.tf
def test_artifacts_are_the_same_bytes_in_every_process(build: Callable[[str], Any], tmp_path: Path) -> None:
    for name in ("cnn", "cnn_1d"):
        build(name).save(tmp_path / f"{name}.keras")

    processes = [_start(tmp_path, "fresh", 1), _start(tmp_path, "disturbed", 2)]
    outputs = [process.communicate(timeout=300) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], outputs
    fresh, disturbed = (out.split() for out, _ in outputs)
    assert fresh[:2] == disturbed[2:]
    assert fresh[2:] == disturbed[:2]
    assert len(set(fresh)) == 4
