"""Runs one model file on a device and gives raw values back: `python runner.py < request.json > reply.json`.

With two arguments, `python runner.py request.json reply.json`, it reads and writes these files.

This one file is copied onto devices, so it imports nothing of edgecc: it needs Python 3.9, numpy and one runtime.
Request and reply are those of `wire.py`. Whatever a runtime prints goes to stderr, never into the reply.
Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import hashlib
import importlib.metadata
import itertools
import json
import math
import mmap
import os
import platform
import resource
import signal
import socket
import statistics
import sys
import time
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple, Type, Union

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Column = Tuple[Tuple[int, ...], Iterator[Array]]
    Spec = Dict[str, Any]
    Request = Dict[str, Any]

SCHEMA_VERSION = 1
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
GPU_PROVIDERS = (CUDA_PROVIDER, "TensorrtExecutionProvider")

# Warm-up runs in blocks of at least 3 inferences and 50 ms, until the medians of two blocks in a row are within 2 %
# of each other. A machine that never settles is measured after 3 s, and the log says so.
WARMUP_BLOCK_INFERENCES = 3
WARMUP_BLOCK_S = 0.05
WARMUP_TOLERANCE = 0.02
WARMUP_CAP_S = 3.0

FEWEST_TIMED = 10
"""However slow the model and little the time."""
RELOADED_BYTES = 16e6
"""How much all loads of one process may be together: those before are kept, or the next would lie in the same place."""
BLOCK_INFERENCES, BLOCK_S = 4, 0.005
"""Of two models that are timed in turn, one has at least so many inferences, and so many seconds, before the other."""
LEFT_ALONE = "the process beside this one ended early"
CPUS = Path("/sys/devices/system/cpu")
UNTOLD_CACHE_BYTES = 32 * 1024 * 1024
"""Taken for the largest cache where Linux does not tell."""
RELOADED_WARMUP_S = 0.005
"""How long a further load runs before it is timed: the processor is warm, but its caches hold another's weights."""

# What `spin_s` adds to every timed call is a counted loop: reading a clock in it would be too coarse for 10 µs models.
SPIN_CALIBRATIONS = 25
SPIN_CALIBRATION_TURNS = 100_000  # about 1 ms
SPIN_BASE_TURNS = 50
"""Turned even for no slowdown at all: after an inference the loop's code is out of the caches, and its first turns take
hundreds of ns. What is compared must both have paid for them."""

# Before instructions are counted: ONNX Runtime plans its memory in the first two inferences, and Python specializes its
# bytecode in the first eight calls; after some fifteen the allocator gives out the same blocks again. A fixed number,
# because a time limit would make the count depend on the machine.
COUNT_WARMUPS = 20
IDLE_COUNTS = 5
"""How often nothing is counted first: what counting costs by itself."""

# A request to valgrind, as its valgrind.h makes one: instructions that do nothing on a real x86-64. Here they are a
# function that takes a pointer to a code and its arguments, and gives valgrind's answer: 0 where there is no valgrind.
_ASK_VALGRIND = bytes.fromhex(
    "4889f8 31d2"  # mov rax, rdi; xor edx, edx
    "48c1c703 48c1c70d 48c1c73d 48c1c733 4887db"  # rol rdi, 3; 13; 61; 51; xchg rbx, rbx
    "4889d0 c3"  # mov rax, rdx; ret
)
_RUNNING_ON_VALGRIND = 0x1001
_ZERO_STATS, _START_INSTRUMENTATION, _DUMP_STATS = 0x43540001, 0x43540004, 0x43540000  # of callgrind.h

THROTTLING = ("under-voltage", "capped frequency", "throttled", "soft temperature limit")
"""The lowest bits of what a Raspberry Pi's `vcgencmd get_throttled` tells."""

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h

