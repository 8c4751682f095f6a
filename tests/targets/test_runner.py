from __future__ import annotations

import ast
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from edgecc.files import sha256_of_file
from edgecc.targets import agent, arm64_qemu, runner
from edgecc.targets.arm64 import runs
from edgecc.targets.arrays import read_outputs, write_inputs
from edgecc.targets.child import run_in_child
from edgecc.targets.wire import (
    Beside,
    InstructionsTask,
    LatencyTask,
    OutputsTask,
    RunReply,
    RunRequest,
    RuntimeSettings,
)

Array = npt.NDArray[Any]
Answer = Callable[[RunRequest], RunReply]


@pytest.fixture
def answer() -> Answer:
    """The runner's answer, over JSON as on the wire, but in this process."""

    def run(request: RunRequest) -> RunReply:
        return RunReply.model_validate_json(json.dumps(runner.answer(json.loads(request.model_dump_json()))))

    return run


def refusal(reply: RunReply) -> str:
    assert reply.failure is not None
    assert reply.failure.kind == "refused"
    assert reply.environment is None
    return reply.failure.message


# The file itself


def test_it_is_python_3_9_and_starts_with_numpy_alone() -> None:
    tree = ast.parse(Path(runner.__file__).read_text(), feature_version=(3, 9))
    assert _foreign_packages(tree.body) == {"numpy"}
    assert _foreign_packages(ast.walk(tree)) == {"numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime"}


def _foreign_packages(nodes: Iterable[ast.AST]) -> set[str]:
    nodes = list(nodes)
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


