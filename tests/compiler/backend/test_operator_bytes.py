from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import Format
from edgecc.compiler.backend.operator_bytes import FileBytes, bytes_of_operators
from edgecc.compiler.backend.tflite_file import pack, unpack
from edgecc.errors import ArtifactError

DATA = Path(__file__).parents[2] / "data"


def save(path: Path, nodes: list[Any], constants: dict[str, Any], **options: Any) -> Path:
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", *ends, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path, **options)
    return path


def total(found: FileBytes) -> int:
    return found.structure_bytes + sum(operator.size_bytes for operator in found.operators)


@pytest.mark.parametrize("name", ["cnn_float32", "cnn_int8", "cnn_open"])
def test_every_byte_of_a_tflite_file_is_somewhere(name: str) -> None:
    path = DATA / f"{name}.tflite"
    found = bytes_of_operators(path, Format.TFLITE)
    assert total(found) == path.stat().st_size
    assert [operator.kind for operator in found.operators] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert [operator.sources for operator in found.operators] == [(), (0,), (1,)]


def test_weights_and_bias_belong_to_their_operator() -> None:
    convolution, mean, dense = bytes_of_operators(DATA / "cnn_float32.tflite", Format.TFLITE).operators
    assert (convolution.size_bytes, mean.size_bytes, dense.size_bytes) == (4 * (3 * 3 * 4 + 4), 4 * 2, 4 * (4 * 4 + 4))


def test_scales_and_zero_points_belong_to_the_operator_of_their_weights() -> None:
    convolution = bytes_of_operators(DATA / "cnn_int8.tflite", Format.TFLITE).operators[0]
    plain = 3 * 3 * 4 + 4 * 4  # int8 weights, int32 bias
    channels = 4 * (4 + 8)  # a float32 scale and an int64 zero point each
    assert convolution.size_bytes == plain + 2 * channels


def test_constants_of_one_name_are_all_counted(tmp_path: Path) -> None:
    model = unpack((DATA / "cnn_float32.tflite").read_bytes())
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same"
    path = tmp_path / "same.tflite"
    path.write_bytes(pack(model))
    found = bytes_of_operators(path, Format.TFLITE)
    assert total(found) == path.stat().st_size
    assert found.operators[0].size_bytes == 4 * (3 * 3 * 4 + 4 + 2 + 4 * 4 + 4)  # nobody knows whose they are


def test_what_is_made_of_constants_belongs_to_the_operator_that_reads_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["real"], name="weights"),
        helper.make_node("MatMul", ["x", "real"], ["y"], name="product"),
    ]
    constants = {"w": np.ones((4, 4), np.int8), "scale": np.float32(0.5), "zero": np.int8(0)}
    path = save(tmp_path / "m.onnx", nodes, constants)

    (product,) = bytes_of_operators(path, Format.ONNX).operators

    assert (product.name, product.kind, product.size_bytes) == ("product", "MatMul", 16 + 4 + 1)


def test_a_shared_constant_belongs_to_its_first_reader(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"w": np.ones((4, 4), np.float32)})
    assert [operator.size_bytes for operator in bytes_of_operators(path, Format.ONNX).operators] == [64, 0]


def test_a_constant_that_nothing_reads_is_structure(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"unread": np.ones(1000, np.float32)})
    found = bytes_of_operators(path, Format.ONNX)
    assert found.operators[0].size_bytes == 0
    assert found.structure_bytes == path.stat().st_size


def test_constants_in_another_file_are_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    aside = {"save_as_external_data": True, "size_threshold": 0, "location": "weights"}
    path = save(tmp_path / "m.onnx", nodes, {"w": np.ones((4, 400), np.float32)}, **aside)
    with pytest.raises(ArtifactError, match="they lie in other files"):
        bytes_of_operators(path, Format.ONNX)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"TFL3 not")
    with pytest.raises(ArtifactError, match="cannot be parsed"):
        bytes_of_operators(path, Format.TFLITE)


@given(reads=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=8))
def test_totals_add_up_whoever_reads_what(reads: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    names = ["x", *(f"h{index}" for index in range(1, len(reads))), "y"]
    nodes = [helper.make_node("Add", [names[i], read], [names[i + 1]]) for i, read in enumerate(reads)]
    sizes = {"a": 4, "b": 1, "c": 4}
    save(path, nodes, {name: np.ones(size, np.float32) for name, size in sizes.items()})
    found = bytes_of_operators(path, Format.ONNX)
    assert total(found) == path.stat().st_size
    assert sum(each.size_bytes for each in found.operators) == sum(4 * sizes[name] for name in set(reads))
