from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgecc.artifact import Format
from edgecc.compiler.backend.tflite_file import unpack
from edgecc.compiler.compression.bias_correction import correct_biases, corrected_inputs, mean_values
from edgecc.compiler.compression.probe import Probe
from edgecc.compiler.compression.tflite_quantizer import activation_names, quantize
from edgecc.targets.host import run_outputs
from edgecc.variant import Quantization, QuantizeSection

DATA = Path(__file__).parents[2] / "data"
CNN = (DATA / "cnn_float32.tflite").read_bytes()
NAMES = activation_names(CNN)
RANGES = {"image": (0.0, 1.0), NAMES[1]: (0.0, 3.0), NAMES[2]: (0.0, 1.5), NAMES[3]: (-1.0, 1.5)}
X = np.random.default_rng(1).random((64, 8, 8, 1), dtype=np.float32)


def _section(scheme: str) -> QuantizeSection:
    return QuantizeSection.model_validate({"scheme": scheme})


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(Format.TFLITE, tmp_path, run_outputs)


def test_the_means_are_those_of_the_samples(probe: Probe) -> None:
    names = corrected_inputs(CNN)
    means = mean_values(probe, CNN, names, (X,))

    assert names == [NAMES[0], NAMES[2]]
    weights = dict(np.load(DATA / "cnn_weights.npz"))
    windows = np.lib.stride_tricks.sliding_window_view(X[..., 0].astype(np.float64), (3, 3), axis=(1, 2))
    features = np.maximum(np.einsum("nhwij,ijc->nhwc", windows, weights["kernel"][:, :, 0]) + weights["bias"], 0)
    np.testing.assert_allclose(means[NAMES[0]], X.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(means[NAMES[2]], features.mean(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize(("scheme", "dtype"), [("int8", np.int32), ("int16x8", np.int64)])
def test_a_bias_moves_by_the_error_of_the_weights_times_the_mean_input(scheme: str, dtype: Any) -> None:
    content = quantize(CNN, _section(scheme), RANGES, [])
    means = {NAMES[0]: np.full((8, 8, 1), 0.25), NAMES[2]: np.array([1.0, 0.5, 0.0, 2.0])}

    corrected = correct_biases(CNN, content, means)

    dense = dict(np.load(DATA / "cnn_weights.npz"))["dense"]
    scale = np.abs(dense).max(0) / 127
    shift = (dense - np.round(dense / scale) * scale).T @ means[NAMES[2]]
    steps = shift / (scale * _input_scale(content))
    np.testing.assert_allclose(_dense_bias(corrected, dtype) - _dense_bias(content, dtype), steps, atol=0.6)
    assert np.abs(steps).max() > 5


def _dense(content: bytes) -> tuple[Any, Any]:
    model = unpack(content)
    return model, model.subgraphs[0].operators[-1]


def _input_scale(content: bytes) -> float:
    model, operator = _dense(content)
    return float(model.subgraphs[0].tensors[operator.inputs[0]].quantization.scale[0])


def _dense_bias(content: bytes, dtype: Any) -> npt.NDArray[np.int64]:
    model, operator = _dense(content)
    tensor = model.subgraphs[0].tensors[operator.inputs[2]]
    return np.frombuffer(model.buffers[tensor.buffer].data, dtype).astype(np.int64)


def test_a_kept_operator_is_left_alone() -> None:
    content = quantize(CNN, _section("int8"), RANGES, [NAMES[3]])
    means = {NAMES[0]: np.zeros((8, 8, 1)), NAMES[2]: np.ones(4)}
    assert correct_biases(CNN, content, means) == content


LAYERS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda layers: layers.Conv2D(6, 3),
    "grouped": lambda layers: layers.Conv2D(6, 3, groups=2),
    "depthwise": lambda layers: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "transposed": lambda layers: layers.Conv2DTranspose(6, 2, strides=2),
    "dense": lambda layers: layers.Dense(6),
    "flat": lambda layers: layers.Dense(6),
}


@pytest.mark.tf
@pytest.mark.parametrize("name", LAYERS)
def test_the_mean_error_of_every_channel_goes(name: str, probe: Probe) -> None:
    from edgecc.compiler.session import fresh_keras

    keras = fresh_keras(0, needed_by="a test")
    source = keras.Input((6, 6, 4))
    x = keras.layers.Flatten()(source) if name == "flat" else source
    model = keras.Model(source, LAYERS[name](keras.layers)(x))
    _randomize(model)
    content = _converted(model)
    images = np.random.default_rng(2).random((64, 6, 6, 4), dtype=np.float32)
    expected = np.asarray(model(images))
    inner = (float(expected.min()) - 1, float(expected.max()) + 1)
    ranges = {each: (0.0, 1.0) if each.startswith("input") else inner for each in activation_names(content)}
    ranges |= {corrected_inputs(content)[0]: (0.0, 1.0)}

    quantized = quantize(content, _section(Quantization.INT16X8), ranges, [])
    means = mean_values(probe, content, corrected_inputs(content), (images,))
    before, after = (
        np.abs((_run(each, images) - expected).mean(axis=tuple(range(expected.ndim - 1))))
        for each in (quantized, correct_biases(content, quantized, means))
    )

    assert after.max() < 0.1 * before.max()


def _randomize(model: Any) -> None:
    random = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))


def _converted(model: Any) -> bytes:
    from edgecc.compiler.backend.emission import Source
    from edgecc.compiler.backend.fold import FoldedModel
    from edgecc.compiler.backend.freeze import freeze
    from edgecc.compiler.backend.tflite import _convert

    return _convert(Source(FoldedModel(model, (), {}), freeze(model)))


def _run(content: bytes, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for sample in x[:, None]:
        interpreter.set_tensor(source["index"], np.round(sample / source["quantization"][0]).astype(np.int16))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(sink["index"]) * sink["quantization"][0])
    return np.concatenate(outputs)