@pytest.mark.parametrize(
    "command",
    [
        ["-c", runs.DESCRIBE, "/dev/full"],
        ["-c", arm64_qemu.DESCRIBE, "request.json", "/dev/full"],
        ["-c", agent.DESCRIBE, runner.__file__, "/dev/full"],
    ],
)
def test_a_description_that_does_not_fit_on_the_disk(command: Sequence[str]) -> None:
    path = {"PYTHONPATH": str(Path(runner.__file__).parent)}
    ended = subprocess.run([sys.executable, *command], env=path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "OSError: [Errno 28] No space left on device"


# Outputs


def test_outputs_of_onnx_are_those_of_the_matrix_product(
    answer: Answer, make_request: Any, linear: Any, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    reply = answer(make_request(linear.path, OutputsTask(), inputs=x))
    assert reply.failure is None
    assert reply.inputs[0].shape == (-1, 3)
    assert (reply.outputs[0].name, reply.outputs[0].dtype) == ("y", "float32")
    outputs = np.load(tmp_path / "outputs.npy")
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, linear(x), rtol=1e-6)


def test_outputs_of_a_float_tflite_are_those_of_numpy(
    answer: Answer, make_request: Any, cnn_float32: Path, images: Array, cnn_answers: Array, tmp_path: Path
) -> None:
    reply = answer(make_request(cnn_float32, OutputsTask(), inputs=images))
    assert reply.failure is None
    assert reply.inputs[0].shape == (-1, 8, 8, 1)
    assert reply.inputs[0].scale == ()
    np.testing.assert_allclose(np.load(tmp_path / "outputs.npy"), cnn_answers, rtol=1e-4, atol=1e-5)


def test_outputs_of_an_int8_tflite_are_raw_and_near_the_float_ones(
    answer: Answer, make_request: Any, cnn_int8: Path, images: Array, cnn_answers: Array, tmp_path: Path
) -> None:
    reply = answer(make_request(cnn_int8, OutputsTask(), inputs=images))
    assert reply.failure is None
    raw = np.load(tmp_path / "outputs.npy")
    spec = reply.outputs[0]
    assert raw.dtype == np.int8
    assert raw.shape == (20, 4)
    real = spec.scale[0] * (raw.astype(float) - spec.zero_point[0])
    assert np.abs(real - cnn_answers).max() < 0.05
    assert np.corrcoef(real.ravel(), cnn_answers.ravel())[0, 1] > 0.99


def test_real_samples_are_quantized_as_the_interpreter_would_be_given_them(
    answer: Answer, make_request: Any, cnn_int8: Path, images: Array, tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    answer(make_request(cnn_int8, OutputsTask(), inputs=images))
    interpreter = Interpreter(str(cnn_int8))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = taken["quantization"]
    for image, row in zip(images, np.load(tmp_path / "outputs.npy"), strict=True):
        quantized = [round(float(value) / scale) + zero_point for value in image.ravel()]
        interpreter.set_tensor(taken["index"], np.clip(quantized, -128, 127).astype(np.int8).reshape(1, 8, 8, 1))
        interpreter.invoke()
        np.testing.assert_array_equal(interpreter.get_tensor(given["index"])[0], row)


def test_samples_of_another_shape_are_refused_with_both_shapes(
    answer: Answer, make_request: Any, cnn_float32: Path, linear: Any
) -> None:
    message = refusal(answer(make_request(cnn_float32, OutputsTask(), inputs=np.zeros((3, 28, 28, 1)))))
    assert message == "input `image` takes shape (open, 8, 8, 1); got (1, 28, 28, 1)"
    message = refusal(answer(make_request(linear.path, OutputsTask(), inputs=np.zeros((3, 3, 1)))))
    assert message == "input `x` takes shape (open, 3); got (1, 3, 1)"


def test_no_samples_are_refused(answer: Answer, make_request: Any, linear: Any) -> None:
    assert "(0, 3)" in refusal(answer(make_request(linear.path, OutputsTask(), inputs=np.zeros((0, 3)))))


# Quantization


def int8_spec(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "int8", "scale": [0.5], "zero_point": [3], "quantized_dimension": 0, **changes}


def test_ties_go_to_the_even_side_before_the_zero_point_and_the_rest_is_clipped() -> None:
    x = np.array([[0.25, 0.75, 1.25, -0.25, -0.75, 0.3, 1e6, -1e6, np.inf]], np.float32)
    assert runner.encode(x, int8_spec()).tolist() == [[3, 5, 5, 3, 1, 4, 127, -128, 127]]
    assert runner.encode(x, int8_spec()).dtype == np.int8


def test_scales_along_a_dimension() -> None:
    spec = int8_spec(dtype="uint8", scale=[1.0, 0.1], zero_point=[0, 128], quantized_dimension=1)
    assert runner.encode(np.array([[7.0, -1.0]]), spec).tolist() == [[7, 118]]


def test_an_integer_input_takes_whole_numbers_alone() -> None:
    spec = int8_spec(dtype="int64", scale=[], zero_point=[])
    assert runner.encode(np.array([[2.0, -1.0]]), spec).tolist() == [[2, -1]]
    with pytest.raises(runner.Refusal, match="takes int64"):
        runner.encode(np.array([[2.5]]), spec)


def test_what_is_not_a_number_is_not_quantized() -> None:
    with pytest.raises(runner.Refusal, match="cannot"):
        runner.encode(np.array([[np.nan]]), int8_spec())


# Latency


def test_latency_gives_every_raw_value(answer: Answer, make_request: Any, cnn_int8: Path) -> None:
    reply = answer(make_request(cnn_int8, LatencyTask(inferences=70)))
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 70
    assert all(latency_s > 0 for latency_s in reply.process.latencies_s)
    assert reply.process.warmups >= 2 * runner.WARMUP_BLOCK_INFERENCES
    assert 0 < reply.process.load_warm_s < 60
    assert reply.environment is not None
    assert reply.environment.runtimes["litert"] == reply.runtime_version


def test_latency_goes_round_the_samples(answer: Answer, make_request: Any, linear: Any) -> None:
    reply = answer(make_request(linear.path, LatencyTask(inferences=10), inputs=np.ones((3, 3))))
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 10
    bad = np.ones((3, 4))
    assert "(1, 4)" in refusal(answer(make_request(linear.path, LatencyTask(inferences=10), inputs=bad)))


def test_open_dimensions_take_the_shapes_of_the_request(answer: Answer, make_request: Any, make_onnx: Any) -> None:
    path = make_onnx(
        [helper.make_node("Mul", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT, ["n", "time", 2]), "b": (TensorProto.FLOAT, ["n", 1, 2])},
        {"y": (TensorProto.FLOAT, ["n", "time", 2])},
        {},
    )
    task = LatencyTask(inferences=1)
    message = refusal(answer(make_request(path, task)))
    assert message == "input `a` has open dimensions, (open, open, 2), and no shape was given for it"
    assert "2 inputs; got 1" in refusal(answer(make_request(path, task, shapes=((1, 5, 2),))))
    assert "got (1, 5, 3)" in refusal(answer(make_request(path, task, shapes=((1, 5, 3), (1, 1, 2)))))
    assert answer(make_request(path, task, shapes=((1, 5, 2), (1, 1, 2)))).process is not None
    assert "one input" in refusal(answer(make_request(path, task, inputs=np.ones((1, 5, 2)))))


def test_open_sizes_of_tflite_take_the_shapes_of_the_request(
    answer: Answer, make_request: Any, images: Any, cnn_answers: Any, tmp_path: Path
) -> None:
    artifact = Path(__file__).parents[1] / "data" / "cnn_open.tflite"
    timed = answer(make_request(artifact, LatencyTask(inferences=3), shapes=((1, 12, 12, 1),)))
    assert timed.process is not None
    np.save(tmp_path / "x.npy", images)
    paths = {"inputs_path": str(tmp_path / "x.npy"), "outputs_path": str(tmp_path / "y.npy")}
    assert answer(make_request(artifact, OutputsTask(), **paths)).failure is None
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), cnn_answers, atol=1e-5)
    refused = answer(make_request(artifact, LatencyTask(inferences=3)))
    assert refused.failure is not None
    assert "has open dimensions, (1, open, open, 1)" in refused.failure.message