MAX_TIMED_SAMPLES = 32
"""How many different samples the timed inferences go round, so that the inputs stay small beside the model."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """The model cannot be run as asked; the message says what was expected and what came."""


class LiteRt:
    """A TFLite file in LiteRT, on the CPU."""

    distributions: Tuple[str, ...] = ("ai-edge-litert",)
    compute_s: Optional[float] = None
    """Of the last inference, without the copies in and out; None where the runtime does not tell these apart."""

    @staticmethod
    def module() -> Any:
        from ai_edge_litert import interpreter

        return interpreter

    @classmethod
    def load(cls, path: str, settings: Dict[str, Any]) -> LiteRt:
        return cls(path, settings["num_threads"], settings["xnnpack"])

    def __init__(self, path: str, num_threads: int, xnnpack: Optional[bool] = None) -> None:
        resolvers = self.module().OpResolverType
        self._interpreter = self.module().Interpreter(
            model_path=path,
            num_threads=num_threads,
            experimental_op_resolver_type=(
                resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES if xnnpack is False else resolvers.AUTO
            ),
        )
        self._xnnpack = xnnpack
        self._inputs = self._interpreter.get_input_details()
        # With open dimensions there is nothing yet to allocate for: the converter's stand-ins may not even fit.
        if not any(-1 in spec["shape"][1:] for spec in self.inputs()):
            self._interpreter.allocate_tensors()
        self._outputs = self._interpreter.get_output_details()
        self._input_indexes = [detail["index"] for detail in self._inputs]
        self._output_indexes = [detail["index"] for detail in self._outputs]
        self._is_single = len(self._input_indexes) == len(self._output_indexes) == 1

    def inputs(self) -> List[Spec]:
        return [_litert_spec(detail) for detail in self._inputs]

    def outputs(self) -> List[Spec]:
        return [_litert_spec(detail) for detail in self._outputs]

    def resize(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        """Make room for inputs of these shapes."""
        as_loaded = [tuple(detail["shape"]) for detail in self._inputs] == list(shapes)
        if as_loaded and not any(-1 in spec["shape"][1:] for spec in self.inputs()):
            return
        for detail, shape in zip(self._inputs, shapes):
            self._interpreter.resize_tensor_input(detail["index"], shape)
        self._interpreter.allocate_tensors()
        self._inputs = self._interpreter.get_input_details()

    def infer(self, feed: Sequence[Array]) -> List[Array]:
        """Copy the inputs in, run, copy the outputs out."""
        interpreter = self._interpreter
        if self._is_single:  # loops over one tensor would take a tenth as long as a small model
            interpreter.set_tensor(self._input_indexes[0], feed[0])
            interpreter.invoke()
            return [interpreter.get_tensor(self._output_indexes[0])]
        for index, array in zip(self._input_indexes, feed):
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return list(map(interpreter.get_tensor, self._output_indexes))  # quicker than a comprehension

    def operators(self) -> Dict[str, int]:
        """How many of the operators that the outputs need ran on XNNPACK, and how many on the runtime's own kernels.

        Raises:
            Refusal: XNNPACK was asked for, and took none.
        """
        # The runtime lists the operators as they were, then one node for each part of the graph that a delegate took.
        nodes = self._interpreter._get_ops_details()
        own = [node for node in nodes if node["op_name"] != "DELEGATE"]
        every, kept = _needed(own, self._output_indexes), _needed(nodes, self._output_indexes)
        counts = {"xnnpack": len(every - kept), "builtin": len(every & kept)}
        if self._xnnpack and not counts["xnnpack"]:
            raise Refusal(f"expected XNNPACK to take operators; it takes none of the {len(every)}")
        return counts


class TfliteRuntime(LiteRt):
    """A TFLite file in LiteRT's predecessor, for devices that have no other: its last release is 2.14, for numpy 1."""

    distributions = ("tflite-runtime",)

    @staticmethod
    def module() -> Any:
        from tflite_runtime import interpreter

        return interpreter


def _needed(nodes: Sequence[Dict[str, Any]], outputs: Sequence[int]) -> Set[int]:
    """Indexes of the nodes that the outputs are computed by; of two that write one tensor, the later one does."""
    writers = {tensor: node for node in nodes for tensor in map(int, node["outputs"])}
    needed: Dict[int, Dict[str, Any]] = {}
    tensors = list(map(int, outputs))
    while tensors:
        node = writers.get(tensors.pop())
        if node is not None and node["index"] not in needed:
            needed[node["index"]] = node
            tensors += map(int, node["inputs"])
    return set(needed)


def _litert_spec(detail: Dict[str, Any]) -> Spec:
    quantization = detail["quantization_parameters"]
    signature = detail["shape_signature"]
    return {
        "name": detail["name"],
        "shape": [int(size) for size in (signature if len(signature) else detail["shape"])],
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": [float(scale) for scale in quantization["scales"]],
        "zero_point": [int(point) for point in quantization["zero_points"]],
        "quantized_dimension": int(quantization["quantized_dimension"]),
    }


