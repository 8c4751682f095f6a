"""A real GPU: `make gpu-check`. The figures are printed at the end, where pytest's -s lets them."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import plan_file
from edgecc.errors import TargetError
from edgecc.files import sha256_of_file
from edgecc.project import BenchSection
from edgecc.results import ProcessSample
from edgecc.targets.cuda import CUDA, CudaOptions, CudaTarget
from edgecc.targets.nvml import Gpu, read_gpu
from edgecc.targets.target import Target
from edgecc.targets.wire import LatencyTask, OutputsTask, RunReply, RunRequest
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget
from edgecc.units import Unit, format_value

from ..conftest import lack

pytestmark = pytest.mark.gpu

Array = npt.NDArray[Any]
INFERENCES = 200
LIMIT_S = 300.0
AGREES_WITHIN = {"float32": 0.005, "float16": 0.01, "int8": 0.05}
"""Of the span of the CPU's outputs. CUDA multiplies float32 in TF32, with 10 bits of mantissa as in float16."""


@pytest.fixture(scope="module")
def gpu() -> Gpu:
    """GPU 0 of this machine."""
    found = gpu_or_reason()
    if isinstance(found, str):
        lack("gpu", found)
    return found


def gpu_or_reason() -> Gpu | str:
    try:
        return read_gpu(0)
    except TargetError as error:
        return error.message


@pytest.fixture(scope="module")
def has_cuda(gpu: Gpu) -> bool:
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return CUDA in onnxruntime.get_available_providers()


@pytest.fixture
def cuda(has_cuda: bool) -> None:
    """An ONNX Runtime with its CUDA provider; whether that starts is what the tests find out."""
    if not has_cuda:
        pytest.skip(f"there is a GPU, and ONNX Runtime is built without {CUDA}")


