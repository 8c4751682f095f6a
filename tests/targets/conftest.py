"""Small models with known answers, and requests for them."""

from __future__ import annotations

import hashlib
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecc.targets.arrays import write_inputs
from edgecc.targets.ssh import SshOptions, SshTarget
from edgecc.targets.wire import InstructionsTask, LatencyTask, OutputsTask, RunRequest, Runtime

from ..conftest import require
from .ssh_server import Open, SshServer, started_server

DATA = Path(__file__).parents[1] / "data"


class MakeOnnx(Protocol):
    def __call__(
        self,
        nodes: list[onnx.NodeProto],
        inputs: dict[str, tuple[int, list[int | str]]],
        outputs: dict[str, tuple[int, list[int | str]]],
        constants: dict[str, npt.NDArray[Any]],
    ) -> Path: ...


class MakeRequest(Protocol):
    def __call__(
        self, artifact: Path, task: LatencyTask | OutputsTask | InstructionsTask, **changes: Any
    ) -> RunRequest: ...


@pytest.fixture
def make_onnx(tmp_path: Path) -> MakeOnnx:
    """Writes an ONNX model to a file; inputs and outputs are (element type, shape) by name."""

    def make(nodes: Any, inputs: Any, outputs: Any, constants: Any) -> Path:
        values = [[helper.make_tensor_value_info(n, *spec) for n, spec in part.items()] for part in (inputs, outputs)]
        graph = helper.make_graph(nodes, "test", *values, [numpy_helper.from_array(v, n) for n, v in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return make


@dataclass(frozen=True)
class Linear:
    """`y = x @ weights + bias`, x of shape (batch, 3), y of shape (batch, 2)."""

    path: Path
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def __call__(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return x @ self.weights + self.bias


@pytest.fixture
def linear(make_onnx: MakeOnnx) -> Linear:
    weights = np.array([[1, -2], [0.5, 4], [-3, 0.25]], np.float32)
    bias = np.array([0.125, -8], np.float32)
    path = make_onnx(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", 3])},
        {"y": (TensorProto.FLOAT, ["batch", 2])},
        {"w": weights, "b": bias},
    )
    return Linear(path, weights, bias)


@pytest.fixture
def mixer(make_onnx: MakeOnnx) -> Path:
    """`total = left + right`, shape (batch, 2), and `product = sum(left * right)`, shape (batch, 1)."""
    return make_onnx(
        [
            helper.make_node("Add", ["left", "right"], ["total"]),
            helper.make_node("Mul", ["left", "right"], ["product_of_each"]),
            helper.make_node("ReduceSum", ["product_of_each", "axes"], ["product"]),
        ],
        {"right": (TensorProto.FLOAT, ["batch", 2]), "left": (TensorProto.FLOAT, ["batch", 2])},
        {"total": (TensorProto.FLOAT, ["batch", 2]), "product": (TensorProto.FLOAT, ["batch", 1])},
        {"axes": np.array([1])},
    )


@pytest.fixture
def images() -> npt.NDArray[np.float32]:
    """Shape (20, 8, 8, 1), in [0, 1): what the CNN in tests/data takes."""
    return np.random.default_rng(7).random((20, 8, 8, 1), dtype=np.float32)


@pytest.fixture
def cnn_float32() -> Path:
    return DATA / "cnn_float32.tflite"


@pytest.fixture
def cnn_int8() -> Path:
    return DATA / "cnn_int8.tflite"


@pytest.fixture
def cnn_answers(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the CNN gives for the images, shape (20, 4), by numpy: convolution, ReLU, mean, dense."""
    with np.load(DATA / "cnn_weights.npz") as weights:
        windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], (3, 3), axis=(1, 2))
        features = np.einsum("nxyij,ijk->nxyk", windows, weights["kernel"][:, :, 0]) + weights["bias"]
        pooled = np.maximum(features, 0).mean((1, 2))
        answers: npt.NDArray[np.float32] = pooled @ weights["dense"] + weights["dense_bias"]
    return answers


@pytest.fixture
def make_request(tmp_path: Path) -> MakeRequest:
    """A request for a file, with its true sha256; `inputs` is an array, or several by name, for `inputs_path`."""

    def make(artifact: Path, task: LatencyTask | OutputsTask | InstructionsTask, **changes: Any) -> RunRequest:
        if (inputs := changes.pop("inputs", None)) is not None:
            write_inputs(tmp_path / "inputs.npy", inputs if isinstance(inputs, dict) else {"": inputs})
            changes["inputs_path"] = str(tmp_path / "inputs.npy")
        runtime: Runtime = "onnxruntime" if artifact.suffix == ".onnx" else "litert"
        request = RunRequest(
            artifact_path=str(artifact),
            artifact_sha256=hashlib.sha256(artifact.read_bytes()).hexdigest(),
            runtime=runtime,
            outputs_path=str(tmp_path / "outputs.npy"),
            task=task,
        )
        return request.model_copy(update=changes)

    return make


@pytest.fixture
def device_folder(tmp_path: Path) -> Path:
    """A folder on a device that is set up: its virtual environment's Python is the one that runs the tests."""
    folder = tmp_path / "device"
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An OpenSSH server on loopback, with keys and a port of its own."""
    require("ssh")
    with started_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def open_target(ssh_server: SshServer, device_folder: Path) -> Iterator[Open]:
    """Opens a target on the server, whose folder there is set up; an option may be changed."""
    with ExitStack() as opened:

        def open(**changes: Any) -> SshTarget:
            options = ssh_server.options(**{"folder": str(device_folder), **changes})
            return opened.enter_context(SshTarget("pi", SshOptions.model_validate(options)))

        yield open


@pytest.fixture(scope="session")
def arm64_image() -> str:
    """The tag of the ARM64 image on a base that is made here: built where it is not there yet, and left there."""
    require("docker")
    pytest.importorskip("docker", reason="docker's Python library is not installed")
    from edgecc.progress import Silent
    from edgecc.targets.arm64.cpu_models import CPU_MODELS
    from edgecc.targets.arm64.emulator import emulator_lacks
    from edgecc.targets.arm64.engine import engine_lack
    from edgecc.targets.arm64.image import build, image_lacks, image_tag

    lacks = [engine_lack(), *emulator_lacks(CPU_MODELS["cortex-a72"]), *image_lacks("local")]
    if missing := "; ".join(lack.what for lack in lacks if lack is not None):
        required = "docker" in os.environ.get("EDGECC_REQUIRE", "").split(",")
        (pytest.fail if required else pytest.skip)(missing)
    build("local", Silent())
    return image_tag("local")
