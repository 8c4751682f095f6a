"""The kind `cuda` without a GPU: a fake driver, a fake ONNX Runtime, and the real one with the CPU as its device."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import plan_file
from edgecc.errors import TargetError
from edgecc.project import BenchSection
from edgecc.results import Environment, Failure, FailureKind, Row
from edgecc.targets import child, runner
from edgecc.targets.arrays import read_outputs
from edgecc.targets.cuda import SMALLEST_MODEL, CudaOptions, CudaTarget
from edgecc.targets.nvml import read_gpu
from edgecc.targets.wire import LatencyTask, OutputsTask, RunReply, RunRequest, RuntimeSettings

from .fake_cuda import CPU, CUDA, TENSORRT, FakeNvml, FakeOnnxRuntime, FakeSession

Array = npt.NDArray[Any]


def target(**options: Any) -> CudaTarget:
    return CudaTarget("gpu", CudaOptions.model_validate(options))


# The driver


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_a_gpu_tells_what_it_is_and_how_it_is_doing(nvml: FakeNvml) -> None:
    nvml.reasons = 0x01 | 0x04 | 0x20
    gpu = read_gpu(1)
    assert gpu.in_words == "NVIDIA L4, driver 570.86.15, CUDA 12.8"
    assert (gpu.frequency_mhz, gpu.temperature_c, gpu.throttling) == (1770, 61, "power limit, temperature limit")
    assert nvml.open == 0


def test_an_idle_gpu_is_not_slowed_down(nvml: FakeNvml) -> None:
    assert read_gpu(0).throttling is None


def test_what_the_driver_does_not_tell_is_left_out(nvml: FakeNvml) -> None:
    nvml.silent = True
    gpu = read_gpu(0)
    assert (gpu.frequency_mhz, gpu.temperature_c, gpu.throttling) == (None, None, None)


# The probe


class FakeChild:
    """What a run in a child process answers, and the requests that came."""

    def __init__(self) -> None:
        self.requests: list[RunRequest] = []
        self.reply = RunReply()

    def __call__(self, request: RunRequest, *, timeout_s: float, memory_limit_bytes: float) -> RunReply:
        self.requests.append(request)
        self.model = Path(request.artifact_path).read_bytes()
        return self.reply


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the machine says of itself; a test may change it."""
    description = {**runner.describe_environment(), "runtimes": {"onnxruntime": "1.32.0"}, "throttling": None}
    monkeypatch.setattr(runner, "describe_environment", lambda: description)
    return description


