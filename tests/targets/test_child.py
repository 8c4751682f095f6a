"""Stand-ins for the runner die in every way there is; the real one meets runtimes that kill it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgecc.errors import TargetError
from edgecc.targets import child
from edgecc.targets.child import RUNNER, run_in_child
from edgecc.targets.wire import LatencyTask, RunReply, RunRequest

LIMITS: dict[str, Any] = {"timeout_s": 60.0, "memory_limit_bytes": 2e9}
TASK = LatencyTask(inferences=20)

Script = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A stand-in for the runner."""

    def write(text: str) -> Path:
        path = tmp_path / "stand_in.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def any_request() -> RunRequest:
    return RunRequest(artifact_path="none", artifact_sha256="", runtime="litert", task=TASK)


FAKE_LITERT = """
import numpy as np

class OpResolverType:
    AUTO = BUILTIN_WITHOUT_DEFAULT_DELEGATES = None

class Interpreter:
    def __init__(self, **_):
{statements}
    def allocate_tensors(self): pass
    def set_tensor(self, index, value): pass
    def invoke(self): pass
    def get_tensor(self, index): return np.zeros((1, 2), np.float32)
    def get_input_details(self):
        quantization = {{"scales": [], "zero_points": [], "quantized_dimension": 0}}
        tensor = {{"name": "x", "index": 0, "shape": (1, 2), "shape_signature": (1, 2), "dtype": np.float32}}
        return [{{**tensor, "quantization_parameters": quantization}}]
    get_output_details = get_input_details
    def _get_ops_details(self): return []
"""


