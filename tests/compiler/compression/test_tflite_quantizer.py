"""A small CNN, quantized; its weights lie beside it, so that the answers are computed by numpy alone."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor, read_graph
from edgecc.compiler.backend.tflite_file import builtin_operators, pack, unpack
from edgecc.compiler.compression import tflite_schemes
from edgecc.compiler.compression.tflite_quantizer import activation_names, quantize
from edgecc.compiler.compression.tflite_ranges import statistics
from edgecc.errors import ModelError
from edgecc.variant import Quantization, QuantizeSection

DATA = Path(__file__).parents[2] / "data"
FLOAT = (DATA / "cnn_float32.tflite").read_bytes()
X = np.random.default_rng(1).random((32, 8, 8, 1), dtype=np.float32)
WEIGHTS = dict(np.load(DATA / "cnn_weights.npz"))
ReadGraph = Callable[[bytes], Graph]
STATIC_TYPES = {"int8": "int8", "int16x8": "int16"}


@dataclass(frozen=True)
class Ran:
    values: npt.NDArray[Any]
    names: list[str]
    """Of the input and the output."""
    types: set[str]


def run(content: bytes, x: npt.NDArray[Any] = X) -> Ran:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in x[:, None]:
        interpreter.set_tensor(source["index"], _stored(sample, source))
        interpreter.invoke()
        outputs.append(_real(interpreter.get_tensor(sink["index"]), sink))
    names, types = zip(*((edge["name"], np.dtype(edge["dtype"]).name) for edge in (source, sink)), strict=True)
    return Ran(np.concatenate(outputs), list(names), set(types))


def _stored(x: npt.NDArray[Any], edge: Any) -> npt.NDArray[Any]:
    scale, zero_point = edge["quantization"]
    return x if not scale else np.round(x / scale + zero_point).astype(edge["dtype"])


def _real(y: npt.NDArray[Any], edge: Any) -> npt.NDArray[Any]:
    scale, zero_point = edge["quantization"]
    return y.copy() if not scale else scale * (y.astype(np.float64) - zero_point)


@pytest.fixture
def graph_of(tmp_path: Path) -> Callable[[bytes], Graph]:
    def read(content: bytes) -> Graph:
        (tmp_path / "model").write_bytes(content)
        return read_graph(tmp_path / "model", Format.TFLITE)

    return read


def expected(weights: Mapping[str, npt.NDArray[Any]] = WEIGHTS, x: npt.NDArray[Any] = X) -> npt.NDArray[Any]:
    """The CNN by numpy: a 3 x 3 convolution, ReLU, the mean over the image, a matrix product."""
    windows = np.lib.stride_tricks.sliding_window_view(x[..., 0].astype(np.float64), (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nhwij,ijc->nhwc", windows, weights["kernel"][:, :, 0]) + weights["bias"], 0)
    return np.asarray(features.mean((1, 2)) @ weights["dense"] + weights["dense_bias"])


def sqnr_db(reference: npt.NDArray[Any], actual: npt.NDArray[Any]) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - actual) ** 2).sum()))


def section(scheme: str, **options: Any) -> QuantizeSection:
    return QuantizeSection.model_validate({"scheme": scheme, **options})


NAMES = activation_names(FLOAT)
RANGES = {"image": (0.0, 1.0), NAMES[1]: (0.0, 3.0), NAMES[2]: (0.0, 1.5), NAMES[3]: (-1.0, 1.5)}
"""Wide enough for every value that X gives; checked below."""


def quantized(scheme: str, keep: Collection[str] = (), content: bytes = FLOAT, **options: Any) -> bytes:
    return quantize(content, section(scheme, **options), RANGES, keep)


def tensors(content: bytes) -> dict[str, Any]:
    return {tensor.name.decode(): tensor for tensor in unpack(content).subgraphs[0].tensors}


def values(content: bytes, name: str, dtype: Any) -> npt.NDArray[Any]:
    tensor = tensors(content)[name]
    return np.frombuffer(unpack(content).buffers[tensor.buffer].data, dtype).reshape(tensor.shape)


def inputs_of(graph: Graph, kind: str) -> list[str]:
    (found,) = [operator for operator in graph.operators if operator.kind == kind]
    return [tensor.name for tensor in found.inputs]


def test_the_float_model_and_its_ranges_are_what_these_tests_think() -> None:
    np.testing.assert_allclose(run(FLOAT).values, expected(), rtol=1e-4, atol=1e-5)
    assert RANGES[NAMES[3]][0] < expected().min()
    assert RANGES[NAMES[3]][1] > expected().max()


def test_every_float_activation_is_named_once(graph_of: ReadGraph) -> None:
    graph = graph_of(FLOAT)
    given = [operator.outputs[0].name for operator in graph.operators]
    assert activation_names(FLOAT) == ["image", *given]


@pytest.mark.parametrize(
    ("scheme", "least_db"),
    [("int8", 30.0), ("int16x8", 38.0), ("dynamic", 35.0), ("weight_only", 35.0), ("float16", 60.0)],
)
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_scheme_keeps_the_outputs(scheme: str, least_db: float, per_channel: bool) -> None:
    content = quantized(scheme, per_channel=per_channel)
    ran = run(content)

    assert ran.types == {STATIC_TYPES.get(scheme, "float32")}
    assert sqnr_db(expected(), ran.values) > {"int8": 28, "float16": 60}.get(scheme, 32)


@pytest.mark.parametrize("scheme", STATIC_TYPES)
def test_static_schemes_compute_in_integers_alone(graph_of: ReadGraph, scheme: str) -> None:
    graph = graph_of(quantized(scheme))

    assert set(graph.operator_counts()) == {"CONV_2D", "MEAN", "FULLY_CONNECTED"}
    real = {tensor.dtype for operator in graph.operators for tensor in (*operator.inputs[:2], *operator.outputs)}
    assert real == {"int8", "int32", STATIC_TYPES[scheme]}  # int32 are the axes of the mean


def test_int8_numbers_follow_from_the_ranges_and_the_weights(graph_of: ReadGraph) -> None:
    content = quantized("int8")
    _, kernel, bias = inputs_of(graph_of(FLOAT), "CONV_2D")

    image, output = (tensors(content)[name].quantization for name in ("image", NAMES[3]))
    np.testing.assert_allclose([image.scale[0], output.scale[0]], [1 / 255, 2.5 / 255], rtol=1e-6)
    assert (image.zeroPoint[0], output.zeroPoint[0]) == (-128, round(-128 + 1.0 / (2.5 / 255)))

    channels = WEIGHTS["kernel"][:, :, 0].transpose(2, 0, 1)
    steps = np.abs(channels).max((1, 2)) / 127
    np.testing.assert_allclose(tensors(content)[kernel].quantization.scale, steps, rtol=1e-6)
    integers = np.round(channels / steps[:, None, None])
    np.testing.assert_allclose(values(content, kernel, np.int8)[..., 0], integers, atol=1)
    assert (values(content, kernel, np.int8)[..., 0] == integers).mean() > 0.9
    np.testing.assert_allclose(values(content, bias, np.int32) * steps / 255, WEIGHTS["bias"], atol=steps.max() / 255)


def test_weights_can_share_one_scale(graph_of: ReadGraph) -> None:
    kernel = inputs_of(graph_of(FLOAT), "CONV_2D")[1]
    scales = tensors(quantized("int8", per_channel=False))[kernel].quantization.scale
    np.testing.assert_allclose(scales, [np.abs(WEIGHTS["kernel"]).max() / 127], rtol=1e-6)


@pytest.mark.parametrize("scheme", Quantization)
@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_kept_operator_stays_in_float(graph_of: ReadGraph, scheme: str, index: int) -> None:
    content = quantized(scheme, keep=[NAMES[index]])
    graph = graph_of(content)
    ran = run(content)

    kind = ["CONV_2D", "MEAN", "FULLY_CONNECTED"][index - 1]
    (kept,) = [each for each in graph.operators if each.kind == kind]
    assert {tensor.dtype for tensor in (*kept.inputs, *kept.outputs)} - {"int32"} == {"float32"}
    assert ran.names == [NAMES[0], NAMES[3]]
    assert ran.types == {STATIC_TYPES.get(scheme, "float32")}
    assert sqnr_db(expected(), ran.values) > 30


def test_a_name_that_only_begins_like_another_keeps_nothing() -> None:
    assert quantized("int8", keep=[NAMES[3][:-1], ".*"]) == quantized("int8")


def _with_weights(graph_of: ReadGraph, **changes: npt.NDArray[Any]) -> bytes:
    """The CNN with another kernel (3, 3, 1, 4) or bias (4)."""
    model = unpack(FLOAT)
    _, *names = inputs_of(graph_of(FLOAT), "CONV_2D")
    by_name = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}
    for name, key in zip(names, ("kernel", "bias"), strict=True):
        array = changes.get(key, WEIGHTS[key]).astype(np.float32)
        array = np.ascontiguousarray(array.transpose(3, 0, 1, 2)) if key == "kernel" else array
        model.buffers[by_name[name].buffer].data = array.view(np.uint8).ravel()
    return pack(model)


@pytest.mark.parametrize("scheme", STATIC_TYPES)
@pytest.mark.parametrize("factor", [0.0, 1e-9, 1e-6])
def test_the_bias_of_a_channel_without_weights_is_not_cut_off(graph_of: ReadGraph, scheme: str, factor: float) -> None:
    weights = {
        "kernel": WEIGHTS["kernel"] * np.array([factor, factor, 1, 1], np.float32),
        "bias": np.array([1.0, 0.5, 0.0, 0.1], np.float32),
    }
    ranges = {**RANGES, NAMES[3]: (-2.0, 3.0)}
    content = quantize(_with_weights(graph_of, **weights), section(scheme), ranges, [])
    actual = run(content).values
    assert sqnr_db(expected({**WEIGHTS, **weights}), actual) > 30


@pytest.mark.parametrize("scheme", STATIC_TYPES)
def test_an_activation_that_is_always_zero_does_not_break_what_follows(graph_of: ReadGraph, scheme: str) -> None:
    weights = {"kernel": np.zeros((3, 3, 1, 4)), "bias": -np.ones(4)}
    ranges = {**RANGES, NAMES[1]: (0.0, 0.0), NAMES[2]: (0.0, 0.0)}
    content = quantize(_with_weights(graph_of, **weights), section(scheme), ranges, [])
    actual = run(content).values
    np.testing.assert_allclose(actual, np.tile(WEIGHTS["dense_bias"], (32, 1)), atol=2.5 / 255)


def test_a_range_of_weights_is_wider_only_where_the_bias_needs_it() -> None:
    found = statistics(unpack(FLOAT), RANGES, Quantization.INT8, per_channel=True)
    bounds = [each["max"].ravel() for name, each in found.items() if name not in NAMES]
    expected_bounds = [np.abs(WEIGHTS["kernel"]).max((0, 1, 2)), np.abs(WEIGHTS["dense"]).max(0)]
    for bound, expected_bound in zip(bounds, expected_bounds, strict=True):
        np.testing.assert_allclose(bound, expected_bound)


@pytest.mark.parametrize("scheme", Quantization)
def test_buffers_lie_at_multiples_of_16_bytes(graph_of: ReadGraph, scheme: str) -> None:
    content = quantized(scheme)
    for buffer in unpack(content).buffers:
        if buffer.data is not None and len(buffer.data) >= 16:
            assert content.index(buffer.data.tobytes()) % 16 == 0


def test_large_files_hold_their_buffers_inside() -> None:
    """litert-quantizer puts the buffers of models beyond 256 kB behind the flatbuffer, where old runtimes miss them."""
    model = unpack(FLOAT)
    model.buffers[-1].data = np.zeros(300_000, np.uint8)
    content = pack(model)
    packed = schema.ModelT.InitFromPackedBuf(quantized("float16", content=content))
    assert all(buffer.offset == 0 for buffer in packed.buffers)


SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from edgecc.compiler.compression.tflite_quantizer import quantize
from edgecc.variant import Quantization, QuantizeSection
content, ranges, keep = Path(sys.argv[1]).read_bytes(), json.loads(sys.argv[2]), set(json.loads(sys.argv[3]))
for scheme in Quantization:
    print(hashlib.sha256(quantize(content, QuantizeSection(scheme=scheme), ranges, keep)).hexdigest())
"""