@pytest.fixture
def fake_child(monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild()
    monkeypatch.setattr(child, "run_in_child", fake)
    return fake


def test_probe_runs_the_smallest_model_on_the_gpu(
    nvml: FakeNvml, machine: dict[str, Any], fake_child: FakeChild
) -> None:
    nvml.reasons, machine["throttling"] = 0x08, "under-voltage"
    environment = target(device=1, provider="tensorrt").probe()
    assert environment.accelerator == "NVIDIA L4, driver 570.86.15, CUDA 12.8"
    assert (environment.accelerator_frequency_mhz, environment.accelerator_temperature_c) == (1770, 61)
    assert environment.throttling == "under-voltage, hardware slowdown"
    [request] = fake_child.requests
    assert fake_child.model == SMALLEST_MODEL
    assert (request.settings.providers, request.settings.device) == ((TENSORRT, CUDA), 1)


def test_the_smallest_model_is_an_addition() -> None:
    shape = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy"}
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "probe", [shape["x"]], [shape["y"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.ClearField("producer_name")
    assert onnx.load_from_string(SMALLEST_MODEL) == model


def lack(**options: Any) -> tuple[str, str]:
    """Why a target does not answer, and the hint."""
    with pytest.raises(TargetError) as caught:
        target(**options).probe()
    assert caught.value.hint is not None
    return caught.value.message, caught.value.hint


def test_without_the_bindings(monkeypatch: pytest.MonkeyPatch, machine: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert lack() == (
        "target `gpu`: nvidia-ml-py, which asks NVIDIA's driver, is not installed",
        "pip install 'edgecc[cuda]'",
    )


def test_without_a_driver(nvml: FakeNvml, machine: dict[str, Any]) -> None:
    nvml.error = "NVML Shared Library Not Found"
    message, hint = lack()
    assert message == "target `gpu`: no NVIDIA driver answers: NVML Shared Library Not Found"
    assert "install NVIDIA's driver" in hint
    assert "--gpus all" in hint


def test_without_a_gpu_of_that_number(nvml: FakeNvml, machine: dict[str, Any]) -> None:
    message, hint = lack(device=2)
    assert message == "target `gpu`: expected a GPU number 2; there are 0 (NVIDIA A2), 1 (NVIDIA L4)"
    assert "nvidia-smi -L" in hint
    nvml.names = []
    assert lack()[0] == "target `gpu`: expected a GPU number 0; there are none"


def test_a_gpu_that_fell_off_the_bus(nvml: FakeNvml, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(handle: int) -> str:
        raise nvml.NVMLError("GPU is lost")

    monkeypatch.setattr(nvml, "nvmlDeviceGetName", lost)
    assert lack() == (
        "target `gpu`: NVIDIA's driver does not tell of its GPU: GPU is lost", "`nvidia-smi` says more",
    )  # fmt: skip
    assert nvml.open == 0


def test_without_onnx_runtime(nvml: FakeNvml, machine: dict[str, Any]) -> None:
    machine["runtimes"] = {"litert": "2.3.0"}
    message, hint = lack()
    assert message == "target `gpu`: expected ONNX Runtime; it is not installed"
    assert hint == "pip install 'onnxruntime-gpu[cuda,cudnn]'"


def test_an_onnx_runtime_without_cuda(nvml: FakeNvml, machine: dict[str, Any]) -> None:
    """A real child process, with the ONNX Runtime that is installed."""
    import onnxruntime

    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("ONNX Runtime has its CUDA provider here")
    message, hint = lack()
    assert message.startswith(
        f"target `gpu`: the smallest model does not run on the GPU: expected ONNX Runtime with {CUDA}; this one has "
    )
    assert hint.startswith(
        "onnxruntime and onnxruntime-gpu write into the same folder, and the last one installed wins"
    )
    assert "pip uninstall onnxruntime" in hint
    message, hint = lack(provider="tensorrt")
    assert f"expected ONNX Runtime with {TENSORRT}, {CUDA}; this one has " in message
    assert "TensorRT is not part of it" in hint


def test_a_provider_whose_libraries_are_missing(nvml: FakeNvml, machine: dict[str, Any], fake_child: FakeChild) -> None:
    told = f"expected ONNX Runtime to start {CUDA}; it started {CPU}"
    log = (
        "2026-11-24 [E:onnxruntime:Default, provider_bridge_ort.cc:1778 Get] [ONNXRuntimeError] : 1 : FAIL : Failed to "
        "load library libonnxruntime_providers_cuda.so with error: libcudnn.so.9: cannot open shared object file\n"
        "2026-11-24 [W:onnxruntime:Default] Failed to create CUDAExecutionProvider.\n"
    )
    fake_child.reply = RunReply(failure=Failure(kind=FailureKind.REFUSED, message=told), log=log)
    message, hint = lack()
    assert message.endswith(f"{told} (libcudnn.so.9: cannot open shared object file)")
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in hint


# Requests


def test_tflite_is_refused(nvml: FakeNvml, fake_child: FakeChild, make_request: Any, cnn_int8: Path) -> None:
    reply = target().run(make_request(cnn_int8, LatencyTask(inferences=1)), timeout_s=1)
    assert reply.failure is not None
    assert reply.failure.kind is FailureKind.REFUSED
    assert reply.failure.message == "expected an .onnx file; TFLite has no CUDA backend here"
    assert fake_child.requests == []


def test_a_reply_tells_of_the_gpu(
    nvml: FakeNvml, machine: dict[str, Any], fake_child: FakeChild, make_request: Any, linear: Any
) -> None:
    fake_child.reply = RunReply(environment=Environment.model_validate(machine))
    reply = target().run(make_request(linear.path, OutputsTask()), timeout_s=1)
    assert reply.environment is not None
    assert reply.environment.accelerator == "NVIDIA A2, driver 570.86.15, CUDA 12.8"
    crashed = RunReply(failure=Failure(kind=FailureKind.CRASHED, message="it ended"))
    fake_child.reply = crashed
    assert target().run(make_request(linear.path, OutputsTask()), timeout_s=1) == crashed


@pytest.mark.parametrize(
    "options", [{"device": -1}, {"provider": "rocm"}, {"batch_size": 0}, {"num_threads": 2}, {"memory_limit": "4"}]
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CudaOptions.model_validate(options)


def test_what_it_measures() -> None:
    assert target().abilities == {"latency", "outputs", "copies"}
    assert target(batch_size=8).abilities == {"latency", "outputs"}
    assert target(batch_size=8).settings == RuntimeSettings(providers=(CUDA,), batch_size=8)


# The runner, with a fake ONNX Runtime, and a clock that only copies and computing move


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeOnnxRuntime:
    """ONNX Runtime on a GPU: an inference takes 15 ms, of which 3 ms are copies."""
    fake = FakeOnnxRuntime()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setattr(runner.OnnxRuntime, "module", staticmethod(lambda: fake))
    monkeypatch.setattr(time, "perf_counter", lambda: fake.now_s)
    return fake


def answer(request: RunRequest, **settings: Any) -> RunReply:
    """The runner's, over JSON as on the wire, but in this process."""
    asked = request.model_copy(update={"settings": RuntimeSettings(**{"providers": (CUDA,), **settings})})
    return RunReply.model_validate_json(json.dumps(runner.answer(json.loads(asked.model_dump_json()))))


def refusal(reply: RunReply) -> str:
    assert reply.failure is not None
    assert reply.failure.kind == "refused"
    return reply.failure.message


X = np.arange(15, dtype=np.float32).reshape(5, 3)
ONE_INFERENCE = ["copy in", "compute", "synchronize", "copy out"]


def test_each_inference_copies_in_computes_waits_and_copies_out(
    gpu: FakeOnnxRuntime, make_request: Any, linear: Any
) -> None:
    request = make_request(linear.path, OutputsTask(), inputs=X)
    reply = answer(request)
    assert reply.failure is None
    np.testing.assert_array_equal(read_outputs(Path(request.outputs_path))[0], 2 * X)
    assert gpu.log == ["preload", "preload", *5 * ONE_INFERENCE]  # it is loaded twice
    assert dict(reply.operators) == {CUDA: 1}


def test_latencies_hold_the_copies_and_computes_do_not(gpu: FakeOnnxRuntime, make_request: Any, linear: Any) -> None:
    reply = answer(make_request(linear.path, LatencyTask(inferences=7, loads=2), inputs=X))
    assert reply.process is not None
    assert reply.process.latencies_s == pytest.approx([0.015] * 7)
    assert reply.process.computes_s == pytest.approx([0.012] * 7)
    assert reply.process.batch_size == 1
    assert reply.process.warmups > 0  # each convolution tries its algorithms in the first inference


def test_what_a_session_is_asked_for(gpu: FakeOnnxRuntime, make_request: Any, linear: Any) -> None:
    request = make_request(linear.path, LatencyTask(inferences=1))
    assert answer(request, device=1).failure is None
    assert gpu.asked == [(CUDA, {"device_id": "1", "cudnn_conv_algo_search": "EXHAUSTIVE"})]
    assert gpu.entries["session.disable_quant_qdq"] == "1"
    assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    gpu.entries.clear()
    gpu.starts, gpu.parts = [TENSORRT, CUDA, CPU], [(TENSORRT, ["Add"])]
    assert answer(request, providers=(TENSORRT, CUDA), device=1).failure is None
    assert [(name, options["device_id"]) for name, options in gpu.asked] == [(TENSORRT, "1"), (CUDA, "1")]
    assert "session.disable_quant_qdq" not in gpu.entries


def test_an_operator_that_fell_back_to_the_cpu_is_named(gpu: FakeOnnxRuntime, make_request: Any, linear: Any) -> None:
    gpu.parts = [(CUDA, ["Conv", "Relu"]), (CPU, ["Shape", "DynamicQuantizeLinear"])]
    message = refusal(answer(make_request(linear.path, LatencyTask(inferences=1))))
    assert message == f"expected every operator on {CUDA}; {CPU} runs DynamicQuantizeLinear, Shape"


def test_a_gpu_whose_memory_is_full(
    gpu: FakeOnnxRuntime, make_request: Any, linear: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FakeSession, binding: Any) -> None:
        raise RuntimeError("Non-zero status code returned: CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(FakeSession, "run_with_iobinding", full)
    reply = answer(make_request(linear.path, LatencyTask(inferences=1)))
    assert reply.failure is not None
    assert reply.failure.kind is FailureKind.OUT_OF_MEMORY


def test_a_provider_that_does_not_start_is_refused(gpu: FakeOnnxRuntime, make_request: Any, linear: Any) -> None:
    gpu.starts = [CPU]
    message = refusal(answer(make_request(linear.path, LatencyTask(inferences=1))))
    assert message == f"expected ONNX Runtime to start {CUDA}; it started {CPU}"


# The runner's bindings, with the real ONNX Runtime, for which the CPU is a device like any other


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunRequest], RunReply]:
    monkeypatch.setattr(runner, "GPU_PROVIDERS", (CPU,))
    monkeypatch.setattr(runner.OnnxRuntimeOnGpu, "device_type", "cpu")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return lambda request: answer(request, providers=(CPU,))


def test_several_inputs_and_outputs_are_bound(on_cpu: Any, make_request: Any, mixer: Path) -> None:
    left, right = np.arange(8, dtype=np.float32).reshape(4, 2), np.linspace(-1, 1, 8).reshape(4, 2)
    request = make_request(mixer, OutputsTask(), inputs={"left": left, "right": right})
    assert on_cpu(request).failure is None
    total, product = read_outputs(Path(request.outputs_path))
    np.testing.assert_allclose(total, left + right, rtol=1e-6)
    np.testing.assert_allclose(product[:, 0], (left * right).sum(1), rtol=1e-5)


def test_the_time_of_the_computing_is_a_part_of_the_latency(on_cpu: Any, make_request: Any, linear: Any) -> None:
    process = on_cpu(make_request(linear.path, LatencyTask(inferences=20, loads=2))).process
    assert len(process.computes_s) == 20
    assert all(
        0 < compute_s < latency_s for compute_s, latency_s in zip(process.computes_s, process.latencies_s, strict=True)
    )


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.INT64, TensorProto.UINT8])
def test_every_kind_of_number_is_bound(kind: int, on_cpu: Any, make_request: Any, make_onnx: Any) -> None:
    shape = (kind, ["n", 3])
    path = make_onnx([helper.make_node("Identity", ["x"], ["y"])], {"x": shape}, {"y": shape}, {})
    request = make_request(path, OutputsTask(), inputs=np.array([[1, 0, 1], [0, 0, 1]]))
    assert on_cpu(request).failure is None
    assert np.load(request.outputs_path).tolist() == [[1, 0, 1], [0, 0, 1]]


def test_an_output_may_change_its_shape_with_what_is_in_the_input(
    on_cpu: Any, make_request: Any, make_onnx: Any
) -> None:
    path = make_onnx(
        [helper.make_node("NonZero", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["n", 3])},
        {"y": (TensorProto.INT64, [2, "found"])},
        {},
    )
    request = make_request(path, LatencyTask(inferences=4), inputs=np.array([[1, 0, 0], [1, 1, 1]]))
    assert on_cpu(request).failure is None


# Batches, on any device


def test_a_batch_goes_round_the_samples(gpu: FakeOnnxRuntime, make_request: Any, linear: Any) -> None:
    batches = runner._batches(
        runner.OnnxRuntime.load("", {"providers": (CUDA,), "num_threads": 1, "device": 0}).inputs(),
        as_json(make_request(linear.path, LatencyTask(inferences=1), inputs=X), batch_size=4),
    )
    first, second = (np.concatenate(batch) for batch in batches)
    np.testing.assert_array_equal(first, X[:4])
    np.testing.assert_array_equal(second, X[[4, 0, 1, 2]])


def test_a_batch_may_be_larger_than_all_the_samples_together(make_request: Any, linear: Any) -> None:
    request = as_json(make_request(linear.path, LatencyTask(inferences=1), inputs=X), batch_size=12)
    [[batch]] = runner._batches(runner.OnnxRuntime(str(linear.path), 1).inputs(), request)
    np.testing.assert_array_equal(batch, np.concatenate([X, X, X[:2]]))


def test_random_samples_of_a_batch_differ_and_the_first_is_the_one_of_batch_1(make_request: Any, linear: Any) -> None:
    request, specs = (
        make_request(linear.path, LatencyTask(inferences=1)),
        runner.OnnxRuntime(str(linear.path), 1).inputs(),
    )
    [[single]] = runner._batches(specs, as_json(request))
    [[batch]] = runner._batches(specs, as_json(request, batch_size=3))
    assert batch.shape == (3, 3)
    assert len(np.unique(batch, axis=0)) == 3
    np.testing.assert_array_equal(batch[:1], single)


@pytest.mark.parametrize("model", ["cnn_float32", "linear"])
def test_a_batch_is_timed_on_the_cpu_as_well(model: str, make_request: Any, request: pytest.FixtureRequest) -> None:
    found = request.getfixturevalue(model)
    path = found if isinstance(found, Path) else found.path
    process = answer(make_request(path, LatencyTask(inferences=6)), providers=(CPU,), batch_size=5).process
    assert process is not None
    assert (len(process.latencies_s), process.batch_size, process.computes_s) == (6, 5, ())


def test_a_fixed_batch_is_refused(make_request: Any, cnn_int8: Path) -> None:
    message = refusal(answer(make_request(cnn_int8, LatencyTask(inferences=1)), providers=(CPU,), batch_size=4))
    assert message == (
        "input `image` takes shape (1, 8, 8, 1): its batch is fixed; expected an open one, for 4 samples at a time; "
        "edgecc emits one with `dynamic_batch = true`"
    )


def test_outputs_are_those_of_single_samples(make_request: Any, linear: Any) -> None:
    request = make_request(linear.path, OutputsTask(), inputs=X)
    assert answer(request, providers=(CPU,), batch_size=4).failure is None
    np.testing.assert_allclose(np.load(request.outputs_path), linear(X), rtol=1e-6)


def as_json(request: RunRequest, **settings: Any) -> dict[str, Any]:
    changed = request.model_copy(update={"settings": RuntimeSettings(**settings)})
    return dict(json.loads(changed.model_dump_json()))


# A row


@pytest.fixture
def bench(gpu: FakeOnnxRuntime, nvml: FakeNvml, linear: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Row]:
    """The row of a model on a target whose runs are answered in this process."""

    def run_here(request: RunRequest, **limits: Any) -> RunReply:
        return RunReply.model_validate_json(json.dumps(runner.answer(json.loads(request.model_dump_json()))))

    monkeypatch.setattr(child, "run_in_child", run_here)

    def run(**options: Any) -> Row:
        plan = plan_file(linear.path, BenchSection(processes=3, inferences=5))
        with target(**options) as opened:
            [row] = measure(plan, [opened]).rows
        return row

    return run


def test_a_row_has_the_latency_with_and_without_the_copies(bench: Callable[..., Row]) -> None:
    row = bench()
    assert row.failure is None
    assert row.environment is not None
    assert row.environment.accelerator == "NVIDIA A2, driver 570.86.15, CUDA 12.8"
    assert dict(row.operators) == {CUDA: 1}
    assert row.estimates["latency.p50"].value == pytest.approx(0.015)
    compute = row.estimates["latency.compute"]
    assert (compute.value, compute.samples) == (pytest.approx(0.012), 15)


def test_a_row_of_batches_has_means_alone(bench: Callable[..., Row]) -> None:
    row = bench(batch_size=5)
    assert row.failure is None
    mean = row.estimates["latency.mean"]
    assert mean.value == pytest.approx(0.015 / 5)
    assert mean.low is not None
    assert mean.low == pytest.approx(mean.value)
    assert row.estimates["throughput"].value == pytest.approx(5 / 0.015)
    for metric in ("latency.p50", "latency.p90", "latency.p99", "latency.min", "latency.compute"):
        assert row.unmeasured[metric] == "a batch of 5 was timed, not single inferences"
    assert {"load.cold", "load.warm"} <= {*row.estimates}