@pytest.fixture(scope="module")
def figures(gpu: Gpu) -> Iterator[list[str]]:
    """Lines of a table of what was measured."""
    lines = ["", gpu.in_words, f"{'model':8} {'batch':>5} {'latency':>10} {'compute':>10} {'a sample':>10} {'CPU':>10}"]
    yield lines
    print("\n".join(lines))  # noqa: T201


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One CNN, (n, 3, 32, 32) to (n, 10), with an open batch."""
    folder = tmp_path_factory.mktemp("models")
    paths = {name: folder / f"{name}.onnx" for name in AGREES_WITHIN}
    onnx.save(cnn(np.float32), paths["float32"])
    onnx.save(cnn(np.float16), paths["float16"])
    quantize(paths["float32"], paths["int8"])
    return paths


def cnn(dtype: Any) -> onnx.ModelProto:
    random = np.random.default_rng(0)
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (32, 16, 3, 3), "b2": (32,), "w3": (32, 10), "b3": (10,)}
    constants = [numpy_helper.from_array(random.normal(0, 0.2, shape).astype(dtype), n) for n, shape in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["conv1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("Conv", ["relu1", "w2", "b2"], ["conv2"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("GlobalAveragePool", ["relu2"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["y"]),
    ]
    kind = TensorProto.FLOAT if dtype is np.float32 else TensorProto.FLOAT16
    x = helper.make_tensor_value_info("x", kind, ["n", 3, 32, 32])
    y = helper.make_tensor_value_info("y", kind, ["n", 10])
    graph = helper.make_graph(nodes, "cnn", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)


def quantize(float32: Path, int8: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter(samples(16))

        def get_next(self) -> dict[str, Array] | None:
            sample = next(self.rest, None)
            return None if sample is None else {"x": sample[np.newaxis]}

    quantize_static(
        float32, int8, Samples(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def samples(count: int) -> Array:
    return np.random.default_rng(1).random((count, 3, 32, 32), dtype=np.float32)


def on_gpu(**options: Any) -> CudaTarget:
    return CudaTarget("gpu", CudaOptions.model_validate(options))


def on_cpu() -> Target:
    return X86CpuTarget("cpu", X86CpuOptions())


def run(target: Target, model: Path, task: LatencyTask | OutputsTask, folder: Path) -> RunReply:
    inputs = folder / "inputs.npy"
    np.save(inputs, samples(32))
    request = RunRequest(
        artifact_path=str(model),
        artifact_sha256=sha256_of_file(model),
        runtime="onnxruntime",
        settings=target.settings,
        inputs_path=str(inputs),
        outputs_path=str(folder / f"{target.name}.npy"),
        task=task,
    )
    reply = target.run(request, timeout_s=LIMIT_S)
    assert reply.failure is None, reply.failure
    return reply


def timed(target: Target, model: Path, folder: Path) -> ProcessSample:
    process = run(target, model, LatencyTask(inferences=INFERENCES), folder).process
    assert process is not None
    return process


def shown(seconds: float) -> str:
    return f"{format_value(seconds, Unit.SECONDS):>10}"


def test_without_cuda_the_target_says_what_is_missing(has_cuda: bool) -> None:
    if has_cuda:
        pytest.skip(f"ONNX Runtime has {CUDA} here")
    with pytest.raises(TargetError, match=f"expected ONNX Runtime with {CUDA}; this one has ") as caught:
        on_gpu().probe()
    assert "onnxruntime-gpu" in str(caught.value.hint)


def test_the_target_answers(cuda: None, gpu: Gpu) -> None:
    assert on_gpu().probe().accelerator == gpu.in_words


@pytest.mark.parametrize("name", AGREES_WITHIN)
def test_outputs_agree_with_the_cpu(cuda: None, name: str, models: dict[str, Path], tmp_path: Path) -> None:
    reply = run(on_gpu(), models[name], OutputsTask(), tmp_path)
    run(on_cpu(), models[name], OutputsTask(), tmp_path)
    assert list(reply.operators) == [CUDA]
    gpu, cpu = (np.load(tmp_path / f"{where}.npy").astype(np.float64) for where in ("gpu", "cpu"))
    assert gpu.shape == cpu.shape == (32, 10)
    assert np.abs(gpu - cpu).max() <= AGREES_WITHIN[name] * (cpu.max() - cpu.min())


@pytest.mark.parametrize("name", AGREES_WITHIN)
def test_the_computing_is_a_part_of_the_latency(
    cuda: None, name: str, models: dict[str, Path], tmp_path: Path, figures: list[str]
) -> None:
    process, cpu = (timed(target, models[name], tmp_path) for target in (on_gpu(), on_cpu()))
    assert len(process.computes_s) == INFERENCES
    assert all(map(operator.le, process.computes_s, process.latencies_s))
    times = [median(process.latencies_s), median(process.computes_s)]
    cells = [*map(shown, times), shown(times[0]), shown(median(cpu.latencies_s))]
    figures.append(f"{name:8} {1:5} {' '.join(cells)}")


@pytest.mark.parametrize("batch_size", [8, 64])
def test_a_batch_is_timed_as_a_whole(
    cuda: None, batch_size: int, models: dict[str, Path], tmp_path: Path, figures: list[str]
) -> None:
    process = timed(on_gpu(batch_size=batch_size), models["float32"], tmp_path)
    assert (len(process.latencies_s), process.batch_size) == (INFERENCES, batch_size)
    latency_s, compute_s = median(process.latencies_s), median(process.computes_s)
    figures.append(
        f"{'float32':8} {batch_size:5} {shown(latency_s)} {shown(compute_s)} {shown(latency_s / batch_size)}"
    )


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_whole_bench(cuda: None, batch_size: int, models: dict[str, Path], tmp_path: Path, gpu: Gpu) -> None:
    evaluation = tmp_path / "evaluation.npz"
    np.savez(evaluation, x=samples(40), y=np.arange(40) % 10)
    bench = BenchSection(processes=3, inferences=70)
    with on_gpu(batch_size=batch_size) as target:
        [row] = measure(plan_file(models["float32"], bench, evaluation=evaluation), [target]).rows
    assert row.failure is None
    assert row.environment is not None
    assert row.environment.accelerator == gpu.in_words
    assert list(row.operators) == [CUDA]
    assert {"latency.mean", "throughput", "load.cold", "accuracy"} <= {*row.estimates}
    singles = {"latency.p50", "latency.p90", "latency.compute"}
    assert singles & {*row.estimates} == (singles if batch_size == 1 else set())
