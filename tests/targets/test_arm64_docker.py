"""The target with stand-ins for Docker and QEMU; and, marked `docker`, with the real ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from edgecc.errors import TargetError
from edgecc.files import sha256_of_file
from edgecc.progress import Silent
from edgecc.targets import arm64_docker, turns
from edgecc.targets.arm64 import container, engine, image, runs
from edgecc.targets.arm64.lacks import Lack
from edgecc.targets.arm64_docker import Arm64DockerOptions, Arm64DockerTarget
from edgecc.targets.arrays import read_outputs
from edgecc.targets.runner import describe_environment
from edgecc.targets.wire import Beside, LatencyTask, OutputsTask, RunReply
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

TASK = LatencyTask(inferences=5)
CORES = len(os.sched_getaffinity(0))

Script = Callable[[str], None]


def target(**options: Any) -> Arm64DockerTarget:
    options = {"base_image": "local", "cpu": "cortex-a72", **options}
    return Arm64DockerTarget("pi", Arm64DockerOptions.model_validate(options))


def failure(reply: RunReply) -> tuple[str, str]:
    assert reply.failure is not None
    return reply.failure.kind, reply.failure.message


# With stand-ins


class Machine:
    """What there is on this machine, and what was done."""

    def __init__(self) -> None:
        self.engine_lack: Lack | None = None
        self.emulator_lacks: list[Lack] = []
        self.image_lacks: list[Lack] = []
        self.is_built = True
        self.is_native = False
        self.done: list[str] = []

    def describe(self, machine: runs.Machine) -> dict[str, Any]:
        assert turns.is_taken()
        self.done.append("described")
        return {**describe_environment(), "machine": "aarch64", "cpu_model": "aarch64", "temperature_c": 50.0}

    def answer(self, machine: runs.Machine, request: Any, timeout_s: float) -> RunReply:
        assert turns.is_taken()
        self.done.append(f"ran {timeout_s:g} s on {machine.cpu.name if machine.cpu else 'this machine'}")
        return RunReply.model_validate({"environment": self.describe(machine)})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    stand_in = Machine()
    monkeypatch.setattr(engine, "engine_lack", lambda: stand_in.engine_lack)
    monkeypatch.setattr(arm64_docker, "emulator_lacks", lambda model: stand_in.emulator_lacks)
    monkeypatch.setattr(arm64_docker, "qemu_version", lambda: "7.2.22")
    monkeypatch.setattr(arm64_docker, "is_native", lambda: stand_in.is_native)
    monkeypatch.setattr(image, "image_lacks", lambda base: stand_in.image_lacks)
    monkeypatch.setattr(image, "is_built", lambda base: stand_in.is_built)
    monkeypatch.setattr(image, "build", lambda base, progress: stand_in.done.append(f"built {base}"))
    monkeypatch.setattr(image, "remove", lambda base: stand_in.done.append(f"removed {base}"))
    monkeypatch.setattr(container, "remove_orphans", lambda: stand_in.done.append("swept"))
    monkeypatch.setattr(runs, "describe", stand_in.describe)
    monkeypatch.setattr(runs, "answer", stand_in.answer)
    return stand_in


def test_a_probe_tells_the_emulated_cpu_and_asks_once(machine: Machine) -> None:
    with target() as pi:
        environment = pi.probe()
        assert pi.probe() is environment
    assert machine.done == ["swept", "described"]
    assert pi.emulated
    assert environment.emulated
    assert environment.cpu_model == "cortex-a72, emulated by QEMU 7.2.22"
    assert environment.temperature_c is None  # it would be this machine's


def test_a_reply_speaks_of_the_same_environment(machine: Machine, make_request: Any, cnn_int8: Path) -> None:
    pi = target(board="raspberry-pi-3", cpu=None)
    reply = pi.run(make_request(cnn_int8, TASK), timeout_s=7.0)
    assert machine.done[0] == "ran 7 s on cortex-a53"
    assert reply.environment is not None
    assert reply.environment.cpu_model == "cortex-a53, emulated by QEMU 7.2.22"
    assert reply.environment.emulated


def test_an_arm64_emulates_nothing(machine: Machine, make_request: Any, cnn_int8: Path) -> None:
    machine.is_native = True
    native = target()
    assert not native.emulated
    environment = native.probe()
    assert (environment.emulated, environment.cpu_model, environment.temperature_c) == (False, "aarch64", 50.0)
    native.run(make_request(cnn_int8, TASK), timeout_s=7.0)
    assert "ran 7 s on this machine" in machine.done


def test_a_failure_has_no_environment(
    machine: Machine, make_request: Any, cnn_int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = RunReply.model_validate({"failure": {"kind": "crashed", "message": "oh"}})
    monkeypatch.setattr(runs, "answer", lambda *_: failed)
    assert target().run(make_request(cnn_int8, TASK), timeout_s=7.0) == failed


def test_all_that_is_missing_is_told_at_once(machine: Machine) -> None:
    machine.engine_lack = Lack("no engine", "start it")
    machine.emulator_lacks = [Lack("no handler", "apt-get install it"), Lack("no QEMU", "apt-get install it")]
    machine.image_lacks = [Lack("no mmdebstrap", "apt-get install mmdebstrap")]
    with pytest.raises(TargetError, match=r"^target `pi`: no engine; no handler; no QEMU$") as caught:
        target().probe()
    assert caught.value.hint == "start it; apt-get install it"
    with pytest.raises(TargetError, match=r"^target `pi`: no engine; no handler; no QEMU; no mmdebstrap$"):
        target().set_up(Silent())
    assert machine.done == []


def test_an_image_that_is_not_built(machine: Machine) -> None:
    machine.is_built = False
    with pytest.raises(TargetError, match=r"target `pi`: its image edgecc-arm64:\w{12} is not built") as caught:
        target().probe()
    assert caught.value.hint == "edgecc targets --setup pi"


def test_set_up_and_clean_up(machine: Machine) -> None:
    pi = target(base_image="python:3.11-slim")
    pi.set_up(Silent())
    pi.clean_up()
    assert machine.done == ["built python:3.11-slim", "removed python:3.11-slim"]


def test_more_threads_than_cores(machine: Machine) -> None:
    with pytest.raises(TargetError, match=f"target `pi`: expected at most {CORES} threads"):
        target(num_threads=CORES + 1).probe()


def test_the_runtime_of_tflite_files(machine: Machine) -> None:
    assert target().tflite_runtime == "litert"
    assert target(runtime="tflite_runtime").tflite_runtime == "tflite_runtime"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cpu": "max"},
        {"cpu": "cortex-a72", "base_image": "--privileged"},
        {"cpu": "cortex-a72", "base_image": "a\nRUN b"},
        {"cpu": "cortex-a72", "runtime": "onnxruntime"},
        {"cpu": "cortex-a72", "num_threads": 0},
        {"cpu": "cortex-a72", "memory_limit": "1"},
        {"cpu": "cortex-a72", "memory": "1 GB"},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Arm64DockerOptions.model_validate(options)


# With Docker and QEMU


@pytest.fixture
def stand_in(arm64_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Puts a script in the runner's place, in a real container."""

    def write(text: str) -> None:
        path = tmp_path / "stand_in.py"
        path.write_text(textwrap.dedent(text))
        monkeypatch.setattr(runs, "RUNNER", path)

    return write