class OnnxRuntime:
    """An ONNX file in ONNX Runtime, with its tensors in the processor's memory."""

    distributions: Tuple[str, ...] = ("onnxruntime", "onnxruntime-gpu")
    compute_s: Optional[float] = None

    @staticmethod
    def module() -> Any:
        import onnxruntime

        return onnxruntime

    @staticmethod
    def load(path: str, settings: Dict[str, Any]) -> OnnxRuntime:
        if settings["providers"][0] in GPU_PROVIDERS:
            return OnnxRuntimeOnGpu(path, settings["num_threads"], settings["providers"], settings["device"])
        return OnnxRuntime(path, settings["num_threads"], settings["providers"])

    def __init__(self, path: str, num_threads: int, providers: Sequence[str] = (CPU_PROVIDER,)) -> None:
        onnxruntime = self.module()
        # ONNX Runtime leaves out a provider that it does not have, or cannot start, without an error.
        if absent := [name for name in providers if name not in onnxruntime.get_available_providers()]:
            raise Refusal(
                f"expected ONNX Runtime with {', '.join(absent)}; this one has "
                + ", ".join(onnxruntime.get_available_providers())
            )
        # Its telemetry would start a thread, write a file, and do its work inside some of the timed calls.
        onnxruntime.disable_telemetry_events()
        self._providers = providers
        self._session = onnxruntime.InferenceSession(
            path,
            self._session_options(num_threads),
            providers=[self._with_options(name) for name in providers],
            enable_fallback=False,
        )
        got = self._session.get_providers()
        if absent := [name for name in providers if name not in got]:
            raise Refusal(f"expected ONNX Runtime to start {', '.join(absent)}; it started {', '.join(got)}")
        self._feed: Dict[str, Array] = {}

    def _session_options(self, num_threads: int) -> Any:
        options = self.module().SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.execution_mode = self.module().ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options

    def _with_options(self, provider: str) -> Any:
        """A provider as a session takes it."""
        return provider

    def inputs(self) -> List[Spec]:
        return [_onnx_spec(node) for node in self._session.get_inputs()]

    def outputs(self) -> List[Spec]:
        return [_onnx_spec(node) for node in self._session.get_outputs()]

    def resize(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        """Make room for inputs of these shapes."""
        self._feed = {spec["name"]: np.empty(shape, spec["dtype"]) for spec, shape in zip(self.inputs(), shapes)}

    def infer(self, feed: Sequence[Array]) -> List[Array]:
        """Copy the inputs in, run, copy the outputs out."""
        # Handed an array, ONNX Runtime would read it in place: the copy makes it the same work as in LiteRT.
        for buffer, array in zip(self._feed.values(), feed):
            np.copyto(buffer, array)
        outputs: List[Array] = self._session.run(None, self._feed)
        return outputs

    def operators(self) -> Dict[str, int]:
        """How many operators, as ONNX Runtime fused them, each provider ran; none where an old one does not tell.

        Raises:
            Refusal: the preferred provider took none, or one that was not asked for took some.
        """
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            if tuple(self._providers) != (CPU_PROVIDER,):
                raise Refusal("expected an ONNX Runtime that tells which provider ran what; this one is too old")
            return {}
        ran: Dict[str, List[str]] = {name: [] for name in self._providers}
        for part in self._session.get_provider_graph_assignment_info():
            ran.setdefault(part.ep_name, []).extend(node.op_type for node in part.get_nodes())
        preferred = self._providers[0]
        if not ran[preferred] and any(ran.values()):
            raise Refusal(f"expected {preferred} to take operators; it takes none of the {sum(map(len, ran.values()))}")
        for name, kinds in ran.items():
            if name not in self._providers:
                others = ", ".join(sorted(set(kinds)))
                raise Refusal(f"expected every operator on {', '.join(self._providers)}; {name} runs {others}")
        return {name: len(kinds) for name, kinds in ran.items()}


class OnnxRuntimeOnGpu(OnnxRuntime):
    """An ONNX file in ONNX Runtime, with its tensors in the memory of an NVIDIA GPU.

    Its copies are its own, so that the time of the computing is told apart from theirs.
    """

    device_type = "cuda"

    def __init__(self, path: str, num_threads: int, providers: Sequence[str], device: int) -> None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # numbers GPUs as the driver does; CUDA's own is by speed
        if hasattr(self.module(), "preload_dlls"):
            self.module().preload_dlls()  # CUDA and cuDNN that were installed as Python packages
        self._device = device
        super().__init__(path, num_threads, providers)
        self._binding = self._session.io_binding()
        self._output_names = [spec["name"] for spec in self.outputs()]
        self._inputs: List[Any] = []

    def _session_options(self, num_threads: int) -> Any:
        options = super()._session_options(num_threads)
        if self._providers[0] == CUDA_PROVIDER:
            # It computes what is quantized in float, and has no kernel for an int32 bias: the constants become floats
            # at load. TensorRT computes on integers, and reads them from the graph as it is.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        return options

    def _with_options(self, provider: str) -> Any:
        options = {"device_id": str(self._device)}
        if provider == CUDA_PROVIDER:
            # Each convolution tries all its algorithms in the first inference, which is a warm-up.
            options["cudnn_conv_algo_search"] = "EXHAUSTIVE"
        return provider, options

    def resize(self, shapes: Sequence[Tuple[int, ...]]) -> None:
        """Make room for inputs of these shapes."""
        make = self.module().OrtValue.ortvalue_from_shape_and_type
        specs = self.inputs()
        self._inputs = [
            make(list(shape), np.dtype(spec["dtype"]), self.device_type, self._device)
            for spec, shape in zip(specs, shapes)
        ]
        for spec, value in zip(specs, self._inputs):
            self._binding.bind_ortvalue_input(spec["name"], value)

    def infer(self, feed: Sequence[Array]) -> List[Array]:
        """Copy the inputs in, run, copy the outputs out."""
        binding = self._binding
        for name in self._output_names:
            # Anew each time, as `run` does: the shape of an output may depend on what is in the inputs.
            binding.bind_output(name, self.device_type, self._device)
        for value, array in zip(self._inputs, feed):
            value.update_inplace(array)
        start = time.perf_counter()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        self.compute_s = time.perf_counter() - start
        outputs: List[Array] = binding.copy_outputs_to_cpu()
        return outputs


def _onnx_spec(node: Any) -> Spec:
    element = str(node.type)[len("tensor(") : -1]
    return {
        "name": node.name,
        "shape": [size if isinstance(size, int) else -1 for size in node.shape],
        "dtype": {"float": "float32", "double": "float64"}.get(element, element),
        "scale": [],
        "zero_point": [],
        "quantized_dimension": 0,
    }


Model = Union[LiteRt, OnnxRuntime]
RUNTIMES: Dict[str, Type[Model]] = {"litert": LiteRt, "tflite_runtime": TfliteRuntime, "onnxruntime": OnnxRuntime}


def main() -> None:
    request_path, reply_path = sys.argv[1:] or (0, os.dup(1))
    # A native library that prints would spoil the reply, so file descriptor 1 becomes stderr.
    os.dup2(2, 1)
    faulthandler.enable()
    _end_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(request_path) as request_file:  # noqa: PTH123 - it may be a descriptor
        request = json.load(request_file)
    with open(reply_path, "w") as reply_file:  # noqa: PTH123
        json.dump(answer(request), reply_file)
    # Some runtimes crash while the interpreter shuts down; the values are valid all the same.
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """Have Linux kill this process when its parent is killed: nothing goes on measuring for nobody."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def answer(request: Request) -> Dict[str, Any]:
    """The reply to a request. What the runtime raises is a failure in the reply, not an exception."""
    try:
        return {"schema_version": SCHEMA_VERSION, **_run(request)}
    except Exception as error:
        return {"schema_version": SCHEMA_VERSION, "failure": _failure(error)}


def _failure(error: Exception) -> Dict[str, str]:
    message = " ".join(str(error).split())[:500]
    out_of_memory = isinstance(error, MemoryError) or says_out_of_memory(message)
    kind = "out_of_memory" if out_of_memory else "refused"
    return {"kind": kind, "message": message if isinstance(error, Refusal) else f"{type(error).__name__}: {message}"}


def says_out_of_memory(text: str) -> bool:
    """Whether a runtime's or Python's message tells of an allocation that failed."""
    signs = (
        "bad_alloc", "bad allocation", "MemoryError", "Failed to allocate memory", "Cannot allocate memory",
        "CUDA failure 2: out of memory",
    )  # fmt: skip
    return any(sign in text for sign in signs)


def _run(request: Request) -> Dict[str, Any]:
    return _run_alone(request) if request["beside"] is None else _run_side_by_side(request)


def _run_alone(request: Request, turns: Optional[_Turns] = None) -> Dict[str, Any]:
    if request["schema_version"] != SCHEMA_VERSION:
        raise Refusal(f"expected a request of version {SCHEMA_VERSION}; got version {request['schema_version']}")
    _check_digest(Path(request["artifact_path"]), request["artifact_sha256"])
    environment = describe_environment()
    runtime = _start_runtime(request["runtime"])
    memory = _Memory()
    load_cold_s = _load(runtime, request)[1]  # the model is let go at once: two in memory are nobody's peak
    model, load_warm_s = _load(runtime, request)
    reply = {
        "runtime_version": environment["runtimes"].get(request["runtime"], "unknown"),
        "environment": environment,
        "inputs": model.inputs(),
        "outputs": model.outputs(),
    }
    if request["task"]["kind"] == "outputs":
        _write_outputs(model, request)
    elif request["task"]["kind"] == "instructions":
        reply["instructions"] = _count_instructions(model, request)
    else:
        process = _time_inferences(runtime, model, request, memory, turns)
        reply["process"] = {**process, "load_cold_s": load_cold_s, "load_warm_s": load_warm_s}
    # Asked last: a model with open dimensions is planned only when its first inputs are there.
    return {**reply, "operators": model.operators()}


def _run_side_by_side(request: Request) -> Dict[str, Any]:
    """The reply of a process for each artifact, which take turns.

    Both are forks of this one, before there is a model in it: where things lie in memory, which makes a small model up
    to a fifth slower or faster, is alike in both. This one would not be like its own fork, whose pages are copies.
    """
    _start_runtime(request["runtime"])
    beside = request["beside"]
    own = {
        **request,
        **beside,
        "task": {**request["task"], "spin_s": beside["spin_s"]},
        "beside": {"artifact_path": request["artifact_path"]},
    }
    ours, theirs = socket.socketpair()
    forks = [_Fork(request, ours, theirs, is_first=True), _Fork(own, theirs, ours, is_first=False)]
    ours.close()
    theirs.close()
    reply, other = [fork.reply() for fork in forks]
    # What the one says of the other's end explains nothing.
    failures = sorted((each["failure"] for each in (reply, other) if "failure" in each), key=LEFT_ALONE.__eq__)
    if failures:
        raise Refusal(failures[0])
    return {**reply, "beside": other["process"]}


class _Fork:
    """A process that answers a request in turns with another one."""

    def __init__(self, request: Request, own_end: socket.socket, other_end: socket.socket, *, is_first: bool) -> None:
        reads, writes = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _end_with_parent()
                os.close(reads)
                other_end.close()
                with _Turns(own_end, is_first=is_first) as turns, os.fdopen(writes, "w") as file:
                    json.dump(_reply_in_turns(request, turns), file)
            finally:
                os._exit(0)
        os.close(writes)
        self._file = os.fdopen(reads)

    def reply(self) -> Dict[str, Any]:
        """What it answered, when it has ended."""
        with self._file:
            text = self._file.read()
        os.waitpid(self._pid, 0)
        reply: Dict[str, Any] = json.loads(text) if text else {"failure": "one of the two processes side by side died"}
        return reply


def _reply_in_turns(request: Request, turns: _Turns) -> Dict[str, Any]:
    try:
        if not turns.is_first:
            turns.take()
        return _run_alone(request, turns)
    except Exception as error:
        return {"failure": _failure(error)["message"]}


class _Turns:
    """One of two processes that never run at the same time and, where they may, run on the same processor."""

    def __init__(self, connection: socket.socket, *, is_first: bool) -> None:
        self.is_first = is_first
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._cpus = os.sched_getaffinity(0)
        self._libc = ctypes.CDLL(None)
        self._other_s = 0.0

    def __enter__(self) -> _Turns:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()

    def slower_s(self, own_s: float) -> float:
        """How long an inference takes of the slower of the two. It is the first one's turn when both know."""
        self.give(own_s)
        if self.is_first:
            self.take()
        return max(own_s, self._other_s)

    def give(self, own_s: float = 0.0) -> None:
        """Let the other run, and tell it how long an inference takes here."""
        cpu = self._libc.sched_getcpu()
        if cpu in self._cpus:
            os.sched_setaffinity(0, {cpu})  # to wake up where the other one was just busy
        self.send(cpu=cpu, own_s=own_s)

    def take(self) -> None:
        """Wait for the other."""
        message = self.receive()
        # Of two that sleep in turn, Linux would keep each on a processor of its own, which is no other's like, and has
        # gone to sleep as well.
        if message["cpu"] in self._cpus:
            os.sched_setaffinity(0, {message["cpu"]})
        os.sched_setaffinity(0, self._cpus)
        self._other_s = message["own_s"]

    def send(self, **message: Any) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> Dict[str, Any]:
        """What the other says.

        Raises:
            Refusal: it is gone.
        """
        line = self._lines.readline()
        if not line:
            raise Refusal(LEFT_ALONE)
        message: Dict[str, Any] = json.loads(line)
        return message


def _check_digest(artifact: Path, expected: str) -> None:
    digest = hashlib.sha256()
    with artifact.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise Refusal(f"{artifact}: expected the sha256 {expected}; got {digest.hexdigest()}: the file was changed")


def _start_runtime(name: str) -> Type[Model]:
    if name not in RUNTIMES:
        raise Refusal(f"expected a runtime out of {', '.join(RUNTIMES)}; got {name}")
    runtime = RUNTIMES[name]
    try:
        runtime.module()
    except ImportError as error:
        package = runtime.distributions[0]
        raise Refusal(f"{package} cannot be imported ({error}): pip install {package}") from error
    return runtime


def _load(runtime: Type[Model], request: Request) -> Tuple[Model, float]:
    start = time.perf_counter()
    model = runtime.load(request["artifact_path"], request["settings"])
    return model, time.perf_counter() - start


def _time_inferences(
    runtime: Type[Model], model: Model, request: Request, memory: _Memory, turns: Optional[_Turns]
) -> Dict[str, Any]:
    feeds = _batches(model.inputs(), request)
    first = next(feeds)
    model.resize([array.shape for array in first])
    gc.disable()
    spin_s = request["task"]["spin_s"]
    spin_turns = None if spin_s is None else SPIN_BASE_TURNS + _spin_turns(spin_s)  # before the warm-up: it disturbs it
    model.infer(first)  # outside the warm-up: a GPU chooses its kernels now, for longer than the cap may be
    warmups, median_s = _warm_up(model, first)
    peak_bytes = memory.peak_bytes()  # before the other samples are read, which are not the model's
    batches = [first, *feeds]
    for feed in batches:  # reading them has cooled the caches again
        model.infer(feed)
    caches = _Caches() if request["task"]["cold_caches"] else None
    each_s = median_s if caches is None else median_s + caches.fill_s
    if turns is not None:
        each_s = turns.slower_s(each_s)
    latencies_s: List[float] = []
    computes_s: List[float] = []
    models = [model]
    cycle = itertools.cycle(batches)
    for load, share in enumerate(_shares(_inferences(request["task"], each_s), request)):
        block = share if turns is None else max(BLOCK_INFERENCES, math.ceil(BLOCK_S / each_s))
        for start in range(0, share, block):
            if turns is not None and (load or start or not turns.is_first):
                turns.take()
            if load and start == 0:
                models.append(_load_again(runtime, request, first))
            if turns is not None:
                models[-1].infer(first)  # what the other one did is in the caches
            for feed in itertools.islice(cycle, min(block, share - start)):
                if caches is not None:
                    caches.fill()
                if spin_turns is None:
                    latencies_s.append(_time_one(models[-1], feed))
                else:
                    latencies_s.append(_time_one_and_spin(models[-1], feed, spin_turns))
                if models[-1].compute_s is not None:
                    computes_s.append(models[-1].compute_s)
            if turns is not None:
                turns.give()
    if turns is not None and turns.is_first:
        turns.take()  # what is done next would be heard in the other one's last block
    gc.enable()
    return {
        "latencies_s": latencies_s,
        "computes_s": computes_s,
        "batch_size": request["settings"]["batch_size"],
        "warmups": 1 + warmups + len(batches),
        "memory_peak_bytes": peak_bytes,
    }


def _shares(inferences: int, request: Request) -> List[int]:
    """How many of the inferences each load of a model gets; of two models, as many as the larger one is loaded."""
    paths = [each["artifact_path"] for each in (request, request["beside"]) if each is not None]
    room = int(RELOADED_BYTES // max(Path(path).stat().st_size for path in paths))
    loads = max(1, min(request["task"]["loads"], inferences, room))
    return [(inferences + index) // loads for index in range(loads)]


def _load_again(runtime: Type[Model], request: Request, feed: Sequence[Array]) -> Model:
    model, _ = _load(runtime, request)
    model.resize([array.shape for array in feed])
    _time_block(model, feed, RELOADED_WARMUP_S)
    return model


class _Caches:
    """The processor's caches, filled with other data: twice as much as the largest of them holds."""

    def __init__(self) -> None:
        self._data = np.zeros(2 * _largest_cache_bytes(), np.uint8)
        self.fill()  # makes the pages, which takes longer
        start = time.perf_counter()
        self.fill()
        self.fill_s = time.perf_counter() - start

    def fill(self) -> None:
        self._data += 1  # reads and writes every line


def _largest_cache_bytes() -> int:
    texts = [_read(str(path)).strip() for path in CPUS.glob("cpu[0-9]*/cache/index*/size")]
    kibibytes = [int(text[:-1]) for text in texts if text[:-1].isdigit() and text.endswith("K")]
    return max(kibibytes) * 1024 if kibibytes else UNTOLD_CACHE_BYTES


def _inferences(task: Dict[str, Any], median_s: float) -> int:
    """How many are timed of a model that takes `median_s`."""
    asked: int = task["inferences"]
    enough_s: Optional[float] = task["enough_s"]
    return asked if enough_s is None else min(asked, max(FEWEST_TIMED, math.ceil(enough_s / median_s)))


def _warm_up(model: Model, feed: Sequence[Array]) -> Tuple[int, float]:
    """Run until the time of an inference is stable, as told at the top; how many ran, and the last block's median."""
    start = time.perf_counter()
    count, previous = 0, 0.0
    while time.perf_counter() - start < WARMUP_CAP_S:
        block = _time_block(model, feed)
        count += len(block)
        median = statistics.median(block)
        if abs(median - previous) <= WARMUP_TOLERANCE * previous:
            return count, median
        previous = median
    print(f"warm-up: no two blocks in a row within {WARMUP_TOLERANCE:.0%} in {WARMUP_CAP_S:g} s", file=sys.stderr)
    return count, previous


def _time_block(model: Model, feed: Sequence[Array], duration_s: float = WARMUP_BLOCK_S) -> List[float]:
    values: List[float] = []
    start = time.perf_counter()
    while len(values) < WARMUP_BLOCK_INFERENCES or time.perf_counter() - start < duration_s:
        values.append(_time_one(model, feed))
    return values


def _time_one(model: Model, feed: Sequence[Array]) -> float:
    start = time.perf_counter()
    model.infer(feed)
    return time.perf_counter() - start


def _time_one_and_spin(model: Model, feed: Sequence[Array], spin_turns: int) -> float:
    turns = itertools.repeat(False, spin_turns)
    start = time.perf_counter()
    model.infer(feed)
    any(turns)  # a loop in C of so many turns: some ns each
    return time.perf_counter() - start


def _spin_turns(spin_s: float) -> int:
    """How many turns of the loop in `_time_one_and_spin` take so long here."""
    empty_s, loop_s = (
        statistics.median(_time_spin(turns) for _ in range(SPIN_CALIBRATIONS)) for turns in (0, SPIN_CALIBRATION_TURNS)
    )
    return round(spin_s * SPIN_CALIBRATION_TURNS / (loop_s - empty_s))


def _time_spin(spin_turns: int) -> float:
    turns = itertools.repeat(False, spin_turns)
    start = time.perf_counter()
    any(turns)
    return time.perf_counter() - start


def _count_instructions(model: Model, request: Request) -> List[int]:
    """The counts of single inferences; callgrind writes its own into files, and none are here."""
    feed = next(_feeds(model.inputs(), request))
    model.resize([array.shape for array in feed])
    counter = _Callgrind() if request["task"]["counter"] == "callgrind" else _Clock()
    gc.disable()
    for _ in range(COUNT_WARMUPS):
        model.infer(feed)
    counter.start()
    for _ in range(IDLE_COUNTS):
        counter.count(len, feed)
    for _ in range(request["task"]["inferences"]):
        counter.count(model.infer, feed)
    gc.enable()
    return counter.counts()


class _Clock:
    """The clock of an emulated machine that advances 1 ns with every instruction. Elsewhere its counts mean nothing."""

    def __init__(self) -> None:
        self._counts: List[int] = []

    def start(self) -> None:
        self.count(len, [])  # its own code is met for the first time
        self._counts.clear()

    def count(self, infer: Callable[[Sequence[Array]], Any], feed: Sequence[Array]) -> None:
        start = time.perf_counter_ns()
        infer(feed)
        self._counts.append(time.perf_counter_ns() - start)

    def counts(self) -> List[int]:
        idle = min(self._counts[:IDLE_COUNTS])
        return [count - idle for count in self._counts[IDLE_COUNTS:]]


class _Callgrind:
    """The callgrind that this process runs under.

    Raises:
        Refusal: it runs under none.
    """

    def __init__(self) -> None:
        if platform.machine() != "x86_64":
            raise Refusal(f"instructions are counted on an x86-64; this machine is {platform.machine()}")
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_ASK_VALGRIND)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._ask = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p)(address)
        self._zero, self._dump = _valgrind_request(_ZERO_STATS), _valgrind_request(_DUMP_STATS)
        if not self._ask(_valgrind_request(_RUNNING_ON_VALGRIND)):
            raise Refusal("instructions are counted under valgrind; this process does not run under it")

    def start(self) -> None:
        self._ask(_valgrind_request(_START_INSTRUMENTATION))

    def count(self, infer: Callable[[Sequence[Array]], Any], feed: Sequence[Array]) -> None:
        """Have callgrind write how many instructions this thread takes for one call."""
        self._ask(self._zero)
        infer(feed)
        self._ask(self._dump)

    def counts(self) -> List[int]:
        return []


def _valgrind_request(code: int) -> Any:
    return (ctypes.c_size_t * 6)(code)


def _batches(specs: Sequence[Spec], request: Request) -> Iterator[List[Array]]:
    """What to time: single samples, or so many of them stacked as the request asks for."""
    feeds = itertools.islice(_feeds(specs, request), MAX_TIMED_SAMPLES)
    size: int = request["settings"]["batch_size"]
    if size == 1:
        return feeds
    if any(shape[0] != 1 for shape in request["shapes"]):
        raise Refusal(f"expected shapes of one sample, of which {size} are stacked; got {request['shapes']}")
    for spec in specs:
        if spec["shape"][:1] != [-1]:
            raise Refusal(
                f"input `{spec['name']}` takes shape {_shown(spec['shape'])}: its batch is fixed; "
                f"expected an open one, for {size} samples at a time; edgecc emits one with `dynamic_batch = true`"
            )
    return _stacked(feeds, size)


def _stacked(feeds: Iterator[List[Array]], size: int) -> Iterator[List[Array]]:
    """Batches of so many samples; the last one is filled up with the first samples again."""
    own = first = list(itertools.islice(feeds, size))
    while own:
        batch = itertools.islice(itertools.chain(own, itertools.cycle(first)), size)
        yield [np.concatenate(arrays) for arrays in zip(*batch)]
        own = list(itertools.islice(feeds, size))


def _feeds(specs: Sequence[Spec], request: Request) -> Iterator[List[Array]]:
    """Samples of the request's file, or random inputs: one set, or one for each place in a batch."""
    if request["inputs_path"]:
        return _encoded_samples(specs, request)[1]
    random = np.random.default_rng(request["task"]["seed"])
    shapes = _given_shapes(specs, request)
    sets = request["settings"]["batch_size"]
    return ([_random(random, spec, shape) for spec, shape in zip(specs, shapes)] for _ in range(sets))


def _given_shapes(specs: Sequence[Spec], request: Request) -> List[Tuple[int, ...]]:
    given = request["shapes"] or [None] * len(specs)
    if len(given) != len(specs):
        raise Refusal(f"expected shapes for the model's {len(specs)} inputs; got {len(given)}")
    return [_closed_shape(spec, shape) for spec, shape in zip(specs, given)]


def _closed_shape(spec: Spec, given: Optional[Sequence[int]]) -> Tuple[int, ...]:
    if given is not None:
        _check_shape(spec, given)
        return tuple(given)
    shape = spec["shape"]
    if -1 in shape[1:]:
        raise Refusal(f"input `{spec['name']}` has open dimensions, {_shown(shape)}, and no shape was given for it")
    return tuple(abs(size) for size in shape)  # an open batch is 1


def _random(random: np.random.Generator, spec: Spec, shape: Tuple[int, ...]) -> Array:
    dtype = np.dtype(spec["dtype"])
    if dtype.kind == "f":
        return np.asarray(random.random(shape, dtype=np.float32), dtype=dtype)
    if dtype.kind in "iu" and (spec["scale"] or dtype.itemsize == 1):
        limits = np.iinfo(spec["dtype"])
        return random.integers(limits.min, limits.max, shape, dtype=dtype.type, endpoint=True)
    if dtype.kind in "iub":
        # Wide integers are indices, as into an embedding: any table has a row 0 and a row 1.
        return random.integers(0, 2, shape).astype(dtype)
    raise Refusal(f"input `{spec['name']}` takes {dtype}, for which edgecc draws no random values: give samples")


def _encoded_samples(specs: Sequence[Spec], request: Request) -> Tuple[int, Iterator[List[Array]]]:
    """How many samples the request's file has, and each as inputs at batch 1 in the dtypes of the model's own."""
    columns = _in_order(_read_columns(request["inputs_path"]), specs)
    counts = {shape[0] if shape else 0 for shape, _ in columns}
    if len(counts) != 1 or 0 in counts:
        raise Refusal(f"expected samples of shape (n, ...); got {', '.join(str(shape) for shape, _ in columns)}")
    for spec, (shape, _) in zip(specs, columns):
        _check_shape(spec, (1, *shape[1:]))
    samples = zip(*(rows for _, rows in columns))
    feeds = ([encode(row[np.newaxis], spec) for row, spec in zip(rows, specs)] for rows in samples)
    return counts.pop(), feeds


def _read_columns(path: str) -> Dict[str, Column]:
    """The samples of each input, by the input's name or position; read when they are needed, not before."""
    with Path(path).open("rb") as file:
        is_archive = file.read(2) == b"PK"
    if not is_archive:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"0": (samples.shape, iter(samples if samples.ndim else []))}
    archive = zipfile.ZipFile(path)
    return {name[: -len(".npy")]: _read_rows(archive.open(name)) for name in archive.namelist()}