def test_the_same_bytes_in_every_process() -> None:
    keep = [NAMES[2], NAMES[3]]
    arguments = [str(DATA / "cnn_float32.tflite"), json.dumps(RANGES), json.dumps(keep)]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]  # fmt: skip
    here = [hashlib.sha256(quantized(scheme, keep=keep)).hexdigest() for scheme in Quantization]
    assert outputs == [here, here]


def test_an_operator_that_no_integer_kernel_computes_is_named() -> None:
    """The mean becomes a cumulative product of a kind that LiteRT computes in float alone."""
    model = unpack(FLOAT)
    codes = builtin_operators()
    for entry in model.operatorCodes:
        entry.builtinCode = codes["REDUCE_PROD"] if entry.builtinCode == codes["MEAN"] else entry.builtinCode

    with pytest.raises(ModelError) as caught:
        quantized("int8", content=pack(model))

    assert caught.value.message == (
        f"expected a model that int8 can hold; REDUCE_PROD (tensor `{NAMES[2]}`) computes in float"
    )
    assert (
        caught.value.hint == 'keep its layer in float with `keep`, or quantize to "dynamic", "weight_only" or "float16"'
    )
    assert quantized("int8", content=pack(model), keep=[NAMES[2]])


def test_weights_that_stay_in_float_are_named() -> None:
    """A convolution over three dimensions has no int8 weights; only its kind is looked at here."""
    model = unpack(FLOAT)
    codes = builtin_operators()
    for entry in model.operatorCodes:
        entry.builtinCode = codes["CONV_3D"] if entry.builtinCode == codes["CONV_2D"] else entry.builtinCode
    with pytest.raises(ModelError, match=r"dynamic can hold; CONV_3D \(tensor `.*`\) has weights in float32") as caught:
        quantized("dynamic", content=pack(model))
    assert caught.value.hint == 'keep its layer in float with `keep`, or quantize to "float16"'


@pytest.mark.parametrize("scheme", ["dynamic", "weight_only", "float16"])
def test_no_way_is_named_that_leads_to_the_next_refusal(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """A lookup has quantized weights in the static schemes alone."""
    table, ids = Tensor("table", "float32", (9, 4), constant=True), Tensor("ids", "int32", (1,), constant=False)
    rows = Tensor("rows", "float32", (1, 4), constant=False)
    graph = Graph((Operator("GATHER", (table, ids), (rows,)),), (ids,), (rows,))
    monkeypatch.setattr(tflite_schemes, "_graph", lambda _: graph)
    with pytest.raises(ModelError, match=r"GATHER \(tensor `rows`\) has weights in float32") as caught:
        tflite_schemes.require_scheme(b"", b"", Quantization(scheme), ())
    assert caught.value.hint == 'keep its layer in float with `keep`, or quantize to "int8"'