@pytest.fixture(scope="module")
def pi(arm64_image: str) -> Arm64DockerTarget:
    return target()


def containers() -> list[Any]:
    with engine.engine() as client:
        listed: list[Any] = client.containers.list(all=True, filters={"label": container.LABEL})
    return [each for each in listed if each.labels[container.LABEL] == container.owner()]


@pytest.mark.docker
def test_a_second_set_up_does_nothing(pi: Arm64DockerTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "install_wheels", lambda folder: pytest.fail("it built again"))
    pi.set_up(Silent())


@pytest.mark.docker
def test_what_a_probe_finds(pi: Arm64DockerTarget) -> None:
    environment = pi.probe()
    assert environment.machine == "aarch64"
    assert environment.emulated == pi.emulated
    assert environment.python.startswith("3.11.")
    assert environment.runtimes == {**describe_environment()["runtimes"], "tflite_runtime": "2.14.0"}


@pytest.mark.docker
def test_int8_outputs_are_those_of_an_x86(
    pi: Arm64DockerTarget, make_request: Any, cnn_int8: Path, images: Any, tmp_path: Path
) -> None:
    request = make_request(cnn_int8, OutputsTask(), inputs=images)
    assert pi.run(request, timeout_s=60).failure is None
    (emulated,) = read_outputs(Path(request.outputs_path))
    assert X86CpuTarget("host", X86CpuOptions()).run(request, timeout_s=60).failure is None
    (native,) = read_outputs(Path(request.outputs_path))
    assert emulated.dtype == np.int8
    np.testing.assert_array_equal(emulated, native)