def _read_rows(file: IO[bytes]) -> Column:
    """The shape of a `.npy` in C order, and its rows one by one."""
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, in_fortran_order, dtype = headers[version](file)
    if in_fortran_order or dtype.hasobject or not shape:
        raise Refusal(f"expected samples of shape (n, ...) in C order; got {dtype} of shape {shape}")
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    return shape, (np.frombuffer(file.read(row_bytes), dtype).reshape(shape[1:]) for _ in range(shape[0]))


def _in_order(columns: Dict[str, Column], specs: Sequence[Spec]) -> List[Column]:
    """One column an input, matched by name, or by position where that is what they are named by."""
    names = [spec["name"] for spec in specs]
    for expected in (names, [str(index) for index in range(len(specs))]):
        if sorted(expected) == sorted(columns):
            return [columns[name] for name in expected]
    if list(columns) == ["0"]:
        raise Refusal(f"samples of one input fit a model with one input; this one has {len(specs)}")
    raise Refusal(f"expected samples for the inputs {', '.join(names)}; got {', '.join(columns)}")


def _check_shape(spec: Spec, shape: Sequence[int]) -> None:
    expected = spec["shape"]
    fits = len(shape) == len(expected) and all(size in (-1, given) for size, given in zip(expected, shape))
    if not fits:
        raise Refusal(f"input `{spec['name']}` takes shape {_shown(expected)}; got {_shown(shape)}")


