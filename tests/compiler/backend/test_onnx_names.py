from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgecc.compiler.backend.onnx_bias import merge_biases
from edgecc.compiler.backend.onnx_names import canonical, canonical_names, share_constants

RANDOM = np.random.default_rng(0)
KERNEL = RANDOM.normal(size=(3, 2, 1, 3)).astype(np.float32)
X = RANDOM.normal(size=(1, 2, 1, 8)).astype(np.float32)


def _model(nodes: list[Any], constants: dict[str, Any], output_shape: list[int]) -> Any:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 1, 8])
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, output_shape)
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [source], [sink], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: Any) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def _two_branches(names: dict[str, str], order: tuple[int, ...]) -> Any:
    """The same graph whatever its names and the order of its nodes and constants."""
    a, b, w, s, u = (names[key] for key in "abwsu")
    nodes = [
        helper.make_node("Conv", ["x", w], [a], name=f"{a}_node", kernel_shape=[1, 3], group=1),
        helper.make_node("Relu", [a], [b], name=f"{b}_node", doc_string="from somewhere"),
        helper.make_node("Mul", [b, s], ["m"]),
        helper.make_node("Relu", ["x"], [u]),
        helper.make_node("Add", ["m", a], ["y"]),
    ]
    constants = {w: KERNEL, s: np.float32(2.0), f"unused_{s}": np.float32(7.0)}
    return _model([nodes[index] for index in order], dict(sorted(constants.items())), [1, 3, 1, 6])


ONE = _two_branches({"a": "a", "b": "b", "w": "w", "s": "s", "u": "u"}, (0, 1, 2, 3, 4))
OTHER = _two_branches({"a": "p__7", "b": "q:0", "w": "a_w", "s": "z", "u": "v"}, (3, 0, 1, 2, 4))


def test_names_and_order_depend_on_the_structure_alone() -> None:
    one, other = canonical(ONE), canonical(OTHER)

    assert one.SerializeToString() == other.SerializeToString()
    assert [node.name for node in one.graph.node] == ["Conv_0", "Relu_0", "Mul_0", "Add_0"]
    assert [tensor.name for tensor in one.graph.initializer] == ["Conv_0.input1", "Mul_0.input1"]
    np.testing.assert_array_equal(_run(one), _run(ONE))


def test_another_weight_gives_another_file() -> None:
    changed = canonical(ONE)
    changed.graph.initializer[1].raw_data = np.float32(3.0).tobytes()
    assert changed.SerializeToString() != canonical(ONE).SerializeToString()


def test_optional_inputs_stay_left_out() -> None:
    nodes = [helper.make_node("Clip", ["x", "", "high"], ["y"])]
    model = canonical(_model(nodes, {"high": np.float32(0.1)}, [1, 2, 1, 8]))

    assert list(model.graph.node[0].input) == ["x", "", "Clip_0.input2"]
    assert _run(model).max() == np.float32(0.1)


def test_inputs_and_outputs_lose_what_follows_a_colon() -> None:
    nodes = [helper.make_node("Relu", ["left:0"], ["one:0"]), helper.make_node("Add", ["right:0", "one:0"], ["two:0"])]
    names = ("left:0", "right:0", "one:0", "two:0")
    left, right, one, two = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in names)
    graph = helper.make_graph(nodes, "g", [left, right], [two, one])
    model = canonical(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))

    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["left", "right"]
    assert [value.name for value in model.graph.output] == ["two", "one"]
    assert [list(node.input) for node in model.graph.node] == [["left"], ["right", "one"]]


