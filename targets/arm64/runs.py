"""A request in a container: what it sees of this machine, and what its end means."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edgecc.errors import TargetError
from edgecc.files import is_file, writing_to
from edgecc.results import Failure, FailureKind
from edgecc.targets.arm64.container import Ended, Job, run_in_container
from edgecc.targets.arm64.cpu_models import CpuModel, cpuinfo
from edgecc.targets.arm64.image import SITES
from edgecc.targets.child import RUNNER, failure_of_exit, parsed
from edgecc.targets.wire import OutputsTask, RunReply, RunRequest
from edgecc.units import format_bytes

FOLDER = "/edgecc"
OUT = f"{FOLDER}/out"
MODEL, BESIDE, INPUTS, REQUEST = (f"{FOLDER}/{name}" for name in ("model", "beside", "inputs", "request.json"))
OUTPUTS, REPLY = "outputs", "reply.json"
# A file that is closed as the interpreter ends would hide that the disk is full.
DESCRIBE = (
    "import json, pathlib, runner, sys; pathlib.Path(sys.argv[1]).write_text(json.dumps(runner.describe_environment()))"
)
DESCRIBE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Machine:
    """What every container of a target has in common."""

    image: str
    cpu: CpuModel | None
    """What QEMU plays; None where this machine is an ARM64 itself."""
    memory_limit_bytes: float


def describe(machine: Machine) -> dict[str, Any]:
    """What the runner says of its environment in a container.

    Raises:
        TargetError: as `run_in_container`, or Python does not run there.
    """
    with _folder() as name:
        folder = Path(name)
        ended = run_in_container(
            _job(machine, folder, ["-c", DESCRIBE, f"{OUT}/{REPLY}"], {}, "litert", DESCRIBE_TIMEOUT_S)
        )
        failure = _failure(ended, DESCRIBE_TIMEOUT_S, machine.memory_limit_bytes)
        if failure is not None:
            raise TargetError(f"Python does not run in the image {machine.image}: {failure.message}")
        try:
            with _opened(folder / "out" / REPLY) as file:
                described: dict[str, Any] = json.load(file)
        except (OSError, ValueError) as error:
            raise TargetError(f"Python does not run in the image {machine.image}: it said nothing of itself") from error
        return described


def answer(machine: Machine, request: RunRequest, timeout_s: float) -> RunReply:
    """Run a request in a fresh container. Its paths are of this machine.

    Raises:
        TargetError: as `run_in_container`.
        OutputError: the temporary folder, or that of the outputs, cannot be written to.
    """
    files = _files(request)
    for path in files.values():
        if not is_file(path):
            return RunReply(failure=Failure(kind=FailureKind.REFUSED, message=f"{path}: expected a file"))
    with _folder() as name:
        folder = Path(name)
        with writing_to(folder):
            (folder / "request.json").write_text(_inside(request).model_dump_json())
        files[REQUEST] = folder / "request.json"
        command = [f"{FOLDER}/runner.py", REQUEST, f"{OUT}/{REPLY}"]
        ended = run_in_container(_job(machine, folder, command, files, request.runtime, timeout_s))
        failure = _failure(ended, timeout_s, machine.memory_limit_bytes)
        if failure is not None:
            return RunReply(failure=failure, log=ended.log)
        return _reply(folder / "out", request, ended.log)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgecc-run-")


def _files(request: RunRequest) -> dict[str, Path]:
    """The request's files, by their paths in the container."""
    paths = {MODEL: request.artifact_path, INPUTS: request.inputs_path}
    if request.beside is not None:
        paths[BESIDE] = request.beside.artifact_path
    return {inside: Path(path).resolve() for inside, path in paths.items() if path is not None}


def _inside(request: RunRequest) -> RunRequest:
    """The request with the container's paths."""
    paths = {
        "artifact_path": MODEL,
        "inputs_path": None if request.inputs_path is None else INPUTS,
        "outputs_path": None if request.outputs_path is None else f"{OUT}/{OUTPUTS}",
        "beside": None if request.beside is None else request.beside.model_copy(update={"artifact_path": BESIDE}),
    }
    return request.model_copy(update=paths)


def _job(
    machine: Machine, folder: Path, arguments: list[str], files: dict[str, Path], runtime: str, timeout_s: float
) -> Job:
    with writing_to(folder):
        (folder / "out").mkdir()
        if machine.cpu is not None:
            # QEMU 7.2 lets this machine's own through, and the runtimes crash on a processor that is no ARM.
            (folder / "cpuinfo").write_text(cpuinfo(machine.cpu, os.cpu_count() or 1))
            files = {**files, "/proc/cpuinfo": folder / "cpuinfo"}
    sites = ["tflite_runtime", "litert"] if runtime == "tflite_runtime" else ["litert", "tflite_runtime"]
    return Job(
        image=machine.image,
        command=["python3", "-P", *arguments],
        variables={
            # The first site is what is imported; the second is there to be asked for its versions.
            "PYTHONPATH": ":".join([FOLDER, *(f"{SITES}/{site}" for site in sites)]),
            **({} if machine.cpu is None else {"QEMU_CPU": machine.cpu.name}),
        },
        read_only={f"{FOLDER}/runner.py": RUNNER, **files},
        writable={OUT: folder / "out"},
        memory_limit_bytes=machine.memory_limit_bytes,
        timeout_s=timeout_s,
    )


def _failure(ended: Ended, timeout_s: float, memory_limit_bytes: float) -> Failure | None:
    if ended.timed_out:
        return Failure(kind=FailureKind.TIMED_OUT, message=f"killed after the limit of {timeout_s:g} s")
    if ended.out_of_memory:
        limit = format_bytes(memory_limit_bytes)
        message = f"killed when its memory passed the limit of {limit}"
        return Failure(kind=FailureKind.OUT_OF_MEMORY, message=message)
    is_signal = ended.exit_code - 128 in set(signal.Signals)
    return failure_of_exit(128 - ended.exit_code if is_signal else ended.exit_code, ended.log)


def _reply(out: Path, request: RunRequest, log: str) -> RunReply:
    try:
        with _opened(out / REPLY) as file:
            reply = parsed(file, log)
    except OSError:
        reply = parsed(io.BytesIO(), log)
    if reply.failure is not None:
        message = reply.failure.message.replace(MODEL, request.artifact_path)
        if request.beside is not None:
            message = message.replace(BESIDE, request.beside.artifact_path)
        return reply.model_copy(update={"failure": Failure(kind=reply.failure.kind, message=message)})
    if request.outputs_path is not None and isinstance(request.task, OutputsTask):
        try:
            outputs = _opened(out / OUTPUTS)
        except OSError:
            failure = Failure(kind=FailureKind.CRASHED, message="the process ended without outputs")
            return RunReply(failure=failure, log=log)
        _copy(outputs, Path(request.outputs_path))
    return reply


def _copy(source: IO[bytes], destination: Path) -> None:
    with source, writing_to(destination.parent), destination.open("wb") as file:
        shutil.copyfileobj(source, file)


def _opened(path: Path) -> IO[bytes]:
    """A file that a container wrote: no link to one of this machine's, and nothing that never ends.

    Raises:
        OSError: it is not there, or something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name}: expected a file")
    return os.fdopen(descriptor, "rb")
