# ruff: noqa: N802 - the names are NVIDIA's and ONNX Runtime's
"""A fake of NVIDIA's driver, and one of ONNX Runtime on a GPU that computes with numpy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


class FakeNvml:
    """NVIDIA's bindings, as far as they are used, on a machine with two GPUs; a test may change what they tell."""

    NVML_CLOCK_SM = 1
    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.names = ["NVIDIA A2", "NVIDIA L4"]
        self.reasons = 0x01
        self.open = 0
        self.error: str | None = None
        self.silent = False

    def nvmlInit(self) -> None:
        if self.error:
            raise self.NVMLError(self.error)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        assert self.open
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        assert self.open
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        return 12080

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:
        return self._told({self.NVML_CLOCK_SM: 1770}[kind])

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return self._told({self.NVML_TEMPERATURE_GPU: 61}[sensor])

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self._told(self.reasons)

    def _told(self, value: int) -> int:
        if self.silent:
            raise self.NVMLError("Not Supported")
        return value


class FakeOnnxRuntime:
    """The parts of ONNX Runtime that the runner uses, on a GPU: every call is written down."""

    ExecutionMode = SimpleNamespace(ORT_SEQUENTIAL=0)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.now_s = 0.0
        self.starts = [CUDA, CPU]
        """The providers that start."""
        self.parts: list[tuple[str, list[str]]] = [(CUDA, ["Add"])]
        """What ran where."""
        self.entries: dict[str, str] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.OrtValue = SimpleNamespace(ortvalue_from_shape_and_type=self._value)

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, CPU]

    def preload_dlls(self) -> None:
        self.log.append("preload")

    def disable_telemetry_events(self) -> None:
        pass

    def SessionOptions(self) -> Any:
        return SimpleNamespace(add_session_config_entry=self.entries.__setitem__)

    def InferenceSession(self, path: str, options: Any, *, providers: list[Any], enable_fallback: bool) -> Any:
        assert not enable_fallback
        self.asked = providers
        return FakeSession(self, 1 if Path(path).name == "smallest.onnx" else 3)

    def spend(self, what: str, seconds: float) -> None:
        self.log.append(what)
        self.now_s += seconds

    def _value(self, shape: list[int], dtype: Any, device_type: str, device_id: int) -> FakeValue:
        assert (device_type, device_id) == ("cuda", int(self.asked[0][1]["device_id"]))
        return FakeValue(self, np.empty(shape, dtype))


class FakeValue:
    """A tensor on the device."""

    def __init__(self, fake: FakeOnnxRuntime, data: Array) -> None:
        self.fake, self.data = fake, data

    def update_inplace(self, array: Array) -> None:
        if (array.shape, array.dtype) != (self.data.shape, self.data.dtype) or not array.flags.c_contiguous:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        self.data = array.copy()
        self.fake.spend("copy in", 0.001)


class FakeSession:
    """`y = x + x`, both of shape (n, width)."""

    def __init__(self, fake: FakeOnnxRuntime, width: int) -> None:
        self.fake, self.width = fake, width

    def get_providers(self) -> list[str]:
        return self.fake.starts

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["n", self.width])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="y", type="tensor(float)", shape=["n", self.width])]

    def io_binding(self) -> FakeBinding:
        return FakeBinding(self.fake)

    def run_with_iobinding(self, binding: FakeBinding) -> None:
        assert binding.output == "bound"
        self.fake.spend("compute", 0.004)
        binding.pending = 2 * binding.input.data  # the GPU may still be at it

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(
                ep_name=name, get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=kind) for kind in kinds]
            )
            for name, kinds in self.fake.parts
        ]


class FakeBinding:
    """Where a session finds its inputs and leaves its outputs."""

    input: FakeValue
    output: Any = None
    pending: Array | None = None

    def __init__(self, fake: FakeOnnxRuntime) -> None:
        self.fake = fake

    def bind_ortvalue_input(self, name: str, value: FakeValue) -> None:
        assert name == "x"
        self.input = value

    def bind_output(self, name: str, device_type: str, device_id: int) -> None:
        assert (name, device_type) == ("y", "cuda")
        self.output = "bound"

    def synchronize_outputs(self) -> None:
        self.fake.spend("synchronize", 0.008)
        self.output, self.pending = self.pending, None

    def copy_outputs_to_cpu(self) -> list[Array]:
        assert isinstance(self.output, np.ndarray), "the GPU has not finished"
        self.fake.spend("copy out", 0.002)
        return [self.output]