def test_tensors_to_keep_have_no_namesakes() -> None:
    """The second product is called as the first one would be."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["first"]),
        helper.make_node("Mul", ["first", "x"], ["Mul_0.output0"]),
        helper.make_node("Mul", ["Mul_0.output0", "x"], ["y"]),
    ]
    model = _model(nodes, {}, [1, 2, 1, 8])

    named = canonical(model, keep=["x", "Mul_0.output0", "y"])

    assert [node.output[0] for node in named.graph.node] == ["Mul_1.output0", "Mul_0.output0", "y"]
    np.testing.assert_allclose(_run(named), X**4, rtol=1e-6)
    assert canonical_names(model)["Mul_0.output0"] == "Mul_1.output0"


def test_equal_constants_are_one() -> None:
    values = {"a": np.float32(2), "b": np.float32(2), "c": np.float32(3), "d": np.full(1, 2, np.float32)}
    nodes = [
        helper.make_node("Add", ["x", "a"], ["s"]),
        helper.make_node("Add", ["s", "b"], ["t"]),
        helper.make_node("Add", ["t", "c"], ["u"]),
        helper.make_node("Add", ["u", "d"], ["y"]),
    ]
    model = _model(nodes, values, [1, 2, 1, 8])

    share_constants(model)

    assert [node.input[1] for node in model.graph.node] == ["a", "a", "c", "d"]
    assert len(canonical(model).graph.initializer) == 3
    np.testing.assert_allclose(_run(canonical(model)), X + 9, rtol=1e-6)


def _conv_squeeze_add(bias: Any, output_shape: list[int]) -> Any:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Squeeze", ["c", "axes"], ["s"]),
        helper.make_node("Add", ["s", "b"], ["y"]),
    ]
    return _model(nodes, {"w": KERNEL, "axes": np.array([2]), "b": bias.astype(np.float32)}, output_shape)


@pytest.mark.parametrize("shape", [(1, 3, 1), (3, 1)])
def test_a_bias_behind_a_squeeze_goes_into_the_convolution(shape: tuple[int, ...]) -> None:
    model = _conv_squeeze_add(RANDOM.normal(size=shape), [1, 3, 6])
    expected = _run(model)

    merge_biases(model)

    assert [node.op_type for node in model.graph.node] == ["Conv", "Squeeze"]
    np.testing.assert_allclose(_run(model), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (1, 1, 1), (1, 3, 6)])
def test_what_is_not_one_value_a_channel_stays(shape: tuple[int, ...]) -> None:
    model = _conv_squeeze_add(RANDOM.normal(size=shape), [1, 3, 6])
    before = model.SerializeToString()

    merge_biases(model)

    assert model.SerializeToString() == before


def test_a_convolution_that_is_also_read_elsewhere_keeps_its_output() -> None:
    model = _conv_squeeze_add(RANDOM.normal(size=(3, 1)), [1, 3, 6])
    model.graph.node.append(helper.make_node("Relu", ["s"], ["r"]))
    before = model.SerializeToString()

    merge_biases(model)

    assert model.SerializeToString() == before


def _product_and_bias(left: list[int | str], weights: tuple[int, ...], bias: tuple[int, ...], nodes: Any = ()) -> Any:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, left)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(RANDOM.normal(size=shape).astype(np.float32), name)
            for name, shape in (("w", weights), ("b", bias))
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("bias", [(3,), (1, 3)])
def test_a_bias_goes_into_the_product_of_an_open_batch(bias: tuple[int, ...]) -> None:
    model = _product_and_bias(["batch", 8], (8, 3), bias)
    x = RANDOM.normal(size=(5, 8)).astype(np.float32)
    (expected,) = ReferenceEvaluator(model).run(None, {"x": x})

    merge_biases(model)

    assert [node.op_type for node in model.graph.node] == ["Gemm"]
    np.testing.assert_allclose(ReferenceEvaluator(model).run(None, {"x": x})[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("left", "weights", "bias", "nodes"),
    [
        (["batch", 2, 8], (8, 3), (3,), []),
        (["batch", 8], (2, 8, 3), (3,), []),
        (["batch", 8], (8, 3), (1,), []),
        (["batch", 8], (8, 3), (5, 3), []),
        (["batch", 8], (8, 3), (3,), [helper.make_node("Relu", ["p"], ["r"])]),
    ],
    ids=["three dimensions", "many matrices", "one value", "a value for each row", "read elsewhere"],
)
def test_what_is_no_product_with_a_bias_stays(
    left: list[int | str], weights: tuple[int, ...], bias: tuple[int, ...], nodes: list[Any]
) -> None:
    model = _product_and_bias(left, weights, bias, nodes)
    before = model.SerializeToString()

    merge_biases(model)

    assert model.SerializeToString() == before
