"""The wire format between a target and the runner on the device: one JSON request, one JSON reply.

`runner.py` reads and writes the same JSON with the standard library alone; these are the host's checked views of it.
The paths in a request are those of the device: a target that carries files there names them anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from edgecc.artifact import Format, Record, TensorSpec
from edgecc.results import Environment, Failure, ProcessSample, Seconds

Runtime = Literal["litert", "tflite_runtime", "onnxruntime"]

RUNTIME_OF: dict[Format, Runtime] = {Format.TFLITE: "litert", Format.ONNX: "onnxruntime"}


CPU_PROVIDER = "CPUExecutionProvider"
GPU_PROVIDERS = ("CUDAExecutionProvider", "TensorrtExecutionProvider")


class RuntimeSettings(Record):
    """How a runtime computes."""

    num_threads: PositiveInt = 1
    xnnpack: bool | None = None
    """LiteRT's XNNPACK delegate: True is refused where it takes no operator, False is off; None leaves it to the
    runtime."""
    providers: tuple[str, ...] = (CPU_PROVIDER,)
    """ONNX Runtime's execution providers, the preferred one first. Refused where that one takes no operator, or where
    one that is not named takes any."""
    device: NonNegativeInt = 0
    """Of several GPUs the one with this number, as the driver counts them."""
    batch_size: PositiveInt = 1
    """How many samples a LatencyTask stacks for one inference. Refused where a model's batch is not open."""


class LatencyTask(Record):
    """Warm up until stable, then time single inferences."""

    kind: Literal["latency"] = "latency"
    inferences: int
    enough_s: Seconds | None = None
    """Fewer inferences where so many would take longer than this, though no fewer than the runner's FEWEST_TIMED."""
    loads: PositiveInt = 1
    """Over how many loads of the model the inferences are spread, where it is small: each load lies elsewhere in
    memory, which makes a small model up to a fifth slower or faster."""
    cold_caches: bool = False
    """Fill the processor's caches with other data before each timed inference."""
    seed: int = 0
    """Of the random inputs, drawn to the model's own shapes, where `inputs_path` is None."""
    spin_s: Seconds | None = None
    """Spun inside every timed call, after the inference: a slowdown of known size, to see whether it would be found.
    The spinning loop costs something before it turns, so what is compared with it has 0, and not None."""


class Beside(Record):
    """A second artifact that a LatencyTask times in a second process, whose inferences take turns with the first one's.

    A processor that changes its clock, and whatever else the machine does, then meets both alike. It runs as the first
    does, on the same samples.
    """

    artifact_path: str
    artifact_sha256: str
    shapes: tuple[tuple[int, ...], ...] = ()
    spin_s: Seconds | None = None
    """As the task's own, for this artifact."""


class OutputsTask(Record):
    """Run every sample once and give the raw outputs back."""

    kind: Literal["outputs"] = "outputs"


class InstructionsTask(Record):
    """Count the instructions of single inferences on the thread that asks for them."""

    kind: Literal["instructions"] = "instructions"
    counter: Literal["callgrind", "clock"] = "callgrind"
    """What counts: callgrind, under which the runner runs; or the clock of an emulated machine, which advances 1 ns
    with every instruction. The target knows."""
    inferences: PositiveInt = 5
    seed: int = 0
    """Of the random inputs, drawn to the model's own shapes, where `inputs_path` is None."""


class RunRequest(Record):
    """What the runner is asked to do, in one fresh process."""

    schema_version: Literal[1] = 1
    artifact_path: str
    artifact_sha256: str
    runtime: Runtime
    settings: RuntimeSettings = RuntimeSettings()
    inputs_path: str | None = None
    """Samples (n, ...) in real values: a `.npy` for one input; for several an `.npz` with a member for each, named as
    the input or by its position, "0", "1", .... The runner quantizes them where the model's input is quantized."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Shapes for the model's inputs, where they are open."""
    outputs_path: str | None = None
    """Where the runner writes raw outputs, shape (n, ...), in the model's own dtype: as `.npy` where there is one, as
    `.npz` with the members "0", "1", ... where there are several."""
    task: LatencyTask | OutputsTask | InstructionsTask
    beside: Beside | None = None
    """For a LatencyTask."""


class RunReply(Record):
    """What the runner answered. Exactly one of `failure` and the rest is there."""

    schema_version: Literal[1] = 1
    runtime_version: str = ""
    environment: Environment | None = None
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    operators: Mapping[str, int] = {}
    """How many of the model's operators ran where, read back from the runtime: on LiteRT's delegates (`xnnpack`) or
    its own kernels (`builtin`), or by ONNX Runtime's providers. Empty where the runtime does not tell."""
    process: ProcessSample | None = None
    """Of a LatencyTask."""
    beside: ProcessSample | None = None
    """Of the artifact beside it."""
    instructions: tuple[PositiveInt, ...] = ()
    """Of an InstructionsTask: one count an inference, in the order they ran."""
    instructions_counter: str = ""
    """What counted them, and on which processor."""
    failure: Failure | None = None
    log: str = ""
    """The end of what the process wrote to stderr."""