def test_an_open_batch_of_tflite_is_resized(answer: Answer, make_request: Any, cnn_float32: Path) -> None:
    reply = answer(make_request(cnn_float32, LatencyTask(inferences=1), shapes=((3, 8, 8, 1),)))
    assert reply.process is not None


# Settings, and what really ran


@pytest.mark.parametrize(
    ("xnnpack", "operators"),
    [(None, {"xnnpack": 3, "builtin": 0}), (True, {"xnnpack": 3, "builtin": 0}), (False, {"xnnpack": 0, "builtin": 3})],
)
def test_it_tells_what_xnnpack_took(
    xnnpack: bool | None, operators: dict[str, int], answer: Answer, make_request: Any, cnn_int8: Path
) -> None:
    reply = answer(with_settings(make_request(cnn_int8, LatencyTask(inferences=1)), xnnpack=xnnpack))
    assert reply.failure is None
    assert dict(reply.operators) == operators


def test_open_dimensions_are_given_to_xnnpack_as_well(answer: Answer, make_request: Any, cnn_float32: Path) -> None:
    request = make_request(cnn_float32.with_name("cnn_open.tflite"), LatencyTask(inferences=1), shapes=((1, 6, 9, 1),))
    reply = answer(with_settings(request, xnnpack=True))
    assert reply.operators["xnnpack"] > 0


