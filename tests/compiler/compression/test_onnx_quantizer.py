from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecc.artifact import Format
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.compression.onnx_quantizer import activation_names, quantize
from edgecc.compiler.compression.onnx_schemes import INTEGER_OPERATORS
from edgecc.errors import ModelError
from edgecc.targets.host import run_outputs
from edgecc.variant import QuantizeSection

Floats = npt.NDArray[np.float32]
Ranges = dict[str, tuple[float, float]]

SCHEMES = {
    "int8": QuantizeSection.model_validate({"scheme": "int8"}),
    "int8_per_tensor": QuantizeSection.model_validate({"scheme": "int8", "per_channel": False}),
    "dynamic": QuantizeSection.model_validate({"scheme": "dynamic"}),
    "dynamic_per_tensor": QuantizeSection.model_validate({"scheme": "dynamic", "per_channel": False}),
    "float16": QuantizeSection.model_validate({"scheme": "float16"}),
}
INT8 = SCHEMES["int8"]


def _normal(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _model(
    nodes: list[Any], constants: dict[str, Any], shape: tuple[int, ...], output_shape: tuple[int, ...] | None = None
) -> bytes:
    """A model from `input` to `output`."""
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    sink = helper.make_tensor_value_info("output", TensorProto.FLOAT, output_shape)
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [source], [sink], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


def _node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=f"node of {output}", **attributes)


