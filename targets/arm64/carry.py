"""What is carried into an emulated machine for some requests, and what its answers mean."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecc.results import Failure, FailureKind
from edgecc.targets.arm64.boot import GUEST_FOLDER
from edgecc.targets.arm64.image import SITES
from edgecc.targets.arm64.wheels import requirements
from edgecc.targets.child import RUNNER, failure_of_exit, parsed
from edgecc.targets.wire import InstructionsTask, RunReply, RunRequest, Runtime
from edgecc.units import format_bytes

MOST_BYTES = 512e6
"""For one machine, which holds all of it twice in its memory while it starts."""


def refusal(request: RunRequest) -> Failure | None:
    """Why a request cannot be run there at all; None where it can be tried."""
    if not isinstance(request.task, InstructionsTask):
        return _refused(f"an emulated machine only counts instructions; the task is `{request.task.kind}`")
    try:
        size_bytes = _size_bytes([request])
    except OSError as error:
        return _refused(f"{error.filename}: cannot be read: {error.strerror}")
    if size_bytes > MOST_BYTES:
        sizes = f"the artifact and its samples have {format_bytes(size_bytes)}"
        return _refused(f"{sizes}; at most {format_bytes(MOST_BYTES)} fit into the emulated machine")
    return None


def batch(requests: Sequence[RunRequest]) -> Sequence[RunRequest]:
    """The first ones that one machine can take: none after one that is refused, and at least the first."""
    count = 1
    while count < len(requests) and refusal(requests[count]) is None:
        if _size_bytes(requests[: count + 1]) > MOST_BYTES:
            break
        count += 1
    return requests[:count]


def packed(requests: Sequence[RunRequest], timeout_s: float) -> dict[str, bytes | Path]:
    """The files for these requests, by their names beside `guest.py`; what several need is there once."""
    files = job("runner.py", [request.runtime for request in requests], timeout_s)
    names: dict[str, str] = {}
    for index, request in enumerate(requests):
        for path in _paths(request):
            name = names.setdefault(path, f"files/{len(names)}/{Path(path).name}")
            files[name] = Path(path)
        files[f"{index}/request.json"] = _inside(request, names).model_dump_json().encode()
    return files


def job(script: str, runtimes: Sequence[Runtime], timeout_s: float) -> dict[str, bytes | Path]:
    """What `guest.py` is told to run, once for each runtime, and the runner."""
    variables = [{"PYTHONPATH": _python_path(runtime)} for runtime in runtimes]
    text = json.dumps({"runner": script, "variables": variables, "timeout_s": timeout_s})
    return {"runner.py": RUNNER, "job.json": text.encode()}


def read_reply(ended: Mapping[str, Any], timeout_s: float) -> RunReply:
    """The reply behind what `guest.py` tells of a request that ended."""
    log: str = ended["log"]
    if ended["returncode"] is None:
        failure = Failure(kind=FailureKind.TIMED_OUT, message=f"killed after the limit of {timeout_s:g} s")
        return RunReply(failure=failure, log=log)
    if (failed := failure_of_exit(ended["returncode"], log)) is not None:
        return RunReply(failure=failed, log=log)
    return parsed(io.BytesIO(ended["reply"].encode()), log)


def _inside(request: RunRequest, names: Mapping[str, str]) -> RunRequest:
    """The request with the paths that its files have there."""
    assert isinstance(request.task, InstructionsTask)  # noqa: S101 - others were refused
    inputs = request.inputs_path
    return request.model_copy(
        update={
            "artifact_path": f"{GUEST_FOLDER}/{names[request.artifact_path]}",
            "inputs_path": None if inputs is None else f"{GUEST_FOLDER}/{names[inputs]}",
            "outputs_path": None,
            "task": request.task.model_copy(update={"counter": "clock"}),
        }
    )


def _python_path(runtime: Runtime) -> str:
    """The runtime's own site before the other one, which only tells the versions of what is installed in it."""
    own = "tflite_runtime" if runtime == "tflite_runtime" else "litert"
    sites = sorted(requirements(), key=lambda site: site != own)
    return ":".join([GUEST_FOLDER, *(f"{SITES}/{site}" for site in sites)])


def _paths(request: RunRequest) -> list[str]:
    return [path for path in (request.artifact_path, request.inputs_path) if path is not None]


def _size_bytes(requests: Sequence[RunRequest]) -> int:
    return sum(Path(path).stat().st_size for path in {path for request in requests for path in _paths(request)})


def _refused(message: str) -> Failure:
    return Failure(kind=FailureKind.REFUSED, message=message)