def test_xnnpack_that_takes_nothing_is_no_xnnpack(
    answer: Answer, make_request: Any, cnn_int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = runner.LiteRt.module().Interpreter
    listed = interpreter._get_ops_details
    monkeypatch.setattr(
        interpreter, "_get_ops_details", lambda self: [node for node in listed(self) if node["op_name"] != "DELEGATE"]
    )
    request = make_request(cnn_int8, LatencyTask(inferences=1))
    assert answer(request).operators == {"xnnpack": 0, "builtin": 3}  # left to the runtime, which may put none there
    message = refusal(answer(with_settings(request, xnnpack=True)))
    assert message == "expected XNNPACK to take operators; it takes none of the 3"


def test_what_a_delegate_took_is_told_from_what_lies_around_it() -> None:
    # a -> b -> c, of which the delegate took b; d is read by nobody.
    nodes = [node(0, [0], [1]), node(1, [1], [2]), node(2, [2, -1], [3]), node(3, [2], [4]), node(4, [1], [2])]
    assert runner._needed(nodes[:4], [3]) == {0, 1, 2}
    assert runner._needed(nodes, [3]) == {0, 2, 4}


def test_it_tells_which_provider_ran_what(answer: Answer, make_request: Any, linear: Any) -> None:
    reply = answer(make_request(linear.path, LatencyTask(inferences=1)))
    assert dict(reply.operators) == {"CPUExecutionProvider": 1}


@pytest.mark.parametrize(
    ("ran", "message"),
    [
        (
            [("FastProvider", []), ("CPUExecutionProvider", ["Gemm", "Relu"])],
            "expected FastProvider to take operators; it takes none of the 2",
        ),
        (
            [("FastProvider", ["Gemm"]), ("CPUExecutionProvider", ["Shape", "Gather", "Shape"])],
            "expected every operator on FastProvider; CPUExecutionProvider runs Gather, Shape",
        ),
    ],
    ids=["none", "not all"],
)
def test_a_provider_that_fell_back_is_a_failure(
    ran: list[tuple[str, list[str]]],
    message: str,
    answer: Answer,
    make_request: Any,
    linear: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_provider(monkeypatch, "FastProvider", ran)
    request = with_settings(make_request(linear.path, LatencyTask(inferences=1)), providers=("FastProvider",))
    assert refusal(answer(request)) == message


def test_a_provider_may_leave_operators_to_another_that_is_named(
    answer: Answer, make_request: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_provider(
        monkeypatch, "FastProvider", [("FastProvider", ["Gemm"]), ("CPUExecutionProvider", ["Shape", "Gather"])]
    )
    providers = ("FastProvider", "CPUExecutionProvider")
    reply = answer(with_settings(make_request(linear.path, LatencyTask(inferences=1)), providers=providers))
    assert dict(reply.operators) == {"FastProvider": 1, "CPUExecutionProvider": 2}


def test_a_provider_that_is_not_built_in_is_refused(answer: Answer, make_request: Any, linear: Any) -> None:
    request = with_settings(make_request(linear.path, LatencyTask(inferences=1)), providers=("CUDAExecutionProvider",))
    assert refusal(answer(request)).startswith("expected ONNX Runtime with CUDAExecutionProvider; this one has ")


def test_an_old_onnx_runtime_does_not_tell_and_is_not_believed(
    answer: Answer, make_request: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    kinds = onnxruntime.InferenceSession.__mro__
    with_provider(monkeypatch, "FastProvider", [])
    for kind in kinds:
        monkeypatch.delattr(kind, "get_provider_graph_assignment_info", raising=False)
    request = make_request(linear.path, LatencyTask(inferences=1))
    assert answer(request).operators == {}
    assert refusal(answer(with_settings(request, providers=("FastProvider",)))).endswith("this one is too old")


def with_settings(request: RunRequest, **settings: Any) -> RunRequest:
    return request.model_copy(update={"settings": RuntimeSettings(**settings)})


def node(index: int, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"index": index, "inputs": inputs, "outputs": outputs}


def with_provider(monkeypatch: pytest.MonkeyPatch, name: str, ran: list[tuple[str, list[str]]]) -> None:
    """Let ONNX Runtime, which runs on the CPU, tell of another provider too, and of who ran what."""
    import onnxruntime

    make_session = onnxruntime.InferenceSession
    names = [name, "CPUExecutionProvider"]
    nodes = [(provider, [SimpleNamespace(op_type=kind) for kind in kinds]) for provider, kinds in ran]
    parts = [SimpleNamespace(ep_name=provider, get_nodes=lambda own=own: own) for provider, own in nodes]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(make_session, "get_providers", lambda self: names)
    monkeypatch.setattr(make_session, "get_provider_graph_assignment_info", lambda self: parts)

    def on_the_cpu(*args: Any, providers: list[str], **keys: Any) -> Any:
        return make_session(*args, providers=["CPUExecutionProvider"], **keys)

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)


@pytest.mark.parametrize(("is_cold", "fills"), [(False, 0), (True, 2 + 12)])
def test_cold_caches_are_filled_before_each_timed_inference_and_twice_to_time_that(
    is_cold: bool, fills: int, answer: Answer, make_request: Any, cnn_int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled: list[int] = []

    def fill(self: runner._Caches) -> None:
        filled.append(self._data.nbytes)

    monkeypatch.setattr(runner, "_largest_cache_bytes", lambda: 1000)
    monkeypatch.setattr(runner._Caches, "fill", fill)
    reply = answer(make_request(cnn_int8, LatencyTask(inferences=12, loads=3, cold_caches=is_cold)))
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 12
    assert filled == [2000] * fills


def test_filling_the_caches_touches_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_largest_cache_bytes", lambda: 500)
    caches = runner._Caches()
    caches.fill()
    assert caches._data.tolist() == [3] * 1000  # twice when it was made


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"cpu0/cache/index0": "32K", "cpu4/cache/index2": "512K"}, 512 * 1024),
        ({"cpu0/cache/index0": "odd"}, runner.UNTOLD_CACHE_BYTES),
    ],
)
def test_the_largest_cache_is_linux_own(
    sizes: dict[str, str], expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, size in sizes.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "size").write_text(f"{size}\n")
    monkeypatch.setattr(runner, "CPUS", tmp_path)
    assert runner._largest_cache_bytes() == expected


