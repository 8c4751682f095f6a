"""Small Keras models, the stages run on them, and both runtimes to ask what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest

from edgecc.artifact import Format
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.progress import Silent

Floats = npt.NDArray[np.float32]


class MakeContext(Protocol):
    def __call__(
        self, options: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Path]], run_artifact: Any = None
    ) -> StageContext: ...


@dataclass(frozen=True)
class Emitted:
    path: Path
    metrics: Metrics


class Emit(Protocol):
    def __call__(self, model: Any, format: Format, *, dynamic_batch: bool = False) -> Emitted: ...


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """Contexts of stages, each with an empty output folder of its own."""
    count = iter(range(100))

    def make(
        options: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Path]], run_artifact: Any = None
    ) -> StageContext:
        output_dir = tmp_path / f"output{next(count)}"
        output_dir.mkdir()
        return StageContext(
            options=options,
            inputs=inputs,
            output_dir=output_dir,
            work_dir=tmp_path,
            log_dir=tmp_path,
            project_dir=tmp_path,
            seed=0,
            progress=Silent(),
            run_artifact=run_artifact,
        )

    return make


@pytest.fixture
def keras() -> Any:
    """Keras on TensorFlow, seeded."""
    from edgecc.compiler.session import fresh_keras

    return fresh_keras(0, needed_by="a test")


def samples(model: Any, count: int = 32) -> Floats:
    """Seeded samples that fit the model."""
    return np.random.default_rng(0).normal(size=(count, *model.inputs[0].shape[1:])).astype(np.float32)


@pytest.fixture
def samples_for() -> Callable[..., Floats]:
    return samples


@pytest.fixture
def emit(make_context: MakeContext, tmp_path: Path) -> Emit:
    """Saves a model and runs the emitting stage on it."""
    from edgecc.compiler.backend import onnx, tflite

    stages = {Format.TFLITE: tflite.emit, Format.ONNX: onnx.emit}

    def run(model: Any, format: Format, *, dynamic_batch: bool = False) -> Emitted:
        model.save(tmp_path / "model.keras")
        inputs = {"model": {"model.keras": tmp_path / "model.keras"}}
        context = make_context({"model": {"builder": "models:build"}, "dynamic_batch": dynamic_batch}, inputs)
        metrics = stages[format](context)
        return Emitted(context.output_dir / "artifact", metrics)

    return run


@pytest.fixture
def run_file() -> Callable[[Path, Format, Floats], Floats]:
    """Runs an artifact sample by sample in its runtime; integer inputs and outputs are quantized and dequantized."""

    def run(path: Path, format: Format, x: Floats) -> Floats:
        run_one = _tflite(path) if format is Format.TFLITE else _onnx(path)
        return np.concatenate([run_one(x[index : index + 1]) for index in range(len(x))])

    return run


def _onnx(path: Path) -> Callable[[Floats], Floats]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run(["output"], {"input": x})[0])


def _tflite(path: Path) -> Callable[[Floats], Floats]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    interpreter.allocate_tensors()
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(x: Floats) -> Floats:
        if source["dtype"] != np.float32:
            scale, zero_point = source["quantization"]
            limits = np.iinfo(source["dtype"])
            x = np.clip(np.round(x / scale + zero_point), limits.min, limits.max).astype(source["dtype"])
        interpreter.set_tensor(source["index"], x)
        interpreter.invoke()
        y = interpreter.get_tensor(sink["index"])
        if sink["dtype"] != np.float32:
            scale, zero_point = sink["quantization"]
            y = scale * (y.astype(np.float32) - zero_point)
        return np.asarray(y, dtype=np.float32)

    return run


def _cnn(keras: Any) -> Any:
    """Every kind of layer that batch normalization folds into, a residual addition and a concatenation."""
    layers = keras.layers
    source = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(source)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(8, 3, padding="same")(x)
    x = layers.BatchNormalization(scale=False)(x)
    y = layers.Conv2DTranspose(8, 3, padding="same")(x)
    y = layers.BatchNormalization(center=False)(y)
    x = layers.Add()([x, y])
    x = layers.Concatenate()([x, layers.MaxPooling2D(3, strides=1, padding="same")(x)])
    x = layers.Dense(6)(layers.GlobalAveragePooling2D()(x))
    x = layers.BatchNormalization()(x)
    return keras.Model(source, layers.Dense(4, activation="softmax")(x), name="cnn")


def _cnn_1d(keras: Any) -> Any:
    layers = keras.layers
    stack = [keras.Input((20, 3))]
    for layer in (
        layers.Conv1D(4, 3),
        layers.SeparableConv1D(8, 3),
        layers.DepthwiseConv1D(3),
        layers.Conv1DTranspose(5, 3),
    ):
        stack += [layer, layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([*stack, layers.Flatten(), layers.Dense(3)], name="cnn_1d")


def _nested(keras: Any) -> Any:
    source = keras.Input((10, 10, 3))
    x = keras.layers.BatchNormalization(name="first")(source)
    x = _cnn(keras)(x, training=False)
    return keras.Model(source, keras.layers.Dense(2)(x), name="nested")


def _gelu(keras: Any) -> Any:
    layers = keras.layers
    stack = [keras.Input((8,)), layers.Dense(16, activation="gelu"), layers.Dropout(0.5), layers.Dense(3)]
    return keras.Sequential(stack, name="gelu")


def _recurrent(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential([keras.Input((6, 4)), layers.LSTM(5, unroll=True), layers.Dense(3)], name="recurrent")


_MODELS = {"cnn": _cnn, "cnn_1d": _cnn_1d, "nested": _nested, "gelu": _gelu, "recurrent": _recurrent}


@pytest.fixture
def build(keras: Any) -> Callable[[str], Any]:
    """Builds a model by name, with weights and statistics that are not the initial ones."""

    def build(name: str) -> Any:
        model = _MODELS[name](keras)
        randomize(model)
        return model

    return build


def randomize(model: Any) -> None:
    """Biases and batch statistics start as zeros and ones, which would hide half of what can go wrong."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 2.0, weight.shape))