def _shown(shape: Sequence[int]) -> str:
    return "(" + ", ".join("open" if size == -1 else str(size) for size in shape) + ")"


def encode(values: Array, spec: Spec) -> Array:
    """Real values in the dtype of the model's input: quantized where it is quantized, else cast without loss of sense.

    Quantized is clip(round(x / scale) + zero_point), rounding half to even, as ONNX's QuantizeLinear does.

    Raises:
        Refusal: values that an integer input cannot hold.
    """
    dtype = np.dtype(spec["dtype"])
    if dtype.kind == "f":
        return np.ascontiguousarray(values, dtype)
    if spec["scale"] and not np.isnan(values).any():
        scale, zero_point = (_along_dimension(spec, key, values.ndim) for key in ("scale", "zero_point"))
        limits = np.iinfo(spec["dtype"])
        quantized: Array = np.rint(values.astype(np.float64) / scale) + zero_point
        return quantized.clip(limits.min, limits.max).astype(dtype)
    with np.errstate(invalid="ignore"):
        cast = np.ascontiguousarray(values, dtype)
    if not np.array_equal(cast, values):
        raise Refusal(f"input `{spec['name']}` takes {dtype}; a sample holds values that {dtype} cannot")
    return cast


def _along_dimension(spec: Spec, key: str, rank: int) -> Array:
    shape = [1] * rank
    shape[spec["quantized_dimension"]] = -1
    return np.asarray(spec[key]).reshape(shape)