def test_qemus_user_mode_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QEMU_CPU", raising=False)
    assert not runner.describe_environment()["emulated"]
    monkeypatch.setenv("QEMU_CPU", "cortex-a72")
    assert runner.describe_environment()["emulated"]


def test_batches_are_stacked_of_single_samples(answer: Answer, make_request: Any, linear: Any) -> None:
    request = make_request(linear.path, LatencyTask(inferences=1), shapes=((4, 3),))
    message = refusal(answer(with_settings(request, batch_size=8)))
    assert message == "expected shapes of one sample, of which 8 are stacked; got [[4, 3]]"


def test_random_indices_stay_inside_any_table(answer: Answer, make_request: Any, make_onnx: Any) -> None:
    path = make_onnx(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        {"ids": (TensorProto.INT64, [1, 50])},
        {"y": (TensorProto.FLOAT, [1, 50, 4])},
        {"table": np.zeros((2, 4), np.float32)},
    )
    assert answer(make_request(path, LatencyTask(inferences=2))).process is not None


# Several inputs

LEFT = np.arange(8, dtype=np.float32).reshape(4, 2)
RIGHT = np.linspace(-1, 1, 8, dtype=np.float64).reshape(4, 2)


@pytest.mark.parametrize("names", [("left", "right"), ("1", "0")], ids=["by name", "by position"])
def test_several_inputs_are_matched(names: tuple[str, str], answer: Answer, make_request: Any, mixer: Path) -> None:
    inputs = dict(zip(names, (LEFT.T.copy().T, RIGHT), strict=True))  # one of them in Fortran order
    request = make_request(mixer, OutputsTask(), inputs=inputs)
    reply = answer(request)
    assert reply.failure is None
    total, product = read_outputs(Path(request.outputs_path))
    np.testing.assert_allclose(total, LEFT + RIGHT, rtol=1e-6)
    np.testing.assert_allclose(product[:, 0], (LEFT * RIGHT).sum(1), rtol=1e-5)
    timed = answer(make_request(mixer, LatencyTask(inferences=9), inputs=inputs))
    assert timed.process is not None
    assert len(timed.process.latencies_s) == 9


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"left": LEFT, "wrong": RIGHT}, "expected samples for the inputs right, left; got left, wrong"),
        ({"left": LEFT, "right": RIGHT, "more": RIGHT}, "got left, right, more"),
        ({"left": LEFT, "right": RIGHT[:3]}, "expected samples of shape (n, ...); got (3, 2), (4, 2)"),
        ({"left": LEFT, "right": RIGHT[:, :1]}, "input `right` takes shape (open, 2); got (1, 1)"),
        (LEFT, "samples of one input fit a model with one input; this one has 2"),
    ],
)
def test_several_inputs_that_do_not_fit_are_refused(
    inputs: Any, message: str, answer: Answer, make_request: Any, mixer: Path
) -> None:
    assert message in refusal(answer(make_request(mixer, OutputsTask(), inputs=inputs)))