@pytest.mark.docker
@pytest.mark.parametrize("runtime", ["litert", "tflite_runtime"])
def test_float_outputs_are_right(
    runtime: str, pi: Arm64DockerTarget, make_request: Any, cnn_float32: Path, images: Any, cnn_answers: Any
) -> None:
    request = make_request(cnn_float32, OutputsTask(), inputs=images, runtime=runtime)
    reply = pi.run(request, timeout_s=60)
    assert reply.failure is None
    assert reply.runtime_version == pi.probe().runtimes[runtime]
    np.testing.assert_allclose(read_outputs(Path(request.outputs_path))[0], cnn_answers, atol=1e-6)


@pytest.mark.docker
def test_onnx_runtime_on_a_core_with_other_kernels(arm64_image: str, make_request: Any, linear: Any) -> None:
    x = np.random.default_rng(1).random((5, 3), dtype=np.float32)
    request = make_request(linear.path, OutputsTask(), inputs=x)
    reply = target(cpu=None, board="raspberry-pi-5").run(request, timeout_s=60)
    assert reply.failure is None
    np.testing.assert_allclose(read_outputs(Path(request.outputs_path))[0], linear(x), rtol=1e-5)


@pytest.mark.docker
def test_two_artifacts_in_one_container(
    pi: Arm64DockerTarget, make_request: Any, cnn_int8: Path, cnn_float32: Path
) -> None:
    other = Beside(artifact_path=str(cnn_float32), artifact_sha256=sha256_of_file(cnn_float32))
    request = make_request(cnn_int8, TASK).model_copy(update={"beside": other})
    reply = pi.run(request, timeout_s=60)
    assert reply.beside is not None
    assert len(reply.beside.latencies_s) == 5
    changed = other.model_copy(update={"artifact_sha256": "0" * 64})
    kind, message = failure(pi.run(request.model_copy(update={"beside": changed}), timeout_s=60))
    assert (kind, message.partition(":")[0]) == ("refused", str(cnn_float32))


@pytest.mark.docker
def test_a_latency_is_emulated_and_nothing_is_left(pi: Arm64DockerTarget, make_request: Any, cnn_int8: Path) -> None:
    reply = pi.run(make_request(cnn_int8, TASK), timeout_s=60)
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 5
    assert reply.environment is not None
    assert reply.environment.emulated == pi.emulated
    assert containers() == []