@pytest.fixture
def fake_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a LiteRT before the real one whose interpreter runs the given statements when it loads a model."""

    def install(statements: str) -> None:
        package = tmp_path / "fake" / "ai_edge_litert"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        text = FAKE_LITERT.format(statements=textwrap.indent(statements, " " * 8))
        (package / "interpreter.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))

    return install


def failure(reply: RunReply) -> tuple[str, str]:
    assert reply.failure is not None
    return reply.failure.kind, reply.failure.message


# The real runner in a child


def test_a_latency_reply(make_request: Any, cnn_int8: Path) -> None:
    reply = run_in_child(make_request(cnn_int8, TASK), **LIMITS)
    assert reply.failure is None
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 20
    assert reply.process.memory_peak_bytes is not None
    assert 0 < reply.process.memory_peak_bytes < 100e6


def test_the_memory_peak_is_that_of_one_model(make_request: Any, cnn_int8: Path, fake_runtime: Any) -> None:
    fake_runtime("np.ones(25_000_000); self.weights = np.ones(12_500_000)")  # 200 MB on the way to 100 MB
    reply = run_in_child(make_request(cnn_int8, LatencyTask(inferences=1)), **LIMITS)
    assert reply.process is not None
    assert 190e6 < (reply.process.memory_peak_bytes or 0) < 220e6


def test_what_a_library_prints_does_not_reach_the_reply(make_request: Any, cnn_int8: Path, fake_runtime: Any) -> None:
    fake_runtime("import os; os.write(1, b'noise from C'); print('noise from Python'); raise ValueError('no\\nmodel')")
    reply = run_in_child(make_request(cnn_int8, TASK), **LIMITS)
    assert failure(reply) == ("refused", "ValueError: no model")
    assert "noise from C" in reply.log


@pytest.mark.parametrize(
    ("statements", "name"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "SIGILL"),
    ],
)
def test_a_runtime_that_kills_its_process(
    statements: str, name: str, make_request: Any, cnn_int8: Path, fake_runtime: Any
) -> None:
    fake_runtime(statements)
    reply = run_in_child(make_request(cnn_int8, TASK), **LIMITS)
    assert failure(reply) == ("crashed", f"the process was killed by {name}")
    assert "interpreter.py" in reply.log  # where it was


def test_a_runtime_that_eats_memory(make_request: Any, cnn_int8: Path, fake_runtime: Any) -> None:
    fake_runtime("hoard = []\nwhile True: hoard.append(b'x' * 10_000_000)")
    reply = run_in_child(make_request(cnn_int8, TASK), timeout_s=60.0, memory_limit_bytes=200e6)
    assert failure(reply) == ("out_of_memory", "killed when its memory passed the limit of 200 MB")


def test_a_fork_that_eats_memory(script: Script, any_request: RunRequest) -> None:
    runner = script("""
        import os, time
        if os.fork() == 0:
            hoard = b"x" * 300_000_000
        time.sleep(600)
        """)
    reply = run_in_child(any_request, runner=runner, timeout_s=60.0, memory_limit_bytes=200e6)
    assert failure(reply) == ("out_of_memory", "killed when its memory passed the limit of 200 MB")


def test_a_mapped_file_is_not_counted_as_memory(script: Script, any_request: RunRequest, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 300_000_000)
    runner = script(f"""
        import mmap, time
        with open({str(tmp_path / "large")!r}, "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            pages[::4096]
        time.sleep(0.2)
        print('{{"schema_version": 1}}')
        """)
    assert run_in_child(any_request, runner=runner, timeout_s=60.0, memory_limit_bytes=200e6).failure is None


# Stand-ins


def test_a_hang_takes_its_children_with_it(script: Script, any_request: RunRequest, tmp_path: Path) -> None:
    runner = script(f"""
        import pathlib, signal, subprocess, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        other = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(other.pid))
        time.sleep(600)
        """)
    reply = run_in_child(any_request, runner=runner, timeout_s=3.0, memory_limit_bytes=2e9)
    assert failure(reply) == ("timed_out", "killed after the limit of 3 s")
    assert_gone(int((tmp_path / "pid").read_text()))


def test_what_a_child_left_running_ends_with_it(script: Script, any_request: RunRequest, tmp_path: Path) -> None:
    runner = script(f"""
        import pathlib, subprocess
        other = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(other.pid))
        print('{{"schema_version": 1}}')
        """)
    assert run_in_child(any_request, runner=runner, **LIMITS).failure is None
    assert_gone(int((tmp_path / "pid").read_text()))


def test_nothing_is_left_after_an_interrupt(
    script: Script, any_request: RunRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    pid_file = tmp_path / "pid"
    runner = script(f"""
        import os, pathlib, time
        pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
        time.sleep(600)
        """)

    def interrupt(_: int) -> int:
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(child, "_resident_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_in_child(any_request, runner=runner, **LIMITS)
    assert not psutil.pid_exists(int(pid_file.read_text()))
    assert list(temporary.iterdir()) == []


def test_a_killed_edgecc_takes_the_run_with_it(make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(make_request(cnn_int8, LatencyTask(inferences=10**8)).model_dump_json())
    host = subprocess.Popen([sys.executable, "-c", HOST, request, RUNNER])
    try:
        runner = only_child(psutil.Process(host.pid))
    finally:
        host.kill()
        host.wait()
    assert_gone(runner)


@pytest.mark.parametrize("under", [[], ["nice"]])
def test_and_one_that_has_not_come_far(
    under: list[str], script: Script, any_request: RunRequest, tmp_path: Path
) -> None:
    """The runner asks Linux to end it with edgecc after its imports alone, and this one never does."""
    pid_file = tmp_path / "pid"
    runner = script(f"""
        import os, pathlib, time
        pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))
        time.sleep(600)
        """)
    (tmp_path / "request.json").write_text(any_request.model_dump_json())
    host = subprocess.Popen([sys.executable, "-c", HOST, tmp_path / "request.json", runner, *under])
    try:
        wait_until(lambda: pid_file.exists() and pid_file.read_text() != "")
    finally:
        host.kill()
        host.wait()
    assert_gone(int(pid_file.read_text()))


def test_what_comes_too_late_does_not_start(tmp_path: Path) -> None:
    """Linux tells of the end of a parent only who had asked before it."""
    stranger = str(os.getppid())
    for parent, starts in [(stranger, False), (str(os.getpid()), True)]:
        subprocess.run([sys.executable, "-c", child._TIED, parent, "touch", tmp_path / "started"], check=True)
        assert (tmp_path / "started").exists() == starts


HOST = """
import pathlib, sys
from edgecc.targets.child import run_in_child
from edgecc.targets.wire import RunRequest
request = RunRequest.model_validate_json(pathlib.Path(sys.argv[1]).read_text())
runner, under = pathlib.Path(sys.argv[2]), sys.argv[3:]
run_in_child(request, timeout_s=60, memory_limit_bytes=2e9, runner=runner, under=under)
"""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def only_child(process: psutil.Process) -> int:
    """The child's process id, once it has come so far as to run LiteRT."""
    deadline_s = time.monotonic() + 30
    while not any("litert" in file.path for child in process.children() for file in child.memory_maps()):
        assert time.monotonic() < deadline_s, "the runner never started"
        time.sleep(0.05)
    return int(process.children()[0].pid)