def _write_outputs(model: Model, request: Request) -> None:
    """Write each output of every sample, shape (n, ...), in the model's own dtype."""
    count, feeds = _encoded_samples(model.inputs(), request)
    first = next(feeds)
    model.resize([array.shape for array in first])
    rows = _infer_one(model, first)
    columns = [np.empty((count, *row.shape), row.dtype) for row in rows]
    _store(columns, 0, rows)
    for index, feed in enumerate(feeds, 1):
        _store(columns, index, _infer_one(model, feed))
    members: Dict[str, Any] = {str(index): column for index, column in enumerate(columns)}
    with Path(request["outputs_path"]).open("wb") as file:
        if len(columns) == 1:
            np.save(file, columns[0], allow_pickle=False)
        else:
            np.savez(file, **members)


def _infer_one(model: Model, feed: Sequence[Array]) -> List[Array]:
    """The model's outputs for one sample, without the batch of 1."""
    outputs = [np.asarray(output) for output in model.infer(feed)]
    return [output[0] if output.shape[:1] == (1,) else output for output in outputs]


def _store(columns: Sequence[Array], index: int, rows: Sequence[Array]) -> None:
    for column, row in zip(columns, rows):
        if row.shape != column.shape[1:]:
            raise Refusal(f"expected outputs of one shape, {column.shape[1:]} first; sample {index} gave {row.shape}")
        column[index] = row


