"""The agent in a process here, started as a device's shell starts it, with stand-ins for the runner."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgecc.errors import TargetError
from edgecc.targets.arrays import read_outputs
from edgecc.targets.child import run_in_child
from edgecc.targets.device_agent import DeviceAgent, start_command
from edgecc.targets.wire import Beside, LatencyTask, OutputsTask, RunReply, RunRequest, Runtime

PLACE = "target `pi`: pi@somewhere:22"
SAYS_YES = """
    import json, sys
    json.load(open(sys.argv[1]))
    open(sys.argv[2], "w").write('{"schema_version": 1, "runtime_version": "yes"}')
    """


class Pipes:
    """A program of the shell's as a stream; what was sent is counted."""

    def __init__(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.sent_bytes = 0

    def send(self, data: bytes) -> None:
        self.sent_bytes += len(data)
        while data:
            data = data[os.write(self._stdin, data) :]

    def receive(self, size_bytes: int, timeout_s: float) -> bytes:
        if not select.select([self._stdout], [], [], timeout_s)[0]:
            raise TimeoutError
        return os.read(self._stdout, size_bytes)

    def finish(self) -> None:
        with self.process, contextlib.suppress(BrokenPipeError):
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(10)

    def last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"ended with {self.process.wait(1)}"
        return ""


Start = Callable[..., tuple[DeviceAgent, Pipes]]


@pytest.fixture
def start(device_folder: Path) -> Iterator[Start]:
    """Starts an agent, with the device's folder set up."""
    started: list[Pipes] = []

    def start(folder: Path = device_folder, before: str = "", runtime: Runtime = "litert") -> tuple[DeviceAgent, Pipes]:
        started.append(Pipes(before + start_command(sys.executable)))
        return DeviceAgent(started[-1], PLACE, str(folder), runtime), started[-1]

    yield start
    for pipes in started:
        pipes.finish()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """A stand-in for the runner."""

    def write(text: str) -> Path:
        path = tmp_path / "stand_in.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def put(agent: DeviceAgent, content: Path | bytes, tmp_path: Path) -> str:
    if isinstance(content, bytes):
        (tmp_path / "content").write_bytes(content)
        content = tmp_path / "content"
    sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
    agent.put(content, sha256)
    return sha256


def run_stand_in(agent: DeviceAgent, runner: Path, **limits: Any) -> RunReply:
    request = RunRequest(artifact_path="a" * 64, artifact_sha256="", runtime="litert", task=LatencyTask(inferences=1))
    return agent.run(request, runner=runner, **{"timeout_s": 60.0, **limits})


def sessions(device_folder: Path) -> list[Path]:
    return list((device_folder / "sessions").iterdir())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


# The real runner


def test_environment_and_outputs_are_those_of_a_child_here(
    start: Start, make_request: Any, cnn_int8: Path, images: Any, tmp_path: Path
) -> None:
    agent, _ = start()
    core = min(os.sched_getaffinity(0))
    request = make_request(cnn_int8, OutputsTask(), inputs=images)
    here = run_in_child(request, timeout_s=60, memory_limit_bytes=2e9, pin=[core])
    expected = read_outputs(tmp_path / "outputs.npy")
    (tmp_path / "outputs.npy").unlink()
    sent = {
        "artifact_path": put(agent, cnn_int8, tmp_path),
        "inputs_path": put(agent, tmp_path / "inputs.npy", tmp_path),
    }
    reply = agent.run(request.model_copy(update=sent), timeout_s=60, cores=[core])
    np.testing.assert_array_equal(read_outputs(tmp_path / "outputs.npy"), expected)
    assert reply.outputs == here.outputs
    environment = agent.describe([core])
    assert environment is not None
    assert environment.cores == 1
    for other in (reply.environment, here.environment):
        assert other is not None
        assert other.model_copy(update={"load_average": None, "frequency_mhz": None}) == environment.model_copy(
            update={"load_average": None, "frequency_mhz": None}
        )


def test_a_latency_reply(start: Start, make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    agent, _ = start()
    request = make_request(cnn_int8, LatencyTask(inferences=20))
    sent = {"artifact_path": put(agent, cnn_int8, tmp_path)}
    reply = agent.run(request.model_copy(update=sent), timeout_s=60)
    assert reply.failure is None
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 20
    assert not (tmp_path / "outputs.npy").exists()


def test_two_artifacts_in_one_process(
    start: Start, make_request: Any, cnn_int8: Path, cnn_float32: Path, tmp_path: Path
) -> None:
    agent, _ = start()
    digests = [put(agent, path, tmp_path) for path in (cnn_int8, cnn_float32)]
    request = make_request(cnn_int8, LatencyTask(inferences=20)).model_copy(
        update={
            "artifact_path": digests[0],
            "beside": Beside(artifact_path=digests[1], artifact_sha256=digests[1]),
        }
    )
    reply = agent.run(request, timeout_s=60)
    assert reply.beside is not None
    assert len(reply.beside.latencies_s) == 20


# Files


def test_a_file_travels_once(start: Start, tmp_path: Path, device_folder: Path) -> None:
    agent, pipes = start()
    content = os.urandom(300_000)
    sha256 = put(agent, content, tmp_path)
    (session,) = sessions(device_folder)
    assert (session / sha256).read_bytes() == content
    assert pipes.sent_bytes > 300_000
    before = pipes.sent_bytes
    put(agent, content, tmp_path)
    assert pipes.sent_bytes == before


def test_another_content_than_was_announced(start: Start, tmp_path: Path, device_folder: Path) -> None:
    agent, _ = start()
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(TargetError, match=f"expected a file with the sha256 {'0' * 64}; got "):
        agent.put(tmp_path / "file", "0" * 64)
    (session,) = sessions(device_folder)
    assert not (session / ("0" * 64)).exists()
    put(agent, b"good", tmp_path)  # it goes on


def test_a_name_that_is_no_digest(start: Start, tmp_path: Path) -> None:
    agent, _ = start()
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(TargetError, match=r"expected a sha256 as a name; got '\.\./\.\./x'"):
        agent.put(tmp_path / "file", "../../x")
    put(agent, b"good", tmp_path)


def test_a_full_disk(start: Start, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        agent, pipes = start(disk / "folder")
        with pytest.raises(TargetError, match=r"target `pi`: .*No space left on device"):
            put(agent, os.urandom(500_000), tmp_path)
        put(agent, b"a small one still fits", tmp_path)
        pipes.finish()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_becomes_shorter_on_the_way(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, _ = start()
    path = tmp_path / "shrinking"
    path.write_bytes(b"x" * 1000)
    monkeypatch.setattr(agent, "_send_line", lambda _: path.write_bytes(b"x"))
    with pytest.raises(TargetError, match="became shorter"):
        agent.put(path, "0" * 64)


# Runs that end otherwise


@pytest.mark.parametrize(
    ("text", "limits", "kind", "message"),
    [
        ("import time; time.sleep(600)", {"timeout_s": 0.5}, "timed_out", "killed after the limit of 0.5 s"),
        ("hoard = []\nwhile True: hoard.append(b'x' * 1_000_000)", {"memory_limit_bytes": 100e6}, "out_of_memory",
         "killed when its memory passed the limit of 100 MB"),
        ("import os, time\nif os.fork() == 0: hoard = b'x' * 200_000_000\ntime.sleep(600)",
         {"memory_limit_bytes": 100e6}, "out_of_memory", "killed when its memory passed the limit of 100 MB"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "out_of_memory", "SIGKILL from outside"),
        ("raise MemoryError", {}, "out_of_memory", "MemoryError"),
        ("import os; os.abort()", {}, "crashed", "the process was killed by SIGABRT"),
        ("import no_such_module", {}, "crashed", "exit code 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("pass", {}, "crashed", "the process ended without a reply"),
        ("import sys; open(sys.argv[2], 'w').write('hello')", {}, "crashed", "the reply cannot be read: the file: "),
        ("import sys; open(sys.argv[2], 'w').write('{\"schema_version\": 2}')", {}, "crashed",
         "the reply cannot be read: schema_version: "),
    ],
)  # fmt: skip
def test_an_end_without_numbers(
    text: str, limits: dict[str, float], kind: str, message: str, start: Start, script: Any, device_folder: Path
) -> None:
    agent, _ = start()
    reply = run_stand_in(agent, script(text), **limits)
    assert reply.failure is not None
    assert reply.failure.kind == kind
    assert message in reply.failure.message
    assert run_stand_in(agent, script(SAYS_YES)).runtime_version == "yes"  # it goes on
    assert all(file.is_file() for file in sessions(device_folder)[0].iterdir())  # the run's folder is gone


def test_what_a_run_prints_is_its_log(start: Start, script: Any) -> None:
    agent, _ = start()
    log = run_stand_in(agent, script("import sys; print('noise' * 2000); sys.exit('the end')")).log
    assert log.endswith("the end\n")
    assert len(log) == 4096


def test_a_hang_takes_its_children_with_it(start: Start, script: Any, tmp_path: Path) -> None:
    agent, _ = start()
    runner = script(f"""
        import pathlib, subprocess, time
        other = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(tmp_path)!r}, "pid").write_text(str(other.pid))
        time.sleep(600)
        """)
    reply = run_stand_in(agent, runner, timeout_s=1.0)
    assert reply.failure is not None
    assert reply.failure.kind == "timed_out"
    wait_until(lambda: is_gone(int((tmp_path / "pid").read_text())))


def test_a_mapped_file_is_not_counted_as_memory(start: Start, script: Any, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 200_000_000)
    agent, _ = start()
    runner = script(f"""
        import mmap, sys, time
        with open({str(tmp_path / "large")!r}, "rb") as file:
            pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            pages[::4096]
        time.sleep(0.2)
        open(sys.argv[2], "w").write('{{"schema_version": 1}}')
        """)
    assert run_stand_in(agent, runner, memory_limit_bytes=150e6).failure is None


def test_a_run_gets_a_clean_environment_its_cores_and_no_more_than_most_of_the_memory(
    start: Start, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("QEMU_CPU", "cortex-a72")
    agent, _ = start()
    runner = script("""
        import json, os, sys
        oom = open("/proc/self/oom_score_adj").read().strip()
        said = f"{sorted(os.environ)} {os.sched_getaffinity(0)} {oom}"
        json.dump({"schema_version": 1, "runtime_version": said}, open(sys.argv[2], "w"))
        """)
    core = min(os.sched_getaffinity(0))
    said = run_stand_in(agent, runner, cores=[core]).runtime_version
    assert "TF_NUM" not in said
    assert "PYTHONPATH" not in said
    assert "'PATH'" in said
    assert "'QEMU_CPU'" in said
    assert said.endswith(f" {{{core}}} 1000")


def test_cores_that_are_not_there(start: Start, script: Any) -> None:
    agent, _ = start()
    with pytest.raises(TargetError, match=r"cannot pin a process to the cores \[1000\]"):
        run_stand_in(agent, script("import time; time.sleep(600)"), cores=[1000])
    assert run_stand_in(agent, script(SAYS_YES)).runtime_version == "yes"


def test_no_virtual_environment(start: Start, script: Any, tmp_path: Path) -> None:
    agent, _ = start(tmp_path / "new")
    assert agent.describe(None) is None
    with pytest.raises(TargetError, match=r"there is no virtual environment at .*/new/venv"):
        run_stand_in(agent, script(SAYS_YES))


def test_a_virtual_environment_that_does_not_work(start: Start, device_folder: Path) -> None:
    agent, _ = start()
    (device_folder / "venv" / "bin" / "python").write_text("#!/bin/sh\necho No module named numpy >&2; exit 1\n")
    with pytest.raises(TargetError, match="its virtual environment does not work: No module named numpy"):
        agent.describe(None)


# The end


def test_nothing_is_left_when_it_is_closed(start: Start, tmp_path: Path, device_folder: Path) -> None:
    agent, pipes = start()
    with agent.turn():
        put(agent, b"content", tmp_path)
    agent.close()
    assert pipes.process.returncode == 0
    assert sessions(device_folder) == []
    assert (device_folder / "venv").exists()


@pytest.mark.parametrize("how", ["cut", "killed", "terminated"])
def test_what_runs_ends_with_the_connection(
    how: str, start: Start, make_request: Any, cnn_int8: Path, tmp_path: Path, device_folder: Path
) -> None:
    agent, pipes = start()
    request = make_request(cnn_int8, LatencyTask(inferences=10**8))
    sent = request.model_copy(update={"artifact_path": put(agent, cnn_int8, tmp_path)})
    errors: list[str] = []

    def run() -> None:
        with pytest.raises(TargetError) as caught:
            agent.run(sent, timeout_s=60)
        errors.append(caught.value.message)

    thread = threading.Thread(target=run)
    thread.start()
    runner = running_runner(pipes.process.pid)
    if how == "cut":
        assert pipes.process.stdin is not None
        pipes.process.stdin.close()
    else:
        pipes.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGTERM)
    thread.join()
    wait_until(lambda: is_gone(runner))
    assert errors == [f"{PLACE}: ended with { {'cut': 0, 'killed': -9, 'terminated': 1}[how] }"]
    if how == "killed":
        assert len(sessions(device_folder)) == 1
        start()  # the next one sweeps
        assert len(sessions(device_folder)) == 1
    else:
        assert sessions(device_folder) == []


def running_runner(agent: int) -> int:
    """The process id of the agent's child, once it runs LiteRT."""
    process = psutil.Process(agent)
    found: list[int] = []

    def is_running() -> bool:
        with contextlib.suppress(psutil.Error):
            children = process.children(recursive=True)
            found.extend(child.pid for child in children if any("litert" in f.path for f in child.memory_maps()))
        return bool(found)

    wait_until(is_running)
    return found[0]


def test_the_agent_of_another_session_that_lives_is_left_alone(
    start: Start, tmp_path: Path, device_folder: Path
) -> None:
    first, _ = start()
    sha256 = put(first, b"content", tmp_path)
    start()
    assert len(sessions(device_folder)) == 2
    assert [session for session in sessions(device_folder) if (session / sha256).exists()]


# Turns


def test_one_at_a_time(start: Start, script: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    runner = script(f"""
        import sys, time
        with open({str(journal)!r}, "a", buffering=1) as file:
            file.write("begin\\n")
            time.sleep(0.05)
            file.write("end\\n")
        open(sys.argv[2], "w").write('{{"schema_version": 1}}')
        """)

    def work(agent: DeviceAgent) -> None:
        for _ in range(5):
            with agent.turn():
                run_stand_in(agent, runner)

    threads = [threading.Thread(target=work, args=(start()[0],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.read_text().split() == ["begin", "end"] * 10


def test_somebody_else_has_the_device(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    monkeypatch.setattr("socket.gethostname", lambda: "laptop")
    first, pipes = start()
    second, _ = start()
    told = rf"alice@laptop has had the device since \d\d:\d\d:\d\d \(process {pipes.process.pid} there\); waited 0.2 s"
    assert second.holder() is None
    with first.turn(), pytest.raises(TargetError, match=told), second.turn(wait_s=0.2):
        pass
    with second.turn(wait_s=0.2):
        pass


def test_who_has_the_device_is_told_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "alice")
    first, second = start()[0], start()[0]
    with first.turn():
        holder = second.holder()
        assert holder is not None
        assert holder.startswith("alice@")
    assert second.holder() is None
    with second.turn(wait_s=0):  # asking who has it takes nothing
        pass


def test_a_killed_agent_holds_nothing(start: Start) -> None:
    first, pipes = start()
    second, _ = start()
    with contextlib.suppress(TargetError), first.turn():
        pipes.process.kill()
        with second.turn(wait_s=5):
            pass


def test_a_host_that_is_silent_on_its_turn_loses_it(device_folder: Path) -> None:
    source = (Path(start_command.__code__.co_filename).parent / "agent.py").read_text()
    assert source.count("SILENCE_S = 60.0") == 1
    silent = subprocess.Popen(
        [sys.executable, "-I", "-c", source.replace("SILENCE_S = 60.0", "SILENCE_S = 0.3")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with silent:
        assert silent.stdin is not None
        for line in (
            {"folder": str(device_folder), "runtime": "litert", "who": "me"},
            {"verb": "take_turn", "wait_s": 1},
        ):
            print(json.dumps(line), file=silent.stdin, flush=True)
        assert silent.wait(10) == 0
    assert sessions(device_folder) == []


# The start


def test_a_shell_that_greets_its_user(start: Start) -> None:
    agent, _ = start(before="echo Welcome to Pi; echo '{}'; ")
    assert agent.python.startswith("3.")
    assert agent.cores == os.sched_getaffinity(0)


def test_a_shell_that_greets_without_end(device_folder: Path) -> None:
    pipes = Pipes("exec seq -f %0200g 1000")
    with pytest.raises(TargetError, match="prints without end"):
        DeviceAgent(pipes, PLACE, str(device_folder))
    pipes.process.kill()
    pipes.finish()


def test_no_such_python(device_folder: Path) -> None:
    pipes = Pipes(start_command("no-such python; rm -r x"))
    with pytest.raises(TargetError, match="ended with 127"):
        DeviceAgent(pipes, PLACE, str(device_folder))
    pipes.finish()


def test_a_folder_that_cannot_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TargetError, match="file/folder: Not a directory"):
        start(tmp_path / "file" / "folder")


def test_the_home_folder_is_the_devices(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("~/one", "two"):
        start(folder)
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"one", "two"}


def test_the_source_needs_nothing_that_an_older_python_lacks() -> None:
    """Python 3.7 has to come as far as the check of its version."""
    import ast

    source = (Path(start_command.__code__.co_filename).parent / "agent.py").read_text()
    ast.parse(source, feature_version=(3, 7))


# The virtual environment


def test_each_runtime_has_an_environment_of_its_own(start: Start, script: Any, device_folder: Path) -> None:
    agent, _ = start(runtime="tflite_runtime")
    assert agent.describe(None) is None  # LiteRT's is no stand-in
    with pytest.raises(TargetError, match=r"no virtual environment at .*/device/venv-tflite-runtime$"):
        run_stand_in(agent, script(SAYS_YES))
    (device_folder / "venv").rename(device_folder / "venv-tflite-runtime")
    assert run_stand_in(agent, script(SAYS_YES)).runtime_version == "yes"
    assert start()[0].describe(None) is None


def test_what_was_brought_is_removed_and_nothing_else(start: Start, device_folder: Path) -> None:
    agent, _ = start()
    shutil.copytree(device_folder / "venv", device_folder / "venv-tflite-runtime")
    (device_folder / "mine.txt").touch()
    agent.remove()
    assert [path.name for path in device_folder.iterdir()] == ["mine.txt"]


def test_the_folder_goes_when_it_is_empty(start: Start, device_folder: Path) -> None:
    agent, pipes = start()
    with agent.turn():
        agent.remove()
    agent.close()
    assert pipes.process.returncode == 0
    assert not device_folder.exists()


def test_a_linked_environment_is_unlinked(start: Start, device_folder: Path, tmp_path: Path) -> None:
    (device_folder / "venv").rename(tmp_path / "elsewhere")
    (device_folder / "venv").symlink_to(tmp_path / "elsewhere")
    start()[0].remove()
    assert (tmp_path / "elsewhere" / "bin" / "python").exists()