def test_an_array_that_cannot_be_read_row_by_row_is_refused(
    answer: Answer, make_request: Any, mixer: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", left=np.asfortranarray(LEFT), right=RIGHT)
    message = refusal(answer(make_request(mixer, OutputsTask(), inputs_path=str(tmp_path / "x.npz"))))
    assert message == "expected samples of shape (n, ...) in C order; got float32 of shape (4, 2)"


def test_samples_of_several_inputs_are_read_one_by_one(tmp_path: Path) -> None:
    write_inputs(tmp_path / "x", {"a": LEFT, "b": RIGHT})
    columns = runner._read_columns(str(tmp_path / "x"))
    shape, rows = columns["b"]
    assert shape == (4, 2)
    assert isinstance(rows, Iterator)
    np.testing.assert_array_equal(next(rows), RIGHT[0])
    np.testing.assert_array_equal(list(columns["a"][1]), LEFT)
    np.testing.assert_array_equal(list(rows), RIGHT[1:])


class ScriptedModel:
    """Each inference takes as long as the script says; the last entry goes on for ever."""

    def __init__(self, durations_s: Sequence[float]) -> None:
        self.now_s = 0.0
        self.runs = 0
        self._durations_s = durations_s

    def infer(self, feed: Sequence[Array]) -> list[Array]:
        self.now_s += self._durations_s[min(self.runs, len(self._durations_s) - 1)]
        self.runs += 1
        return []


@pytest.mark.parametrize(
    ("durations_s", "warmups"),
    [
        ([2**-6], 2 * 4),  # 4/64 s are the first multiple above 50 ms
        ([0.25], 2 * 3),  # at least 3 a block
        ([2**-5] * 3 + [2**-6], 3 + 2 * 4),  # the first block is slow: a third is needed
        ([2.0**power for power in range(-6, 6)], 9),  # never settles: whole blocks until 3 s are over
    ],
)
def test_warm_up_ends_when_two_blocks_agree(
    durations_s: list[float], warmups: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model: Any = ScriptedModel(durations_s)
    monkeypatch.setattr(time, "perf_counter", lambda: model.now_s)
    count, median_s = runner._warm_up(model, [])
    assert count == model.runs == warmups
    assert median_s == durations_s[min(warmups, len(durations_s)) - (2 if warmups == 9 else 1)]  # of the last block
    assert ("no two blocks" in capsys.readouterr().err) == (warmups == 9)


@pytest.mark.parametrize(
    ("median_s", "enough_s", "timed"), [(0.001, 0.5, 40), (0.02, 0.5, 25), (2.0, 0.5, 10), (2.0, None, 40)]
)
def test_a_slow_model_is_timed_less_often_where_that_is_enough(
    median_s: float, enough_s: float | None, timed: int, answer: Answer, make_request: Any, linear: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(runner, "_warm_up", lambda model, feed: (0, median_s))
    reply = answer(make_request(linear.path, LatencyTask(inferences=40, enough_s=enough_s)))
    assert reply.process is not None
    assert len(reply.process.latencies_s) == timed


def test_instructions_are_read_from_a_clock_that_counts_them(
    answer: Answer, make_request: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the clock takes 40 instructions, each inference 1,000 more."""
    now = 0

    def look() -> int:
        nonlocal now
        now += 40
        return now

    def infer(self: Any, feed: Any) -> list[Any]:
        nonlocal now
        now += 1000
        return []

    monkeypatch.setattr(time, "perf_counter_ns", look)
    monkeypatch.setattr(runner.OnnxRuntime, "infer", infer)
    reply = answer(make_request(linear.path, InstructionsTask(inferences=3, counter="clock")))
    assert reply.instructions == (1000, 1000, 1000)


def test_the_runner_reads_and_writes_files_where_it_is_told(make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    request, reply = tmp_path / "request.json", tmp_path / "reply.json"
    request.write_text(make_request(cnn_int8, LatencyTask(inferences=3)).model_dump_json())
    subprocess.run([sys.executable, "-P", runner.__file__, request, reply], check=True, stdin=subprocess.DEVNULL)
    process = RunReply.model_validate_json(reply.read_bytes()).process
    assert process is not None
    assert len(process.latencies_s) == 3


@pytest.mark.parametrize(
    ("inferences", "loads", "room", "shares"),
    [(40, 1, 1e9, [40]), (41, 4, 1e9, [10, 10, 10, 11]), (3, 5, 1e9, [1, 1, 1]), (40, 5, 0, [40])],
)
def test_inferences_are_spread_over_loads_that_all_stay(
    inferences: int, loads: int, room: float, shares: list[int], answer: Answer, make_request: Any, linear: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    timed: list[object] = []
    time_one = runner._time_one
    monkeypatch.setattr(runner, "RELOADED_BYTES", room)
    monkeypatch.setattr(runner, "_warm_up", lambda model, feed: (0, 1e-6))
    monkeypatch.setattr(runner, "_time_block", lambda model, feed, duration_s: [])
    monkeypatch.setattr(runner, "_time_one", lambda model, feed: timed.append(model) or time_one(model, feed))
    reply = answer(make_request(linear.path, LatencyTask(inferences=inferences, loads=loads)))
    assert reply.process is not None
    assert len(reply.process.latencies_s) == inferences
    assert [len(list(group)) for _, group in itertools.groupby(timed, key=id)] == shares
    assert len({id(model) for model in timed}) == len(shares)


# A slowdown on purpose


class SpinClock:
    """Time passes where the loop turns, and nowhere else: 2 ms a turn, or 5 ms in the loops numbered `slow`."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.loops: list[int] = []
        self.slow: set[int] = set()

    def any(self, turns: Iterable[bool]) -> bool:
        turn_s = 5e-3 if len(self.loops) in self.slow else 2e-3
        self.loops.append(sum(1 for _ in turns))
        self.now_s += turn_s * self.loops[-1]
        return False


@pytest.fixture
def spin_clock(monkeypatch: pytest.MonkeyPatch) -> SpinClock:
    clock = SpinClock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now_s)
    monkeypatch.setattr(runner, "any", clock.any, raising=False)
    monkeypatch.setattr(runner, "SPIN_CALIBRATION_TURNS", 50)
    monkeypatch.setattr(runner, "SPIN_BASE_TURNS", 3)
    return clock


@pytest.mark.parametrize(("spin_s", "turns"), [(2e-3, 1), (0.5, 250), (1.0, 500)])
def test_turns_are_in_proportion_to_the_spin(spin_s: float, turns: int, spin_clock: SpinClock) -> None:
    count = runner.SPIN_CALIBRATIONS
    spin_clock.slow = {count, count + 1, count + 2}  # a calibration that was disturbed does not count
    assert runner._spin_turns(spin_s) == turns
    assert spin_clock.loops == [0] * count + [50] * count


def test_what_the_call_costs_is_not_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_time_spin", lambda turns: 3e-7 + 1e-8 * turns)
    assert runner._spin_turns(1e-6) == 100


@pytest.mark.parametrize("turns", [0, 7])
def test_the_loop_turns_inside_the_timed_call(turns: int, spin_clock: SpinClock) -> None:
    model: Any = ScriptedModel([0.0])
    assert runner._time_one_and_spin(model, [], turns) == pytest.approx(turns * 2e-3)
    assert spin_clock.loops == [turns]


def test_every_timed_inference_spins_and_no_warm_up_does(
    spin_clock: SpinClock, monkeypatch: pytest.MonkeyPatch, answer: Answer, make_request: Any, linear: Any
) -> None:
    monkeypatch.setattr(runner, "_warm_up", lambda model, feed: (1, runner._time_one(model, feed)))
    reply = answer(make_request(linear.path, LatencyTask(inferences=4, spin_s=0.124)))
    assert reply.process is not None
    np.testing.assert_allclose(reply.process.latencies_s, [0.130] * 4)
    assert spin_clock.loops == [0] * runner.SPIN_CALIBRATIONS + [50] * runner.SPIN_CALIBRATIONS + [65] * 4


@pytest.mark.parametrize(("spin_s", "loops"), [(None, []), (0.0, [3] * 4)])
def test_no_slowdown_has_the_loop_only_where_it_is_compared_with_one(
    spin_s: float | None, loops: list[int], spin_clock: SpinClock, answer: Answer, make_request: Any, linear: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(runner, "_warm_up", lambda model, feed: (0, 0.0))
    assert answer(make_request(linear.path, LatencyTask(inferences=4, spin_s=spin_s))).process is not None
    assert spin_clock.loops[-4:] == loops


def test_a_spin_is_zero_or_more() -> None:
    with pytest.raises(ValidationError):
        LatencyTask(inferences=1, spin_s=-1e-6)


# Two artifacts side by side

LOGGED = """
import runner

def log(word):
    with open("log", "a") as file:
        file.write(word)

class Logged(runner.LiteRt):
    def infer(self, feed):
        log("f" if feed[0].dtype == "float32" else "i")
        return super().infer(feed)

time_one = runner._time_one
runner.RELOADED_BYTES = ROOM
runner.RUNTIMES["litert"] = Logged
runner._time_one = lambda model, feed: [log("("), time_one(model, feed), log(")")][1]
runner._warm_up = lambda model, feed: [log("w"), (7, MEDIANS_S[str(feed[0].dtype)])][1]
runner._time_block = lambda model, feed, duration_s: log("l") or []
runner.main()
"""


def beside(path: Path, **changes: Any) -> Beside:
    return Beside(artifact_path=str(path), artifact_sha256=sha256_of_file(path), **changes)


def run_logged(request: RunRequest, folder: Path, float_s: float, int8_s: float) -> tuple[RunReply, str]:
    """Of a runner with room for two loads of the larger one and more of the smaller one.

    The reply of a runner whose models take so long, and what ran: an inference is a letter, in brackets if timed.
    """
    assert request.beside is not None
    paths = map(Path, (request.artifact_path, request.beside.artifact_path))
    room = 3 * max(path.stat().st_size for path in paths) - 1
    script = f"MEDIANS_S, ROOM = {{'float32': {float_s}, 'int8': {int8_s}}}, {room}\n{LOGGED}"
    (folder / "log").write_text("")
    ran = subprocess.run(
        [sys.executable, "-c", script], input=request.model_dump_json().encode(), capture_output=True, check=True,
        cwd=folder, env={"PYTHONPATH": str(Path(runner.__file__).parent)},
    )  # fmt: skip
    return RunReply.model_validate_json(ran.stdout), (folder / "log").read_text()


def test_two_take_turns_block_by_block(make_request: Any, cnn_float32: Path, cnn_int8: Path, tmp_path: Path) -> None:
    assert cnn_float32.stat().st_size < cnn_int8.stat().st_size
    task = LatencyTask(inferences=100, enough_s=0.024, loads=3)
    request = make_request(cnn_int8, task).model_copy(update={"beside": beside(cnn_float32)})
    reply, ran = run_logged(request, tmp_path, 1e-3, 2e-4)  # the slower one of the two decides
    assert reply.process is not None
    assert reply.beside is not None
    five, two = "(i)" * 5, "(i)" * 2
    loads = [f"i{five}", f"i{five}", f"i{two}", f"li{five}", f"i{five}", f"i{two}"]
    # First of all, each runs once before its warm-up and once on its only sample.
    assert ran == "iwi" + "fwf" + "".join(each + each.replace("i", "f") for each in loads)
    assert (len(reply.process.latencies_s), len(reply.beside.latencies_s)) == (24, 24)
    assert (reply.process.warmups, reply.beside.warmups) == (9, 9)
    for process in (reply.process, reply.beside):
        assert process.load_warm_s > 0
        assert (process.memory_peak_bytes or 0) > 0
    assert reply.operators


def test_slow_ones_have_blocks_of_several_inferences_all_the_same(
    make_request: Any, cnn_float32: Path, cnn_int8: Path, tmp_path: Path
) -> None:
    task = LatencyTask(inferences=100, enough_s=0.5)
    request = make_request(cnn_int8, task).model_copy(update={"beside": beside(cnn_float32)})
    reply, ran = run_logged(request, tmp_path, 0.25, 0.01)
    assert reply.process is not None
    assert len(reply.process.latencies_s) == runner.FEWEST_TIMED == 10
    four, two = "i(i)(i)(i)(i)", "i(i)(i)"
    assert ran == "iwi" + "fwf" + "".join(each + each.replace("i", "f") for each in (four, four, two))


def test_the_one_beside_spins_for_itself(make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, LatencyTask(inferences=20, spin_s=0.0))
    reply = run_in_child(
        request.model_copy(update={"beside": beside(cnn_int8, spin_s=0.02)}), timeout_s=60, memory_limit_bytes=2e9
    )
    assert reply.process is not None
    assert reply.beside is not None
    assert min(reply.beside.latencies_s) > 0.01 > min(reply.process.latencies_s)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"artifact_sha256": "0" * 64}, "expected the sha256 0000"),
        ({"shapes": ((1, 3, 3, 1),)}, "takes shape"),
        ({"artifact_path": "nowhere.tflite"}, "FileNotFoundError"),
    ],
)
def test_the_one_beside_is_refused_as_the_first_would_be(
    changes: dict[str, Any], message: str, make_request: Any, cnn_int8: Path
) -> None:
    other = beside(cnn_int8).model_copy(update=changes)
    request = make_request(cnn_int8, LatencyTask(inferences=1)).model_copy(update={"beside": other})
    assert message in refusal(run_in_child(request, timeout_s=60, memory_limit_bytes=2e9))


@pytest.mark.parametrize("dies", ["beside", "first"])
def test_one_that_dies_ends_the_other(dies: str, make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    which = "turns.is_first" if dies == "first" else "not turns.is_first"
    script.write_text(
        "import os, signal, runner\n"
        "time_inferences = runner._time_inferences\n"
        "def die(runtime, model, request, memory, turns):\n"
        f"    if {which}: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    return time_inferences(runtime, model, request, memory, turns)\n"
        "runner._time_inferences = die\n"
        "runner.main()\n"
    )
    shutil.copy(runner.__file__, tmp_path / "runner.py")
    request = make_request(cnn_int8, LatencyTask(inferences=20)).model_copy(update={"beside": beside(cnn_int8)})
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:  # fmt: skip
        stdout, _ = process.communicate(request.model_dump_json().encode(), timeout=60)
        assert "one of the two processes side by side died" in refusal(RunReply.model_validate_json(stdout))
    for _ in range(100):
        if not _group_is_there(process.pid):
            break
        time.sleep(0.05)
    assert not _group_is_there(process.pid)


def _group_is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
