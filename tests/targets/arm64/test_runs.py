"""A stand-in for the container writes what a container could write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.errors import OutputError, TargetError
from edgecc.targets import child
from edgecc.targets.arm64 import runs
from edgecc.targets.arm64.container import Ended, Job
from edgecc.targets.arm64.cpu_models import CPU_MODELS
from edgecc.targets.arm64.runs import Machine, answer, describe
from edgecc.targets.wire import LatencyTask, OutputsTask, RunReply

MACHINE = Machine("edgecc-arm64:1", CPU_MODELS["cortex-a72"], 300e6)
NATIVE = Machine("edgecc-arm64:1", None, 300e6)
ENDED = Ended(exit_code=0, timed_out=False, out_of_memory=False, log="a log")
TASK = LatencyTask(inferences=3)

Script = Callable[[Path, Job], Any]


class Container:
    """Does in its writable folder what a test tells it."""

    def __init__(self) -> None:
        self.ended = ENDED
        self.script: Script = lambda out, job: (out / "reply.json").write_text('{"schema_version": 1}')
        self.jobs: list[Job] = []
        self.request: dict[str, Any] = {}
        self.cpuinfo = ""

    def run(self, job: Job) -> Ended:
        self.jobs.append(job)
        if "/edgecc/request.json" in job.read_only:
            self.request = json.loads(job.read_only["/edgecc/request.json"].read_text())
        if "/proc/cpuinfo" in job.read_only:
            self.cpuinfo = job.read_only["/proc/cpuinfo"].read_text()
        assert all(path.is_file() for path in job.read_only.values())
        self.script(job.writable["/edgecc/out"], job)
        return self.ended


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> Container:
    stand_in = Container()
    monkeypatch.setattr(runs, "run_in_container", stand_in.run)
    return stand_in


def failure(reply: RunReply) -> tuple[str, str]:
    assert reply.failure is not None
    return reply.failure.kind, reply.failure.message


def test_what_the_runner_sees(container: Container, make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, TASK, inputs=np.zeros((1, 8, 8, 1), np.float32))
    reply = answer(MACHINE, request, 60.0)
    assert reply.failure is None
    assert reply.log == "a log"
    (job,) = container.jobs
    assert job.command == ["python3", "-P", "/edgecc/runner.py", "/edgecc/request.json", "/edgecc/out/reply.json"]
    assert job.read_only["/edgecc/runner.py"] == child.RUNNER
    assert job.read_only["/edgecc/model"] == cnn_int8
    assert job.read_only["/edgecc/inputs"] == Path(request.inputs_path)
    assert container.request == {
        **request.model_dump(mode="json"),
        "artifact_path": "/edgecc/model",
        "inputs_path": "/edgecc/inputs",
        "outputs_path": "/edgecc/out/outputs",
    }
    assert container.cpuinfo.count("CPU part\t: 0xd08") == os.cpu_count()
    assert job.variables == {
        "QEMU_CPU": "cortex-a72",
        "PYTHONPATH": "/edgecc:/opt/edgecc/litert:/opt/edgecc/tflite_runtime",
    }
    assert not job.writable["/edgecc/out"].exists()  # any more


def test_an_arm64_plays_no_other(container: Container, make_request: Any, cnn_int8: Path) -> None:
    answer(NATIVE, make_request(cnn_int8, TASK), 60.0)
    (job,) = container.jobs
    assert "QEMU_CPU" not in job.variables
    assert "/proc/cpuinfo" not in job.read_only


def test_the_older_runtime_comes_with_its_numpy(container: Container, make_request: Any, cnn_int8: Path) -> None:
    answer(MACHINE, make_request(cnn_int8, TASK, runtime="tflite_runtime"), 60.0)
    assert container.jobs[0].variables["PYTHONPATH"].startswith("/edgecc:/opt/edgecc/tflite_runtime:")


def test_outputs_are_brought_back(container: Container, make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, OutputsTask())

    def write(out: Path, job: Job) -> None:
        (out / "outputs").write_bytes(b"some bytes")
        (out / "reply.json").write_text('{"schema_version": 1}')

    container.script = write
    assert answer(MACHINE, request, 60.0).failure is None
    assert Path(request.outputs_path).read_bytes() == b"some bytes"
    with pytest.raises(OutputError):
        answer(MACHINE, request.model_copy(update={"outputs_path": "/nowhere/outputs.npy"}), 60.0)


def test_a_file_that_is_not_there(container: Container, make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    request = make_request(cnn_int8, TASK).model_copy(update={"artifact_path": str(tmp_path / "none.tflite")})
    assert failure(answer(MACHINE, request, 60.0)) == ("refused", f"{tmp_path / 'none.tflite'}: expected a file")
    assert container.jobs == []


def test_a_refusal_names_the_file_here(container: Container, make_request: Any, cnn_int8: Path) -> None:
    refusal = {"schema_version": 1, "failure": {"kind": "refused", "message": "/edgecc/model: it was changed"}}
    container.script = lambda out, job: (out / "reply.json").write_text(json.dumps(refusal))
    reply = answer(MACHINE, make_request(cnn_int8, TASK), 60.0)
    assert failure(reply) == ("refused", f"{cnn_int8}: it was changed")
    assert reply.log == "a log"


@pytest.mark.parametrize(
    ("ended", "kind", "message"),
    [
        (Ended(137, True, False, ""), "timed_out", "killed after the limit of 2.5 s"),
        (Ended(137, False, True, "x"), "out_of_memory", "killed when its memory passed the limit of 300 MB"),
        (Ended(137, False, False, ""), "out_of_memory", "killed by SIGKILL from outside"),
        (Ended(1, False, False, "Traceback\nMemoryError\n"), "out_of_memory", "MemoryError"),
        (Ended(134, False, False, "what():  std::bad_alloc\n"), "out_of_memory", "what():  std::bad_alloc"),
        (Ended(139, False, False, "qemu: uncaught"), "crashed", "the process was killed by SIGSEGV"),
        (Ended(132, False, False, ""), "crashed", "the process was killed by SIGILL"),
        (Ended(3, False, False, "one\ntwo\n"), "crashed", "the process ended with exit code 3: two"),
        (Ended(255, False, False, ""), "crashed", "the process ended with exit code 255: "),
    ],
)
def test_an_end_without_numbers(
    ended: Ended, kind: str, message: str, container: Container, make_request: Any, cnn_int8: Path
) -> None:
    container.ended = ended
    reply = answer(MACHINE, make_request(cnn_int8, TASK), 2.5)
    got_kind, got_message = failure(reply)
    assert got_kind == kind
    assert message in got_message
    assert reply.log == ended.log


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda out, job: None, "ended without a reply"),
        (lambda out, job: (out / "reply.json").symlink_to("/etc/hostname"), "ended without a reply"),
        (lambda out, job: os.mkfifo(out / "reply.json"), "ended without a reply"),
        (lambda out, job: (out / "reply.json").mkdir(), "ended without a reply"),
        (lambda out, job: (out / "reply.json").write_text("hello"), "the reply cannot be read: the file: Invalid JSON"),
        (lambda out, job: (out / "reply.json").write_text('{"schema_version": 2}'), "cannot be read: schema_version"),
    ],
)
def test_a_reply_that_is_none(
    script: Script, message: str, container: Container, make_request: Any, cnn_int8: Path
) -> None:
    container.script = script
    kind, got = failure(answer(MACHINE, make_request(cnn_int8, TASK), 60.0))
    assert kind == "crashed"
    assert message in got


def test_outputs_that_are_a_link_are_not_followed(
    container: Container, make_request: Any, cnn_int8: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("of this machine")
    request = make_request(cnn_int8, OutputsTask())

    def link(out: Path, job: Job) -> None:
        (out / "outputs").symlink_to(tmp_path / "secret")
        (out / "reply.json").write_text('{"schema_version": 1}')

    container.script = link
    assert failure(answer(MACHINE, request, 60.0)) == ("crashed", "the process ended without outputs")
    assert not Path(request.outputs_path).exists()


def test_describe(container: Container) -> None:
    container.script = lambda out, job: (out / "reply.json").write_text('{"machine": "aarch64"}')
    assert describe(MACHINE) == {"machine": "aarch64"}
    container.ended = Ended(127, False, False, "exec python3: no such file")
    with pytest.raises(
        TargetError, match="edgecc-arm64:1: the process ended with exit code 127: exec python3: no such"
    ):
        describe(MACHINE)
    container.ended, container.script = ENDED, lambda out, job: None
    with pytest.raises(TargetError, match="edgecc-arm64:1: it said nothing of itself"):
        describe(MACHINE)