def _cnn() -> bytes:
    """As the emitter writes it: a layout change at the edge, a depthwise convolution, a residual, two activations."""
    nodes = [
        _node("Transpose", "input", "nchw", perm=[0, 3, 1, 2]),
        _node("Conv", "nchw w1 b1", "conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("Relu", "conv", "relu"),
        _node("Conv", "relu w2 b2", "depthwise", group=16, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        _node("Clip", "depthwise zero six", "relu6"),
        _node("Add", "relu relu6", "sum"),
        _node("GlobalAveragePool", "sum", "pooled"),
        _node("Squeeze", "pooled axes", "squeezed"),
        _node("Gemm", "squeezed w3 b3", "output"),
    ]
    constants = {
        "w1": 0.3 * _normal(1, 16, 3, 3, 3), "b1": 0.1 * _normal(2, 16), "w2": 0.3 * _normal(3, 16, 1, 3, 3),
        "b2": 0.1 * _normal(4, 16), "w3": _normal(5, 16, 10), "b3": _normal(6, 10), "zero": np.float32(0),
        "six": np.float32(6), "axes": np.array([2, 3]),
    }  # fmt: skip
    return _model(nodes, constants, (1, 8, 8, 3), (1, 10))


CNN = _cnn()
X = _normal(0, 64, 8, 8, 3)


def _run(content: bytes, x: Floats, optimized: Path | None = None) -> dict[str, Floats]:
    """Every output of the model, a row a sample."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {"input": x[index : index + 1]}) for index in range(len(x))]
    return {name: np.concatenate([row[index] for row in rows]) for index, name in enumerate(names)}


def _ranges(content: bytes, x: Floats) -> Ranges:
    names = activation_names(content)
    values = _run(expose(content, Format.ONNX, names[1:]), x) | {"input": x}
    return {name: (float(values[name].min()), float(values[name].max())) for name in names}


def _quantized(content: bytes, x: Floats, section: QuantizeSection = INT8, keep: Collection[str] = ()) -> bytes:
    return quantize(content, section, _ranges(content, x), keep)


def _sqnr_db(actual: Floats, expected: Floats) -> float:
    return float(10 * np.log10(np.sum(expected**2) / np.sum((actual - expected) ** 2)))


def _kernels(content: bytes, tmp_path: Path) -> Counter[str]:
    """The operators that ONNX Runtime really runs."""
    shape = [size.dim_value for size in onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim]
    _run(content, np.zeros(shape, np.float32), tmp_path / "optimized.onnx")
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)


def _constants(content: bytes) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(content).graph.initializer}


def _producers(content: bytes) -> dict[str, Any]:
    return {name: node for node in onnx.load_from_string(content).graph.node for name in node.output}


def test_activations_are_the_float_tensors_that_are_computed() -> None:
    assert activation_names(CNN) == [
        "input", "nchw", "conv", "relu", "depthwise", "relu6", "sum", "pooled", "squeezed", "output"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "least_db"),
    [("int8", 34), ("int8_per_tensor", 32), ("dynamic", 36), ("dynamic_per_tensor", 34), ("float16", 60)],
)
def test_a_quantized_model_computes_nearly_the_same(scheme: str, least_db: float) -> None:
    quantized = _quantized(CNN, X, SCHEMES[scheme])

    model = onnx.load_from_string(quantized)
    onnx.checker.check_model(model, full_check=True)
    edges = [*model.graph.input, *model.graph.output]
    assert [value.name for value in edges] == ["input", "output"]
    assert {value.type.tensor_type.elem_type for value in edges} == {TensorProto.FLOAT}
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    assert _sqnr_db(_run(quantized, X)["output"], _run(CNN, X)["output"]) > least_db


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_host_runs_it(scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    path.write_bytes(_quantized(CNN, X, SCHEMES[scheme]))

    outputs = run_outputs(path, Format.ONNX, (X[:4],))

    np.testing.assert_array_equal(outputs.values[0], _run(path.read_bytes(), X[:4])["output"])


def test_convolutions_and_products_run_on_integers(tmp_path: Path) -> None:
    kernels = _kernels(_quantized(CNN, X), tmp_path)

    # What is float are the edges, and the layout change at the input, which goes into the convolution, is gone.
    assert kernels == {
        "QuantizeLinear": 1, "QLinearConv": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "Squeeze": 1,
        "QGemm": 1, "DequantizeLinear": 1, "Transpose": kernels["Transpose"],
    }  # fmt: skip
    assert kernels["Transpose"] <= 1


_I64 = np.int64
_OPERATORS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Add": ("x x", {}, {}),
    "AveragePool": ("x", {"kernel_shape": [2, 2]}, {}),
    "Clip": ("x c d", {}, {"c": np.float32(0), "d": np.float32(6)}),
    "Concat": ("x x", {"axis": 1}, {}),
    "Conv": ("x c", {}, {"c": _normal(1, 4, 4, 1, 1)}),
    "Flatten": ("x", {}, {}),
    "Gather": ("x c", {"axis": 1}, {"c": np.array([0, 2])}),
    "Gemm": ("x2 c", {}, {"c": _normal(1, 64, 3)}),
    "GlobalAveragePool": ("x", {}, {}),
    "LeakyRelu": ("x", {"alpha": 0.1}, {}),
    "MatMul": ("x c", {}, {"c": _normal(1, 4, 3)}),
    "MaxPool": ("x", {"kernel_shape": [2, 2]}, {}),
    "Mul": ("x c", {}, {"c": np.float32(0.5)}),
    "Relu": ("x", {}, {}),
    "Reshape": ("x c", {}, {"c": np.array([1, -1])}),
    "Resize": ("x  c", {"mode": "nearest"}, {"c": np.array([1, 1, 2, 2], np.float32)}),
    "Sigmoid": ("x", {}, {}),
    "Slice": ("x c d", {}, {"c": np.array([0, 1, 0, 0]), "d": np.array([1, 3, 4, 4])}),
    "Softmax": ("x", {}, {}),
    "Split": ("x", {"axis": 1}, {}),
    "Squeeze": ("x c", {}, {"c": np.array([0])}),
    "Transpose": ("x", {"perm": [0, 2, 3, 1]}, {}),
    "Unsqueeze": ("x c", {}, {"c": np.array([0])}),
    "Where": ("c x x", {}, {"c": np.array([True, False, True, False])}),
}


def _single(kind: str) -> bytes:
    """A convolution, the operator, and something behind it."""
    inputs, attributes, constants = _OPERATORS[kind]
    outputs = ["y", "z"] if kind == "Split" else ["y"]
    nodes = [
        _node("Conv", "input w", "x"),
        _node("Flatten", "x", "x2"),
        helper.make_node(kind, inputs.split(" "), outputs, name="it", **attributes),
        _node("Concat", " ".join(outputs * 2), "output", axis=-1),
    ]
    used = nodes if "x2" in inputs else [nodes[0], *nodes[2:]]
    return _model(used, {"w": _normal(0, 4, 4, 1, 1), **constants}, (1, 4, 4, 4))


@pytest.mark.parametrize("kind", sorted(set(INTEGER_OPERATORS) - {"ConvTranspose"}))
def test_what_is_called_an_integer_operator_runs_on_integers(kind: str, tmp_path: Path) -> None:
    content = _single(kind)

    kernels = _kernels(quantize(content, INT8, dict.fromkeys(activation_names(content), (-3.0, 3.0)), ()), tmp_path)

    assert kernels["QuantizeLinear"] == kernels["DequantizeLinear"] == 1


def _gemm(weights: Floats, bias: Floats, rows: int = 1) -> bytes:
    return _model([_node("Gemm", "input w b", "output")], {"w": weights, "b": bias}, (rows, len(weights)))


def test_weights_scales_and_biases_are_what_the_formulas_say() -> None:
    weights, bias = _normal(1, 20, 5) * np.array([0.01, 1, 3, 10, 100], np.float32), _normal(2, 5)
    content = _gemm(weights, bias)

    quantized = quantize(content, INT8, {"input": (-1.0, 3.0), "output": (-9.0, 9.0)}, ())

    constants, producers = _constants(quantized), _producers(quantized)
    node = producers[producers["output"].input[0]]
    gemm = producers[node.input[0]]
    w, scale, zero = (constants[name] for name in producers[gemm.input[1]].input)
    np.testing.assert_allclose(scale, np.abs(weights).max(axis=0) / 127, rtol=1e-6)
    np.testing.assert_array_equal(zero, np.full(5, 128, np.uint8))
    np.testing.assert_array_equal(w, np.round(weights / scale).astype(int) + 128)
    b, bias_scale, bias_zero = (constants[name] for name in producers[gemm.input[2]].input)
    np.testing.assert_allclose(bias_scale, scale * np.float32(4 / 255), rtol=1e-6)
    np.testing.assert_array_equal(bias_zero, np.zeros(5, np.int32))
    np.testing.assert_array_equal(b, np.round(bias.astype(np.float64) / bias_scale).astype(np.int32))


def test_one_scale_a_tensor_where_that_is_asked_for() -> None:
    quantized = quantize(
        _gemm(_normal(1, 20, 5), _normal(2, 5)), SCHEMES["int8_per_tensor"], {"input": (-1, 3), "output": (-9, 9)}, ()
    )
    assert all(value.size == 1 for value in _constants(quantized).values() if value.dtype == np.float32)


@pytest.mark.parametrize("scheme", ["int8", "int8_per_tensor", "dynamic", "dynamic_per_tensor"])
@pytest.mark.parametrize("kind", ["Gemm", "Conv"])
def test_products_of_large_weights_and_activations_do_not_overflow(scheme: str, kind: str) -> None:
    """All at the upper end of their ranges: signed weights give half of the sum on x86 without VNNI."""
    if kind == "Gemm":
        content, x = _gemm(np.ones((64, 8), np.float32), np.zeros(8, np.float32)), np.ones((1, 64), np.float32)
    else:
        nodes = [_node("Conv", "input w", "output", kernel_shape=[3, 3])]
        content = _model(nodes, {"w": np.ones((8, 16, 3, 3), np.float32)}, (1, 16, 6, 6))
        x = np.ones((1, 16, 6, 6), np.float32)

    quantized = quantize(content, SCHEMES[scheme], {"input": (0.0, 1.0), "output": (0.0, 200.0)}, ())

    np.testing.assert_allclose(_run(quantized, x)["output"], _run(content, x)["output"], rtol=0.02)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_product_is_off_by_no_more_than_its_roundings(data: Any) -> None:
    inner, outer, seed = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 9)), data.draw(st.integers(0, 10**6))
    magnitudes = data.draw(st.lists(st.integers(-3, 2), min_size=outer, max_size=outer))
    weights = _normal(seed, inner, outer) * np.float32(10.0) ** np.array(magnitudes, np.float32)
    content, x = _gemm(weights, _normal(seed + 1, outer)), _normal(seed + 2, 8, inner)
    expected = _run(content, x)["output"]

    actual = _run(_quantized(content, x, INT8), x)["output"]

    step_x, step_w = _step(x), np.abs(weights).max(axis=0) / 127
    rounding = 0.5 * (step_x * np.abs(weights).sum(axis=0) + step_w * (np.abs(x) + step_x / 2).sum(axis=1)[:, None])
    # The result and the zero points are rounded too.
    zero_points = 0.5 * step_x * np.abs(weights).sum(axis=0) + 1.5 * _step(expected) + step_x * step_w
    assert np.all(np.abs(actual - expected) <= 1.001 * (rounding + zero_points) + 1e-6)


def _step(values: Floats) -> float:
    return float(max(values.max(), 0) - min(values.min(), 0)) / 255


def test_a_depthwise_convolution_is_no_worse_with_a_scale_for_each_channel() -> None:
    """Its channels differ in size once batch normalization is folded into them; rounded activations limit the gain."""
    sizes = np.logspace(-1, 0, 16, dtype=np.float32)
    weights = _normal(1, 16, 1, 3, 3) * sizes[:, None, None, None]
    nodes = [_node("Conv", "input w", "depthwise", group=16), _node("Conv", "depthwise v", "output")]
    constants = {"w": weights, "v": _normal(2, 4, 16, 1, 1) / sizes[:, None, None]}
    content, x = _model(nodes, constants, (1, 16, 8, 8)), _normal(3, 16, 16, 8, 8)
    expected = _run(content, x)["output"]

    per_channel, per_tensor = (
        _sqnr_db(_run(_quantized(content, x, SCHEMES[scheme]), x)["output"], expected)
        for scheme in ("int8", "int8_per_tensor")
    )

    assert per_channel > max(per_tensor, 25)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_kept_operators_stay_as_they_are(scheme: str) -> None:
    quantized = _quantized(CNN, X, SCHEMES[scheme], keep=("depthwise", "relu6"))

    producers, constants = _producers(quantized), _constants(quantized)
    (convolution,) = [node for node in producers.values() if "w2" in node.input]
    assert convolution.op_type == "Conv"
    np.testing.assert_array_equal(constants["w2"], _constants(CNN)["w2"])
    np.testing.assert_array_equal(constants["b2"], _constants(CNN)["b2"])
    assert not {"w1", "w3"} & {name for name, value in constants.items() if value.dtype == np.float32}
    assert producers["relu6"].op_type in ("Clip", "Cast")  # float16 casts what a kept operator gives


@pytest.mark.parametrize("scheme", ["int8", "dynamic"])
def test_with_all_operators_kept_the_model_is_the_same(scheme: str) -> None:
    quantized = _quantized(CNN, X, SCHEMES[scheme], keep=activation_names(CNN))

    assert np.uint8 not in {value.dtype for value in _constants(quantized).values()}
    np.testing.assert_allclose(_run(quantized, X)["output"], _run(CNN, X)["output"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tensors_of_the_float_model_keep_their_names(scheme: str) -> None:
    names = _producers(_quantized(CNN, X, SCHEMES[scheme]))
    # Where an activation is part of the operator before it, the tensor between the two is gone.
    gone = {"conv", "depthwise"} if scheme.startswith("int8") else set()
    assert set(activation_names(CNN)) - {"input"} - set(names) == gone


def test_weights_that_dynamic_cannot_hold_are_named() -> None:
    content = _model([_node("ConvTranspose", "input w", "output")], {"w": _normal(1, 3, 4, 2, 2)}, (1, 3, 4, 4))
    with pytest.raises(ModelError) as caught:
        quantize(content, SCHEMES["dynamic"], {}, ())

    assert str(caught.value) == (
        "expected a model that dynamic can hold; ConvTranspose (tensor `output`) has weights in float32"
    )
    assert caught.value.hint == 'keep its layer in float with `keep`, or quantize to "int8" or "float16"'
    quantize(content, SCHEMES["dynamic"], {}, ("output",))


def test_a_constant_is_subtracted_in_integers() -> None:
    """As a Normalization layer takes its means away."""
    nodes = [_node("Sub", "input mean", "centred"), _node("Conv", "centred w", "conv"), _node("Relu", "conv", "output")]
    constants = {"mean": _normal(2, 3, 1, 1), "w": _normal(1, 4, 3, 3, 3)}
    content, x = _model(nodes, constants, (1, 3, 8, 8)), _normal(3, 16, 3, 8, 8)

    quantized = _quantized(content, x)

    assert Counter(node.op_type for node in onnx.load_from_string(quantized).graph.node)["Sub"] == 0
    assert _sqnr_db(_run(quantized, x)["output"], _run(content, x)["output"]) > 30


def test_pooling_after_an_operator_in_float_is_quantized() -> None:
    nodes = [_node("Conv", "input w", "conv"), _node("Elu", "conv", "elu"), _node("MaxPool", "elu", "output",
             kernel_shape=[2, 2])]  # fmt: skip
    content, x = _model(nodes, {"w": _normal(1, 4, 3, 3, 3)}, (1, 3, 8, 8)), _normal(3, 16, 3, 8, 8)

    producers = _producers(_quantized(content, x))

    (pooling,) = [node for node in producers.values() if node.op_type == "MaxPool"]
    assert producers[pooling.input[0]].op_type == "DequantizeLinear"


def test_a_transposed_convolution_is_held_in_int8() -> None:
    content = _model([_node("ConvTranspose", "input w", "output")], {"w": _normal(1, 3, 4, 2, 2)}, (1, 3, 4, 4))
    quantized = _quantized(content, _normal(2, 8, 3, 4, 4))
    assert [value.dtype for value in _constants(quantized).values() if value.ndim > 1] == [np.uint8]


def test_weights_beyond_float16_are_named() -> None:
    content = _gemm(np.full((4, 2), 7e4, np.float32), np.zeros(2, np.float32))
    with pytest.raises(ModelError, match=r"expected weights within ±65,504.*Gemm, which gives the tensor `output`"):
        quantize(content, SCHEMES["float16"], {}, ())

    quantize(content, SCHEMES["float16"], {}, ("output",))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_lookup_table_is_held(scheme: str) -> None:
    nodes = [
        _node("Cast", "input", "indices", to=TensorProto.INT32),
        _node("Gather", "table indices", "rows"),
        _node("Flatten", "rows", "flat"),
        _node("Gemm", "flat w", "output"),
    ]
    content = _model(nodes, {"table": _normal(1, 20, 8), "w": _normal(2, 32, 6)}, (1, 4))
    x = np.random.default_rng(0).integers(20, size=(32, 4)).astype(np.float32)

    quantized = _quantized(content, x, SCHEMES[scheme])

    large = {value.dtype for value in _constants(quantized).values() if value.size > 30}
    assert large == {np.dtype(np.float16 if scheme == "float16" else np.uint8)}
    assert _sqnr_db(_run(quantized, x)["output"], _run(content, x)["output"]) > 30


_ACTIVATIONS = {
    "Relu": _node("Relu", "product", "output"),
    "Clip to both": _node("Clip", "product minus plus", "output"),
    "Clip from below": _node("Clip", "product minus", "output"),
    "Clip from above": _node("Clip", "product  plus", "output"),
    "Clip beyond zero": _node("Clip", "product plus three", "output"),
    "Clip to what is computed": _node("Clip", "product low", "output"),
}
_ACTIVATIONS["Clip from above"].input[:] = ["product", "", "plus"]


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_an_activation_limits_its_output_whatever_the_range(name: str) -> None:
    nodes = [_node("Gemm", "input w", "product"), _node("ReduceMean", "input", "low", keepdims=0), _ACTIVATIONS[name]]
    used = nodes if "computed" in name else [nodes[0], nodes[2]]
    constants = {"w": _normal(1, 8, 4), "minus": np.float32(-1), "plus": np.float32(1), "three": np.float32(3)}
    content, x = _model(used, constants, (1, 8)), _normal(2, 32, 8)

    quantized = quantize(content, INT8, dict.fromkeys(activation_names(content), (-10.0, 10.0)), ())

    np.testing.assert_allclose(_run(quantized, x)["output"], _run(content, x)["output"], atol=0.35)


def test_a_softmax_at_the_end_tells_classes_apart_that_one_step_of_int8_would_not() -> None:
    nodes = [_node("Gemm", "input w", "logits"), _node("Softmax", "logits", "output")]
    content = _model(nodes, {"w": 0.03 * _normal(1, 16, 500)}, (1, 16))
    x = _normal(2, 32, 16)

    outputs = _run(_quantized(content, x), x)["output"]

    assert outputs.max() < 1 / 255
    assert min(len(np.unique(row)) for row in outputs) > 50


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_output_may_be_read_inside_and_an_input_may_be_integers(scheme: str) -> None:
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 16]),
        helper.make_tensor_value_info("word", TensorProto.INT32, [1]),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in ("hidden", "output")]
    nodes = [
        _node("Gemm", "input w", "product"),
        _node("Relu", "product", "hidden"),
        _node("Gather", "table word", "row"),
        _node("Add", "hidden row", "sum"),
        _node("Gemm", "sum v", "output"),
    ]
    values = {"w": _normal(1, 16, 8), "table": _normal(2, 20, 8), "v": _normal(3, 8, 8)}
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 17)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    names = activation_names(content)
    assert names == ["input", "product", "hidden", "row", "sum", "output"]

    quantized = quantize(content, SCHEMES[scheme], dict.fromkeys(names, (-12.0, 12.0)), ())

    feed = {"input": 0.5 * _normal(4, 1, 16), "word": np.array([3], np.int32)}
    sessions = [onnxruntime.InferenceSession(each) for each in (content, quantized)]
    for expected, actual in zip(*(session.run(["hidden", "output"], feed) for session in sessions), strict=True):
        assert _sqnr_db(actual, expected) > 25


def test_weights_may_be_shared() -> None:
    """As the steps of an unrolled recurrent layer share them, each with a range of its own."""
    nodes = [
        _node("Gemm", "input w b", "first"),
        _node("Sigmoid", "first", "gate"),
        _node("Gemm", "gate w b", "second"),
        _node("Mul", "second gate", "product"),
        _node("MatMul", "product w", "output"),
    ]
    content = _model(nodes, {"w": _normal(1, 8, 8), "b": _normal(2, 8)}, (1, 8))
    x = _normal(3, 64, 8)

    quantized = _quantized(content, x)

    assert [value.shape for value in _constants(quantized).values() if value.ndim > 1] == [(8, 8)]
    assert _sqnr_db(_run(quantized, x)["output"], _run(content, x)["output"]) > 30


def _digest(scheme: str) -> str:
    return hashlib.sha256(_quantized(CNN, X, SCHEMES[scheme], keep={"relu", "conv", "sum"})).hexdigest()


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_onnx_quantizer import SCHEMES, _digest
_digest("dynamic")
print(*(_digest(scheme) for scheme in SCHEMES))
"""


def test_the_same_bytes_in_every_process() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)}, check=True, capture_output=True, text=True,
        ).stdout.split()
        for hash_seed in (1, 2)
    ]  # fmt: skip

    assert outputs[0] == outputs[1] == [_digest(scheme) for scheme in SCHEMES]
    assert len(set(outputs[0])) == len(SCHEMES)
