"""Where the time of one inference goes, operator by operator, measured on this machine in a child process.

ONNX Runtime tells it itself, through its profiler, which makes an inference slower: it is timed without as well.
LiteRT's interpreter has no profiler. Its operators are timed by differences of prefixes: the model is cut after each
operator, all cuts run in turn, and an operator takes as much longer as its cut does than the one before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from edgecc.artifact import Artifact, Record, first_problem
from edgecc.results import Failure, FailureKind, Seconds
from edgecc.targets.child import run_in_child
from edgecc.targets.wire import RUNTIME_OF, LatencyTask, RunRequest, RuntimeSettings

RUNNER = Path(__file__).with_name("profile_runner.py")
TIMEOUT_S = 300.0
MEMORY_LIMIT_BYTES = 4e9


class ProfileRequest(RunRequest):
    """What the profile runner is asked to do, in one fresh process."""

    prefixes: tuple[str, ...] = ()
    """Of a TFLite file: paths of the cuts after each operator, in the order in which they run."""
    time_s: Seconds
    """How long to time; the fewest rounds that the runner takes may take longer."""


class NodeTime(Record):
    """One node as ONNX Runtime ran it: it may stand for several of the file's, or for none."""

    name: str
    kind: str
    seconds: Seconds


class ProcessProfile(Record):
    """Medians over the rounds of one process."""

    inference_s: Seconds
    """One inference, inputs copied in and outputs copied out, as `latency` has it."""
    rounds: int
    profiled_s: Seconds | None = None
    """The same under ONNX Runtime's profiler."""
    operators: tuple[NodeTime, ...] = ()
    """What the profiler tells, in whole microseconds, cut off."""
    prefixes_s: tuple[Seconds, ...] = ()
    """Of a TFLite file: the call of each cut, without copying inputs or outputs."""


def profile_once(
    artifact: Artifact,
    prefixes: Sequence[Path] = (),
    *,
    num_threads: int = 1,
    shapes: Sequence[tuple[int, ...]] = (),
    time_s: float,
    timeout_s: float = TIMEOUT_S,
    memory_limit_bytes: float = MEMORY_LIMIT_BYTES,
) -> ProcessProfile | Failure:
    """Time the operators of a model file in one fresh process, or say how that failed.

    Raises:
        TargetError: the process cannot be started.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "times.json"
        request = ProfileRequest(
            artifact_path=artifact.path,
            artifact_sha256=artifact.sha256,
            runtime=RUNTIME_OF[artifact.format],
            settings=RuntimeSettings(num_threads=num_threads),
            shapes=tuple(shapes),
            outputs_path=str(answer),
            task=LatencyTask(inferences=0),
            prefixes=tuple(map(str, prefixes)),
            time_s=time_s,
        )
        reply = run_in_child(request, timeout_s=timeout_s, memory_limit_bytes=memory_limit_bytes, runner=RUNNER)
        return reply.failure or _read(answer)


def _read(answer: Path) -> ProcessProfile | Failure:
    try:
        return ProcessProfile.model_validate_json(answer.read_bytes())
    except OSError as error:
        return Failure(kind=FailureKind.CRASHED, message=f"the process left no times: {error.strerror}")
    except ValidationError as error:
        message = f"the times cannot be read: {first_problem(error)}"
        return Failure(kind=FailureKind.CRASHED, message=message)