class _Memory:
    """The peak of resident memory since this was made, from /proc. ru_maxrss is no use: a fork inherits it."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # makes the peak so far what is resident now
            self._reset = True
        except OSError:
            self._reset = False
        self._before = _memory_status()

    def peak_bytes(self) -> Optional[int]:
        """None where Linux does not tell, or where an earlier peak hides this one."""
        now = _memory_status()
        if not now or (not self._reset and now["VmHWM"] == self._before["VmHWM"]):
            return None
        return max(0, now["VmHWM"] - self._before["VmRSS"])


def _memory_status() -> Dict[str, int]:
    lines = (line.split() for line in _read("/proc/self/status").splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if words and words[0] in ("VmHWM:", "VmRSS:")}


def describe_environment() -> Dict[str, Any]:
    """Where this runs, and which runtimes are installed. A target that emulates sets `emulated` itself."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    governor = _read(f"/sys/devices/system/cpu/cpu{cores[0]}/cpufreq/scaling_governor").strip()
    versions = {name: installed_version(runtime) for name, runtime in RUNTIMES.items()}
    return {
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu_model": _cpu_model(),
        "cores": len(cores),
        "governor": governor or None,
        "accelerator": None,
        "python": platform.python_version(),
        "runtimes": {name: version for name, version in versions.items() if version},
        "emulated": "QEMU_CPU" in os.environ,  # set for QEMU's user mode alone, and passed on where that runs this
        "load_average": os.getloadavg()[0],
        "frequency_mhz": _frequency_mhz(cores[0]),
        "temperature_c": _temperature_c(),
        "throttling": _throttling(),
    }


