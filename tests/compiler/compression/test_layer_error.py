from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stnp
from onnx import helper, numpy_helper

from edgecc.compiler.compression import probe as probe_module
from edgecc.compiler.compression.layer_error import Comparison, LayerError, LayerErrors, layer_errors
from edgecc.compiler.compression.probe import Probe
from edgecc.progress import Silent

Floats = npt.NDArray[np.float32]
LAYERS = {"product": "encoder/dense", "hidden": "encoder/dense", "output": "head"}


def _compare(probe: Probe, reference: bytes, quantized: bytes, x: Floats, kept: tuple[str, ...] = ()) -> LayerErrors:
    return layer_errors(probe, reference, quantized, LAYERS, kept, (x,), Silent())


def _by_hand(expected: Floats, actual: Floats) -> tuple[float, float]:
    p, q = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
    return (
        10 * np.log10(np.sum(p**2) / np.sum((p - q) ** 2)),
        float(np.dot(p, q) / np.linalg.norm(p) / np.linalg.norm(q)),
    )


@pytest.mark.parametrize("chunk_bytes", [1, 10_000_000])
def test_sqnr_and_cosine_of_each_layers_last_tensor(
    probe: Probe, two_layers: Any, x: Floats, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    x = x[:7]
    monkeypatch.setattr(probe_module, "CHUNK_BYTES", chunk_bytes)
    other = type(two_layers)(np.round(two_layers.w0 * 8) / 8, two_layers.w1)

    found = _compare(probe, two_layers.onnx(), other.onnx(), x, kept=("head",))

    assert [(row.layer, row.operator, row.kept) for row in found.layers] == [
        ("encoder/dense", "Relu", False), ("head", "MatMul", True),
    ]  # fmt: skip
    for row, name in zip(found.layers, ("hidden", "output"), strict=True):
        assert (row.sqnr_db, row.cosine) == pytest.approx(_by_hand(two_layers(x)[name], other(x)[name]), rel=1e-4)
    assert found.unmeasured == {}


def test_no_error_is_infinite_and_json_still(probe: Probe, two_layers: Any, x: Floats) -> None:
    found = _compare(probe, two_layers.onnx(), two_layers.onnx(), x)
    assert [(row.sqnr_db, row.cosine) for row in found.layers] == [(math.inf, 1.0)] * 2
    rows = json.loads(json.dumps([row.as_json() for row in found.layers], allow_nan=False))
    assert rows[1] == {"layer": "head", "operator": "MatMul", "sqnr_db": None, "cosine": 1.0, "kept": False}


def test_what_cannot_be_told_is_reported(probe: Probe, two_layers: Any, x: Floats) -> None:
    model = onnx.load_model_from_string(two_layers.onnx())
    model.graph.node[1].output[0] = model.graph.node[2].input[0] = "renamed"
    found = _compare(probe, two_layers.onnx(), model.SerializeToString(), x)
    assert [row.layer for row in found.layers] == ["head"]
    assert found.unmeasured == {"encoder/dense": "its tensor is not in the quantized artifact"}

    silent = type(two_layers)(-np.abs(two_layers.w0), two_layers.w1).onnx()
    found = _compare(probe, silent, silent, np.abs(x))
    assert found.layers == ()
    assert found.unmeasured == dict.fromkeys(["encoder/dense", "head"], "its output is zero on every sample")


@pytest.mark.parametrize("kept", [(), ("encoder/dense",)])
def test_in_onnx_the_rounding_behind_a_layer_counts_as_its_own(
    probe: Probe, two_layers: Any, x: Floats, kept: tuple[str, ...]
) -> None:
    model = onnx.load_model_from_string(two_layers.onnx())
    rounding = [
        helper.make_node("QuantizeLinear", ["hidden", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["hidden_rounded"]),
    ]
    model.graph.node[2].input[0] = "hidden_rounded"
    head = model.graph.node.pop()
    model.graph.node.extend([*rounding, head])
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name)
        for name, value in (("scale", np.float32(0.125)), ("zero", np.int8(0)))
    )

    found = _compare(probe, two_layers.onnx(), model.SerializeToString(), x, kept)

    hidden = two_layers(x)["hidden"]
    rounded = np.round(hidden / 0.125).clip(-128, 127) * 0.125
    expected = _by_hand(hidden, rounded)[0] if not kept else math.inf
    assert found.layers[0].sqnr_db == pytest.approx(expected, rel=1e-4)
    assert found.layers[1].sqnr_db == pytest.approx(
        _by_hand(hidden @ two_layers.w1, rounded @ two_layers.w1)[0], rel=1e-4
    )


def test_the_worst_come_first() -> None:
    rows = tuple(LayerError(str(db), "Conv", db, 1.0, kept=False) for db in (30.0, math.inf, 10.0, 20.0))
    assert [row.layer for row in LayerErrors(rows, {}).worst(3)] == ["10.0", "20.0", "30.0"]


ARRAYS = stnp.arrays(np.float32, 12, elements=st.floats(-1e3, 1e3, width=32))


@given(ARRAYS, ARRAYS, st.integers(0, 12))
def test_parts_add_up(x: Floats, q: Floats, cut: int) -> None:
    whole, parts = Comparison(), Comparison()
    whole.add(x, q)
    parts.add(x[:cut], q[:cut])
    parts.add(x[cut:], q[cut:])
    assert (parts.signal, parts.noise, parts.product) == pytest.approx((whole.signal, whole.noise, whole.product))
    if whole.signal and whole.other:
        assert -1 - 1e-9 <= whole.cosine <= 1 + 1e-9


def test_an_output_of_nothing_but_zeros_has_no_direction() -> None:
    comparison = Comparison()
    comparison.add(np.ones(3), np.zeros(3))
    assert (comparison.sqnr_db, comparison.cosine) == (0.0, 0.0)