@pytest.mark.docker
def test_a_file_that_is_no_model(pi: Arm64DockerTarget, make_request: Any, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_text("These are not the bytes of a model. " * 50)
    kind, message = failure(pi.run(make_request(damaged, TASK), timeout_s=60))
    assert kind == "refused"
    assert "/edgecc/" not in message


ENDS = {
    "segfault": ("import ctypes; ctypes.string_at(0)", "crashed", "the process was killed by SIGSEGV"),
    "abort": ("import os; os.abort()", "crashed", "the process was killed by SIGABRT"),
    "exit": ("import no_such_module", "crashed", "exit code 1: ModuleNotFoundError: No module named 'no_such_module'"),
    "memory": ("hoard = []\nwhile True: hoard.append(b'x' * 10_000_000)", "out_of_memory", "killed"),
    "disk": (
        "open('/tmp/large', 'wb').write(b'x' * 80_000_000)", "crashed", "OSError: [Errno 28] No space left on device"
    ),
    "root": ("open('/large', 'wb')", "crashed", "OSError: [Errno 30] Read-only file system: '/large'"),
    "model": ("open('/edgecc/model', 'wb')", "crashed", "Read-only file system: '/edgecc/model'"),
    "network": (
        "import socket; socket.create_connection(('192.0.2.1', 80))", "crashed", "Network is unreachable"
    ),
    "rights": (
        "import os; os.chown('/tmp', 1, 1)", "crashed", "Operation not permitted: '/tmp'"
    ),
}  # fmt: skip


@pytest.mark.docker
@pytest.mark.parametrize("name", ENDS)
def test_a_script_that_comes_to_a_bad_end(
    name: str, pi: Arm64DockerTarget, stand_in: Script, make_request: Any, cnn_int8: Path
) -> None:
    text, kind, message = ENDS[name]
    stand_in(text)
    limited = target(memory_limit="200 MB")
    got_kind, got_message = failure(limited.run(make_request(cnn_int8, TASK), timeout_s=60))
    assert got_kind == kind
    assert message in got_message
    assert containers() == []


@pytest.mark.docker
def test_a_hang_is_killed(pi: Arm64DockerTarget, stand_in: Script, make_request: Any, cnn_int8: Path) -> None:
    stand_in("""
        import signal, subprocess, time
        for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        time.sleep(600)
        """)
    start_s = time.monotonic()
    assert failure(pi.run(make_request(cnn_int8, TASK), timeout_s=2.0)) == (
        "timed_out", "killed after the limit of 2 s",
    )  # fmt: skip
    assert time.monotonic() - start_s < 30
    assert containers() == []


HOST = """
import sys, edgecc.targets.arm64.runs as runs, pathlib
from edgecc.targets.arm64_docker import *
runs.RUNNER = pathlib.Path(sys.argv[1])
options = Arm64DockerOptions(cpu="cortex-a72", base_image="local")
request = RunRequest.model_validate_json(pathlib.Path(sys.argv[2]).read_text())
Arm64DockerTarget("pi", options).run(request, timeout_s=300)
"""


@pytest.mark.docker
def test_what_a_killed_edgecc_left_is_swept(
    pi: Arm64DockerTarget, make_request: Any, cnn_int8: Path, tmp_path: Path
) -> None:
    (tmp_path / "hang.py").write_text("import time; time.sleep(600)")
    (tmp_path / "request.json").write_text(make_request(cnn_int8, TASK).model_dump_json())
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, tmp_path / "hang.py", tmp_path / "request.json"],
        env={**os.environ, "TMPDIR": str(tmp_path)},  # killed, it leaves a folder there
    )
    try:
        wait_for(lambda: labelled(host.pid) == ["running"])
    finally:
        host.kill()
        host.wait()
    assert labelled(host.pid) == ["running"]
    target().probe()
    assert labelled(host.pid) == []


def labelled(pid: int) -> list[str]:
    """The states of the containers of another process."""
    with engine.engine() as client:
        listed: list[Any] = client.containers.list(all=True, filters={"label": container.LABEL}, ignore_removed=True)
        return [each.status for each in listed if each.labels[container.LABEL].split("/")[1] == str(pid)]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.mark.docker
def test_clean_up_removes_the_image(arm64_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with engine.engine() as client:
        client.images.get(arm64_image).tag("edgecc-test", "1")
        monkeypatch.setattr(image, "image_tag", lambda base: "edgecc-test:1")
        target(base_image="python:3.11-slim").clean_up()
        names = [tag for each in client.images.list() for tag in each.tags]
    assert arm64_image in names
    assert "edgecc-test:1" not in names
