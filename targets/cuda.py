"""An NVIDIA GPU of this machine, through ONNX Runtime's CUDA provider or TensorRT's.

Whether it works is known where it was tried: `probe` runs the smallest model there, the way any other is run.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, PositiveInt

from edgecc.errors import TargetError
from edgecc.files import sha256_of_file
from edgecc.metrics import Ability
from edgecc.results import Environment, Failure, FailureKind
from edgecc.section import Section
from edgecc.targets.nvml import Gpu, read_gpu
from edgecc.targets.target import Target
from edgecc.targets.turns import turn
from edgecc.targets.wire import GPU_PROVIDERS, OutputsTask, RunReply, RunRequest, RuntimeSettings
from edgecc.units import ByteSize

CUDA, TENSORRT = GPU_PROVIDERS
PROVIDERS = {"cuda": (CUDA,), "tensorrt": (TENSORRT, CUDA)}
"""The preferred one first; neither leaves an operator to the CPU."""

INSTALL_RUNTIME = (
    "onnxruntime and onnxruntime-gpu write into the same folder, and the last one installed wins: "
    "pip uninstall onnxruntime onnxruntime-gpu; pip install 'onnxruntime-gpu[cuda,cudnn]'"
)
INSTALL_TENSORRT = (
    "TensorRT is not part of it: pip install tensorrt, and name the folder of its libraries in LD_LIBRARY_PATH; or "
    "leave `provider` out"
)
START_TIMEOUT_S = 120.0
"""TensorRT builds an engine first, be the model ever so small."""

SMALLEST_MODEL = bytes.fromhex(
    "08083a430a0e0a01780a017812017922034164641205 70726f62655a140a0178120f0a0d080112090a0312016e0a020801"
    "62140a0179120f0a0d080112090a0312016e0a02080142040a00100d"
)
"""An ONNX file: `y = x + x`, both of shape (n, 1), in float32."""

_CAUSE = re.compile(r"with error: ([^\n]+)")
"""How ONNX Runtime logs why a provider's library cannot be loaded."""


class CudaOptions(Section):
    """The keys of a `[targets.NAME]` table with `kind = "cuda"`."""

    device: int = Field(default=0, ge=0)
    """Which GPU, by the number that `nvidia-smi` gives it."""
    provider: Literal["cuda", "tensorrt"] = "cuda"
    """What runs the operators: ONNX Runtime's CUDA kernels; or TensorRT, and those for what it does not take."""
    batch_size: PositiveInt = 1
    """How many samples a timed inference takes at once. Above 1 there are means only."""
    memory_limit: ByteSize = 4e9
    """Bytes of resident memory of the host, mapped files not counted, at which a run is killed as out of memory."""


def read_gpu_of(target: str, device: int) -> Gpu:
    """The GPU of a target, by its number.

    Raises:
        TargetError: as `read_gpu`, naming the target.
    """
    try:
        return read_gpu(device)
    except TargetError as error:
        raise TargetError(f"target `{target}`: {error.message}", hint=error.hint) from error


class CudaTarget(Target):
    """Runs on one GPU of this machine, one fresh process a request.

    A run keeps the processor busy as well, so it never measures beside another target of this machine.
    """

    kind: ClassVar[str] = "cuda"
    Options: ClassVar[type[BaseModel]] = CudaOptions
    abilities: frozenset[Ability] = frozenset({"latency", "outputs", "copies"})

    def __init__(self, name: str, options: CudaOptions) -> None:
        self.name = name
        self.settings = RuntimeSettings(
            providers=PROVIDERS[options.provider], device=options.device, batch_size=options.batch_size
        )
        if options.batch_size > 1:
            self.abilities -= {"copies"}
        self._options = options

    def probe(self) -> Environment:
        """Say what is there, after the smallest model ran there.

        Raises:
            TargetError: no driver, no such GPU, or an ONNX Runtime that cannot use it.
        """
        from edgecc.targets.runner import describe_environment

        read_gpu_of(self.name, self._options.device)
        environment = Environment.model_validate(describe_environment())
        if "onnxruntime" not in environment.runtimes:
            raise TargetError(
                f"target `{self.name}`: expected ONNX Runtime; it is not installed",
                hint="pip install 'onnxruntime-gpu[cuda,cudnn]'",
            )
        self._check_start()
        return self._with_gpu(environment)

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        """Run one request in one fresh process, and kill it after `timeout_s`.

        Raises:
            TargetError: the process cannot be started, or the GPU does not answer any more.
        """
        if request.runtime != "onnxruntime":
            message = "expected an .onnx file; TFLite has no CUDA backend here"
            return RunReply(failure=Failure(kind=FailureKind.REFUSED, message=message))
        reply = self._run_in_child(request, timeout_s)
        if reply.environment is None:
            return reply
        return reply.model_copy(update={"environment": self._with_gpu(reply.environment)})

    def _run_in_child(self, request: RunRequest, timeout_s: float) -> RunReply:
        from edgecc.targets.child import run_in_child

        with turn():
            return run_in_child(request, timeout_s=timeout_s, memory_limit_bytes=self._options.memory_limit)

    def _with_gpu(self, environment: Environment) -> Environment:
        gpu = read_gpu_of(self.name, self._options.device)
        throttling = [words for words in (environment.throttling, gpu.throttling) if words is not None]
        return environment.model_copy(
            update={
                "accelerator": gpu.in_words,
                "accelerator_frequency_mhz": gpu.frequency_mhz,
                "accelerator_temperature_c": gpu.temperature_c,
                "throttling": ", ".join(throttling) or None,
            }
        )

    def _check_start(self) -> None:
        with tempfile.TemporaryDirectory(prefix="edgecc-cuda-") as folder:
            reply = self._run_in_child(self._smallest_request(Path(folder)), START_TIMEOUT_S)
        if reply.failure is None:
            return
        causes = _CAUSE.findall(reply.log)
        because = f" ({causes[-1]})" if causes else ""
        wants_tensorrt = self._options.provider == "tensorrt"
        raise TargetError(
            f"target `{self.name}`: the smallest model does not run on the GPU: {reply.failure.message}{because}",
            hint=f"{INSTALL_RUNTIME}. {INSTALL_TENSORRT}" if wants_tensorrt else INSTALL_RUNTIME,
        )

    def _smallest_request(self, folder: Path) -> RunRequest:
        import numpy as np  # not where a project file is checked

        model, inputs = folder / "smallest.onnx", folder / "inputs.npy"
        model.write_bytes(SMALLEST_MODEL)
        np.save(inputs, np.ones((1, 1), np.float32))
        return RunRequest(
            artifact_path=str(model),
            artifact_sha256=sha256_of_file(model),
            runtime="onnxruntime",
            settings=self.settings,
            inputs_path=str(inputs),
            outputs_path=str(folder / "outputs.npy"),
            task=OutputsTask(),
        )
