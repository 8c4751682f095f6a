from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor, read_graph
from edgecc.compiler.backend.checks import float_operators, unfolded_batch_norms
from edgecc.errors import ArtifactError

DATA = Path(__file__).parents[2] / "data"


def _write(path: Path, nodes: list[Any], constants: dict[str, Any], output_shape: list[int]) -> Path:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 4])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)
    values = [numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [source], [sink], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


KERNEL = np.ones((3, 2, 1, 1))
SCALE = np.ones((3, 1, 1))


def test_an_onnx_file_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "m", [helper.make_node("Conv", ["x", "w"], ["y"])], {"w": KERNEL}, [1, 3, 4, 4])

    graph = read_graph(path, Format.ONNX)

    sink = Tensor("y", "float32", (1, 3, 4, 4), constant=False)
    assert graph.outputs == (sink,)
    (convolution,) = graph.operators
    assert convolution.kind == "Conv"
    assert convolution.inputs[1] == Tensor("w", "float32", (3, 2, 1, 1), constant=True)
    assert convolution.outputs == (sink,)


@pytest.mark.parametrize(
    ("name", "dtype", "has_float"), [("cnn_float32.tflite", "float32", True), ("cnn_int8.tflite", "int8", False)]
)
def test_a_tflite_file_is_read_as_the_interpreter_sees_it(name: str, dtype: str, has_float: bool) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(DATA / name))
    (source,) = interpreter.get_input_details()

    graph = read_graph(DATA / name, Format.TFLITE)

    assert graph.inputs[0].shape == tuple(source["shape"])
    assert graph.inputs[0].dtype == np.dtype(source["dtype"]).name == dtype
    assert [each.kind for each in graph.operators] == [each["op_name"] for each in interpreter._get_ops_details()]
    assert bool(float_operators(graph)) == has_float


@pytest.mark.parametrize("format", Format)
def test_a_damaged_file_is_an_error(tmp_path: Path, format: Format) -> None:
    path = tmp_path / "m"
    path.write_bytes((DATA / "cnn_int8.tflite").read_bytes()[:300] if format is Format.TFLITE else b"nonsense")
    with pytest.raises(ArtifactError, match=f"expected a model in the format {format}"):
        read_graph(path, format)


def test_a_scale_after_a_convolution_is_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Add", ["m", "s"], ["y"]),
    ]
    path = _write(tmp_path / "m", nodes, {"w": KERNEL, "s": SCALE}, [1, 3, 4, 4])
    assert unfolded_batch_norms(read_graph(path, Format.ONNX)) == ["m", "y"]


def test_a_bias_is_not_a_batch_normalization_and_what_follows_it_is(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Add", ["c", "s"], ["b"]),
        helper.make_node("Mul", ["b", "s"], ["y"]),
    ]
    path = _write(tmp_path / "m", nodes, {"w": KERNEL, "s": SCALE}, [1, 3, 4, 4])
    assert unfolded_batch_norms(read_graph(path, Format.ONNX)) == ["y"]


def test_scales_that_do_not_belong_to_the_convolution_are_left_alone(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "half"], ["m"]),  # a scalar
        helper.make_node("Relu", ["m"], ["r"]),
        helper.make_node("Mul", ["r", "s"], ["n"]),  # after an activation
        helper.make_node("Conv", ["x", "w"], ["d"]),
        helper.make_node("Mul", ["d", "s"], ["e"]),  # one of two consumers
        helper.make_node("Add", ["d", "e"], ["f"]),
        helper.make_node("Add", ["f", "n"], ["y"]),
    ]
    path = _write(tmp_path / "m", nodes, {"w": KERNEL, "s": SCALE, "half": 0.5}, [1, 3, 4, 4])
    assert unfolded_batch_norms(read_graph(path, Format.ONNX)) == []


def test_float_between_quantize_and_dequantize_is_found() -> None:
    def tensor(name: str, dtype: str) -> Tensor:
        return Tensor(name, dtype, (1, 3), constant=False)

    a, b, c, d = (
        tensor(name, dtype) for name, dtype in zip("abcd", ("int8", "float32", "float32", "int8"), strict=True)
    )
    sine = Operator("SIN", (b,), (c,))
    operators = (Operator("DEQUANTIZE", (a,), (b,)), sine, Operator("QUANTIZE", (c,), (d,)))
    assert float_operators(Graph(operators, (a,), (d,))) == [sine]