def _cpu_model() -> str:
    lines = [line.partition(":") for line in _read("/proc/cpuinfo").splitlines()]
    fields = {key.strip(): value.strip() for key, _, value in lines}
    for key in ("model name", "Model", "Hardware"):
        if fields.get(key):
            return fields[key]
    return platform.processor() or platform.machine()


def _frequency_mhz(core: int) -> Optional[float]:
    """The clock of a core at this moment."""
    khz = _read(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").strip()
    if khz.isdigit():
        return int(khz) / 1000
    lines = [line.partition(":")[2] for line in _read("/proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    return float(lines[0]) if lines else None


def _temperature_c() -> Optional[float]:
    """Of the hottest of what Linux calls thermal zones."""
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    texts = [_read(str(zone)).strip() for zone in zones]
    values = [int(text) / 1000 for text in texts if text.lstrip("-").isdigit()]
    return max(values) if values else None


def _throttling() -> Optional[str]:
    """What a Raspberry Pi's firmware says slows it down now, in words; None where nothing does or nobody tells."""
    text = _read("/sys/devices/platform/soc/soc:firmware/get_throttled").strip()
    try:
        flags = int(text, 16)
    except ValueError:
        return None
    return ", ".join(words for bit, words in enumerate(THROTTLING) if flags >> bit & 1) or None


def installed_version(runtime: Type[Model]) -> Optional[str]:
    versions = (_distribution_version(distribution) for distribution in runtime.distributions)
    return next((version for version in versions if version), None)


def _distribution_version(name: str) -> Optional[str]:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
