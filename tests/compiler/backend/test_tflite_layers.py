"""What `emit_tflite` says about its tensors, and what the quantizer makes of what it emits."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, read_graph
from edgecc.compiler.backend.checks import EDGES, LINEAR, float_operators
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.compression.tflite_quantizer import activation_names, quantize
from edgecc.errors import ModelError
from edgecc.variant import STATIC, Quantization, QuantizeSection

pytestmark = pytest.mark.tf

Build = Callable[[str], Any]
Floats = npt.NDArray[Any]
NAMES = ["cnn", "cnn_1d", "nested", "gelu", "recurrent"]


@dataclass(frozen=True)
class Emitted:
    path: Path
    content: bytes
    layers: dict[str, str]
    x: Floats
    expected: Floats

    @property
    def graph(self) -> Graph:
        return read_graph(self.path, Format.TFLITE)

    def ranges(self) -> dict[str, tuple[float, float]]:
        names = activation_names(self.content)
        inputs = [tensor.name for tensor in self.graph.inputs]
        inner = [name for name in names if name not in inputs]
        interpreter = Interpreter(model_content=expose(self.content, Format.TFLITE, inner))
        interpreter.allocate_tensors()
        seen: dict[str, list[Floats]] = {inputs[0]: [self.x]}
        for sample in self.x[:, None]:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
            interpreter.invoke()
            for sink in interpreter.get_output_details():
                seen.setdefault(sink["name"], []).append(interpreter.get_tensor(sink["index"]).copy())
        return {name: (float(np.min(values)), float(np.max(values))) for name, values in seen.items()}

    def quantized(self, scheme: str, keep: Collection[str] = ()) -> bytes:
        section = QuantizeSection.model_validate({"scheme": scheme})
        return quantize(self.content, section, self.ranges() if section.scheme in STATIC else {}, keep)

    def of(self, layer: str) -> set[str]:
        return {tensor for tensor, path in self.layers.items() if path == layer}


@pytest.fixture
def emitted(emit: Any, samples_for: Any) -> Callable[[Any], Emitted]:
    def run(model: Any) -> Emitted:
        path = emit(model, Format.TFLITE).path
        x = samples_for(model)
        layers = json.loads((path.parent / "layers.json").read_text())
        return Emitted(path, path.read_bytes(), layers, x, np.asarray(model(x, training=False)))

    return run


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], Graph]:
    def read(content: bytes) -> Graph:
        (tmp_path / "quantized").write_bytes(content)
        return read_graph(tmp_path / "quantized", Format.TFLITE)

    return read


def _error(expected: Floats, actual: Floats) -> float:
    """Mean absolute error as a fraction of the range of the expected values."""
    return float(np.abs(expected - actual).mean() / np.ptp(expected))


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_has_a_layer(build: Build, emitted: Any, name: str) -> None:
    model = build(name)
    source = emitted(model)

    assert set(source.layers) == {tensor.name for each in source.graph.operators for tensor in each.outputs}
    paths = {layer.name for layer in model._flatten_layers(include_self=False)}
    assert {part for layer in source.layers.values() for part in layer.split("/")} <= paths
    linear = [each.outputs[0].name for each in source.graph.operators if each.kind in LINEAR]
    weighted = {layer.name for layer in model._flatten_layers(include_self=False) if layer.weights}
    assert {source.layers[tensor].rpartition("/")[2] for tensor in linear} <= weighted


def test_what_is_fused_belongs_to_the_layer_that_computes(keras: Any, emitted: Any) -> None:
    layers = keras.layers
    source = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, padding="same", name="conv")(source))
    x = layers.ReLU(name="relu")(x)
    y = layers.Conv2D(4, 3, padding="same", activation="relu", name="branch")(x)
    x = layers.ReLU(name="sum_relu")(layers.Add(name="sum")([x, y]))
    model = keras.Model(source, layers.Dense(3, activation="softmax", name="top")(layers.Flatten(name="flat")(x)))

    found = emitted(model)

    assert [(each.kind, found.layers[each.outputs[0].name]) for each in found.graph.operators] == [
        ("CONV_2D", "conv"),
        ("CONV_2D", "branch"),
        ("ADD", "sum"),
        ("RESHAPE", "flat"),
        ("FULLY_CONNECTED", "top"),
        ("SOFTMAX", "top"),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_scheme_is_what_it_says(
    build: Build, emitted: Any, run_file: Any, read: Any, tmp_path: Path, name: str
) -> None:
    source = emitted(build(name))
    for scheme in Quantization:
        content = source.quantized(scheme)
        assert content == source.quantized(scheme)
        graph = read(content)

        dtype = {"int8": "int8", "int16x8": "int16"}.get(scheme, "float32")
        assert [tensor.dtype for tensor in (*graph.inputs, *graph.outputs)] == [dtype, dtype]
        if scheme in STATIC:
            assert float_operators(graph) == []
            assert not EDGES & set(graph.operator_counts())
        assert _error(source.expected, run_file(tmp_path / "quantized", Format.TFLITE, source.x)) < 0.03


def test_softmax_has_the_output_scale_of_its_kernel(build: Build, emitted: Any) -> None:
    interpreter = Interpreter(model_content=emitted(build("cnn")).quantized("int8"))
    assert interpreter.get_output_details()[0]["quantization"] == (1 / 256, -128)


def _activation(name: str) -> Callable[[Any], Any]:
    return lambda keras: keras.layers.Activation(name)


INT8_LAYERS: dict[str, Callable[[Any], Any]] = {
    **{name: _activation(name) for name in ("elu", "exponential", "leaky_relu", "selu", "softplus", "softsign")},
    "prelu": lambda keras: keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal"),
    "max": lambda keras: keras.layers.GlobalMaxPooling2D(keepdims=True),
    "nearest": lambda keras: keras.layers.UpSampling2D(),
    "reversed": lambda keras: lambda x: keras.ops.flip(x, axis=1),
}
"""Layers whose operators litert-quantizer leaves in float by itself."""


@pytest.mark.parametrize("name", INT8_LAYERS)
def test_operators_that_the_quantizer_does_not_know_are_integers_too(
    keras: Any, emitted: Any, run_file: Any, read: Any, tmp_path: Path, name: str
) -> None:
    layers = keras.layers
    source = keras.Input((8, 8, 4))
    x = INT8_LAYERS[name](keras)(layers.Conv2D(4, 3, padding="same")(source))
    found = emitted(keras.Model(source, layers.Dense(3)(layers.Flatten()(x))))

    for scheme in STATIC - ({Quantization.INT16X8} if name == "elu" else set()):  # it has no kernel in int16
        graph = read(found.quantized(scheme))
        assert float_operators(graph) == []
        assert set(graph.operator_counts()) - EDGES == set(found.graph.operator_counts())
        assert _error(found.expected, run_file(tmp_path / "quantized", Format.TFLITE, found.x)) < 0.03


def test_float_compute_is_named_and_can_be_kept(
    keras: Any, emitted: Any, run_file: Any, read: Any, tmp_path: Path
) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8,)), layers.Dense(8), layers.LayerNormalization(name="norm"), layers.Dense(2, name="top")]
    )
    source = emitted(model)

    with pytest.raises(ModelError, match=r"int8 can hold; NEG \(tensor `sequential_1/norm_1/Neg`\) computes in float"):
        source.quantized("int8")

    graph = read(source.quantized("int8", source.of("norm")))
    assert {source.layers[each.outputs[0].name] for each in float_operators(graph)} == {"norm"}
    assert [tensor.dtype for tensor in (*graph.inputs, *graph.outputs)] == ["int8", "int8"]
    assert _error(source.expected, run_file(tmp_path / "quantized", Format.TFLITE, source.x)) < 0.03


def test_a_layer_is_kept_wherever_it_stands(
    build: Build, emitted: Any, run_file: Any, read: Any, tmp_path: Path
) -> None:
    source = emitted(build("cnn"))
    for layer in dict.fromkeys(source.layers.values()):
        graph = read(source.quantized("int8", source.of(layer)))
        names = {each.outputs[0].name.removesuffix("_float") for each in float_operators(graph)}
        assert {source.layers[name] for name in names} == {layer}
        assert [tensor.name for tensor in (*graph.inputs, *graph.outputs)] == ["input", "output"]
        assert _error(source.expected, run_file(tmp_path / "quantized", Format.TFLITE, source.x)) < 0.03


def test_three_dimensional_convolutions_have_float16_weights_alone(
    keras: Any, emitted: Any, run_file: Any, tmp_path: Path
) -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 4, 2)), keras.layers.Conv3D(3, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    source = emitted(model)
    for scheme in (each for each in Quantization if each is not Quantization.FLOAT16):
        with pytest.raises(ModelError, match=f"{scheme} can hold; CONV_3D"):
            source.quantized(scheme)
    (tmp_path / "quantized").write_bytes(source.quantized("float16"))
    assert _error(source.expected, run_file(tmp_path / "quantized", Format.TFLITE, source.x)) < 0.001


def test_embeddings_are_lookups_whose_tables_must_shrink(keras: Any, emitted: Any) -> None:
    """In int8 the table is int8; in the other schemes nothing makes it smaller, and that is said."""
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((4,)), layers.Embedding(50, 8, name="words"), layers.Flatten(), layers.Dense(2)]
    )
    source = emitted(model)
    with pytest.raises(ModelError, match=r"float16 can hold; GATHER .* has weights in float32"):
        source.quantized("float16")
    assert source.quantized("float16", source.of("words"))
