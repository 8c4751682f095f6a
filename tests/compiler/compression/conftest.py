"""A small ONNX model with known answers, and what runs it: in this process, which is faster than a child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import ArtifactRunner, Format, TensorSpec
from edgecc.compiler.compression.probe import Probe

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    values: tuple[Floats, ...]


def _run_onnx(artifact: Path, format: Format, inputs: tuple[npt.NDArray[Any], ...]) -> Outputs:
    assert format is Format.ONNX
    session = onnxruntime.InferenceSession(artifact.read_bytes(), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    rows = [
        session.run(None, dict(zip(names, (x[None] for x in sample), strict=True)))
        for sample in zip(*inputs, strict=True)
    ]
    values = tuple(np.concatenate(column).astype(np.float32) for column in zip(*rows, strict=True))
    return Outputs(_specs(session.get_inputs()), _specs(session.get_outputs()), values)


def _specs(nodes: list[Any]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=node.name, shape=(), dtype=node.type) for node in nodes)


@pytest.fixture
def run_onnx() -> ArtifactRunner:
    return _run_onnx


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    """Runs ONNX models."""
    return Probe(Format.ONNX, tmp_path, _run_onnx)


@dataclass(frozen=True)
class TwoLayers:
    """`hidden = relu(x @ w0)`, `output = hidden @ w1`; x (1, 4), hidden (1, 3), output (1, 2)."""

    w0: Floats
    w1: Floats

    def onnx(self) -> bytes:
        nodes = [
            helper.make_node("MatMul", ["x", "w0"], ["product"]),
            helper.make_node("Relu", ["product"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "w1"], ["output"]),
        ]
        graph = helper.make_graph(
            nodes, "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2])],
            [numpy_helper.from_array(value, name) for name, value in (("w0", self.w0), ("w1", self.w1))],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        return bytes(model.SerializeToString(deterministic=True))

    def __call__(self, x: Floats) -> Mapping[str, Floats]:
        """What the tensors hold, by numpy alone."""
        product = x @ self.w0
        hidden = np.maximum(product, 0)
        return {"x": x, "product": product, "hidden": hidden, "output": hidden @ self.w1}


@pytest.fixture
def two_layers() -> TwoLayers:
    random = np.random.default_rng(1)
    return TwoLayers(*(random.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3, 2))))


@pytest.fixture
def x() -> Floats:
    """Samples of `two_layers`, (60, 4)."""
    return np.random.default_rng(3).normal(size=(60, 4)).astype(np.float32)
