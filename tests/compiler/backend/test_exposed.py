from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import Format
from edgecc.compiler.backend.exposed import expose
from edgecc.errors import ArtifactError
from edgecc.targets.host import HostOutputs, run_outputs

DATA = Path(__file__).parents[2] / "data"
FEATURES = "Relu;add;Conv2D;add/y1"
IMAGES = np.random.default_rng(7).random((20, 8, 8, 1), dtype=np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(content: bytes, format: Format, x: npt.NDArray[np.float32]) -> HostOutputs:
        path = tmp_path / "artifact"
        path.write_bytes(content)
        return run_outputs(path, format, (x,))

    return run


def _features() -> npt.NDArray[np.float64]:
    """What the first layer gives, by numpy alone."""
    with np.load(DATA / "cnn_weights.npz") as weights:
        kernel, bias = weights["kernel"].astype(np.float64), weights["bias"]
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES[..., 0], (3, 3), axis=(1, 2))
    return np.asarray(np.maximum(np.einsum("nhwij,ijo->nhwo", windows, kernel[:, :, 0]) + bias, 0))


@pytest.mark.parametrize(("name", "tolerance"), [("cnn_float32", 1e-5), ("cnn_int8", 0.03)])
def test_inner_tensors_of_tflite(run: Any, name: str, tolerance: float) -> None:
    content = (DATA / f"{name}.tflite").read_bytes()
    before = run(content, Format.TFLITE, IMAGES)

    after = run(expose(content, Format.TFLITE, ["Mean", FEATURES]), Format.TFLITE, IMAGES)

    assert [spec.name for spec in after.outputs] == ["Identity", "Mean", FEATURES]
    np.testing.assert_array_equal(after.values[0], before.values[0])
    features = _features()
    np.testing.assert_allclose(after.values[2], features, atol=tolerance)
    np.testing.assert_allclose(after.values[1], features.mean(axis=(1, 2)), atol=tolerance)


def test_an_output_is_not_exposed_again() -> None:
    content = (DATA / "cnn_float32.tflite").read_bytes()
    assert expose(content, Format.TFLITE, ["Identity"]) == expose(content, Format.TFLITE, [])
    assert expose(content, Format.TFLITE, ["Mean", "Mean"]) == expose(content, Format.TFLITE, ["Mean"])


@pytest.mark.parametrize("names", [["Meen"], ["image"], ["Mean", "Meen"]])
def test_what_no_operator_gives_is_refused(names: list[str]) -> None:
    with pytest.raises(ArtifactError, match=f"there is no {names[-1]}"):
        expose((DATA / "cnn_float32.tflite").read_bytes(), Format.TFLITE, names)


def _onnx() -> bytes:
    """One more than int(|x|), x (1, 2): its tensors differ in type."""
    graph = helper.make_graph(
        [
            helper.make_node("Abs", ["x"], ["magnitude"]),
            helper.make_node("Cast", ["magnitude"], ["whole"], to=TensorProto.INT32),
            helper.make_node("Add", ["whole", "one"], ["y"]),
        ],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2])],
        [numpy_helper.from_array(np.array([1, 1], np.int32), "one")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def test_inner_tensors_of_onnx(run: Any) -> None:
    content = expose(_onnx(), Format.ONNX, ["whole", "y", "magnitude", "whole"])
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)

    ran = run(content, Format.ONNX, np.array([[-1.5, 2.5]], np.float32))

    assert [(spec.name, spec.dtype) for spec in ran.outputs] == [
        ("y", "int32"), ("whole", "int32"), ("magnitude", "float32"),
    ]  # fmt: skip
    assert [value.tolist() for value in ran.values] == [[[2, 3]], [[1, 2]], [[1.5, 2.5]]]


def test_what_no_node_gives_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"there is no one, x$"):
        expose(_onnx(), Format.ONNX, ["x", "one", "whole"])