def assert_gone(pid: int) -> None:
    """An orphan is reaped by init in its own time; that it is dead is what counts."""
    deadline_s = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline_s, f"process {pid} is still running"
        time.sleep(0.01)


def test_a_child_can_run_under_another_command(script: Script, any_request: RunRequest) -> None:
    runner = script("import os, sys; sys.stderr.write(os.environ['COLOUR']); print('{\"schema_version\": 1}')")
    assert run_in_child(any_request, runner=runner, under=["env", "COLOUR=red"], **LIMITS).log == "red"
    with pytest.raises(TargetError, match="cannot start no-such-command"):
        run_in_child(any_request, runner=runner, under=["no-such-command"], **LIMITS)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "out_of_memory", "SIGKILL from outside"),
        ("import sys, os; sys.stderr.write('what():  std::bad_alloc\\n'); sys.stderr.flush(); os.abort()",
         "out_of_memory", "what():  std::bad_alloc"),
        ("b'x' * 10**17", "out_of_memory", "MemoryError"),
        ("import no_such_module", "crashed", "exit code 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "crashed", "exit code 3"),
        ("pass", "crashed", "without a reply"),
        ("print('hello')", "crashed", "the reply cannot be read: the file: Invalid JSON"),
        ("print('{\"schema_version\": 2}')", "crashed", "the reply cannot be read: schema_version: "),
    ],
)  # fmt: skip
def test_an_end_without_numbers(text: str, kind: str, message: str, script: Script, any_request: RunRequest) -> None:
    got_kind, got_message = failure(run_in_child(any_request, runner=script(text), **LIMITS))
    assert got_kind == kind
    assert message in got_message


def test_the_end_of_stderr_is_kept(script: Script, any_request: RunRequest) -> None:
    runner = script("import sys; sys.stderr.write('a' * 10_000 + 'the end')")
    log = run_in_child(any_request, runner=runner, **LIMITS).log
    assert log.endswith("the end")
    assert len(log) == child.LOG_BYTES


def test_the_child_gets_a_clean_environment_and_its_cores(
    script: Script, any_request: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    runner = script("""
        import json, os, sys
        json.load(sys.stdin)
        print(json.dumps({"schema_version": 1, "runtime_version": f"{sorted(os.environ)} {os.sched_getaffinity(0)}"}))
        """)
    said = run_in_child(any_request, runner=runner, pin=[0], **LIMITS).runtime_version
    assert "TF_NUM" not in said
    assert "'PATH'" in said
    assert said.endswith(" {0}")


def test_cores_that_are_not_there(script: Script, any_request: RunRequest) -> None:
    with pytest.raises(TargetError, match="cannot pin"):
        run_in_child(any_request, runner=script("import time; time.sleep(600)"), pin=[1_000], **LIMITS)
