from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.backend.prefixes import count_steps, prefixes
from edgecc.compiler.backend.tflite_file import kinds_of, unpack

DATA = Path(__file__).parents[2] / "data"


def run(content: bytes, sample: Any) -> list[Any]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def kinds(content: bytes) -> list[str]:
    model = unpack(content)
    return [kinds_of(model)[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def sample_of(name: str) -> Any:
    random = np.random.default_rng(0)
    return {
        "cnn_float32": random.random((1, 8, 8, 1), dtype=np.float32),
        "cnn_int8": random.integers(-128, 128, (1, 8, 8, 1), dtype=np.int8),
    }[name]


@pytest.mark.parametrize("name", ["cnn_float32", "cnn_int8"])
def test_each_prefix_computes_what_the_model_does_up_to_there(name: str) -> None:
    content, sample = (DATA / f"{name}.tflite").read_bytes(), sample_of(name)
    main = unpack(content).subgraphs[0]
    inner = [main.tensors[operator.outputs[0]].name.decode() for operator in main.operators]
    final, *others = run(expose(content, Format.TFLITE, inner), sample)

    cuts = list(prefixes(content))

    assert count_steps(content) == len(cuts) == 3
    assert [kinds(cut) for cut in cuts] == [kinds(content)[:count] for count in (1, 2, 3)]
    for cut, expected in zip(cuts, [*others, final], strict=True):
        (given,) = run(cut, sample)
        np.testing.assert_array_equal(given, expected)


def test_cuts_hold_no_constant_that_they_do_not_read() -> None:
    content = (DATA / "cnn_float32.tflite").read_bytes()
    first, *_, last = prefixes(content)
    held = [sum(len(buffer.data) for buffer in unpack(cut).buffers if buffer.data is not None) for cut in (first, last)]
    assert held[1] - held[0] >= 4 * (4 * 4 + 4)  # the dense layer's


def test_what_a_later_operator_or_the_model_gives_back_stays_an_output() -> None:
    content, sample = (DATA / "cnn_float32.tflite").read_bytes(), sample_of("cnn_float32")
    main = unpack(content).subgraphs[0]
    convolution = main.tensors[main.operators[0].outputs[0]].name.decode()
    branching = expose(content, Format.TFLITE, [convolution])  # the convolution is read, and an output too

    cuts = [run(cut, sample) for cut in prefixes(branching)]

    assert [len(outputs) for outputs in cuts] == [1, 2, 2]
    for outputs in cuts:
        assert outputs[0].shape == (1, 6, 6, 4)
        np.testing.assert_array_equal(outputs[0], cuts[0][0])


@pytest.mark.tf
def test_weights_that_are_dequantized_come_in_with_their_operator() -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(32, activation="tanh"), keras.layers.Dense(8)]
    model = keras.Sequential([keras.Input((16,), batch_size=1), *layers])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    assert "DEQUANTIZE" in kinds(content)
    sample = np.random.default_rng(0).random((1, 16), dtype=np.float32)

    cuts = list(prefixes(content))

    assert len(cuts) == count_steps(content) == sum(kind != "DEQUANTIZE" for kind in kinds(content))
    assert kinds(cuts[0]).count("DEQUANTIZE") < kinds(content).count("DEQUANTIZE")
    assert all(len(run(cut, sample)) == 1 for cut in cuts)
    np.testing.assert_array_equal(run(cuts[-1], sample)[0], run(content, sample)[0])
