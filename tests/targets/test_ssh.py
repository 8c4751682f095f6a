"""The target against a real OpenSSH server here, and what goes wrong on the way to one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pydantic import ValidationError

from edgecc.errors import TargetError
from edgecc.files import sha256_of_file
from edgecc.targets import device_agent, ssh_connection
from edgecc.targets.arrays import read_outputs
from edgecc.targets.ssh import SshOptions, SshTarget
from edgecc.targets.ssh_connection import Address
from edgecc.targets.wire import Beside, LatencyTask, OutputsTask
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

from .ssh_server import Open, SshServer, failing


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


# What it gives


@pytest.mark.ssh
@pytest.mark.parametrize("model", ["cnn_int8", "cnn_float32"])
def test_outputs_are_those_of_this_machine(
    model: str, open_target: Open, make_request: Any, images: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asked = make_request(request.getfixturevalue(model), OutputsTask(), inputs=images)
    here = X86CpuTarget("host", X86CpuOptions()).run(asked, timeout_s=60)
    (expected,) = read_outputs(tmp_path / "outputs.npy")
    (tmp_path / "outputs.npy").unlink()
    there = open_target().run(asked, timeout_s=60)
    (got,) = read_outputs(tmp_path / "outputs.npy")
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype
    assert there.outputs == here.outputs
    assert there.runtime_version == here.runtime_version


@pytest.mark.ssh
def test_probe_and_run_speak_of_one_environment(open_target: Open, make_request: Any, cnn_int8: Path) -> None:
    target = open_target(pin=[min(os.sched_getaffinity(0))])
    probed = target.probe()
    reply = target.run(make_request(cnn_int8, LatencyTask(inferences=10)), timeout_s=60)
    assert probed.cores == 1
    assert not probed.emulated
    assert set(probed.runtimes) == {"litert", "onnxruntime"}
    assert reply.process is not None
    assert len(reply.process.latencies_s) == 10
    assert reply.environment is not None
    momentary = {"load_average": None, "frequency_mhz": None}
    assert reply.environment.model_copy(update=momentary) == probed.model_copy(update=momentary)


@pytest.mark.ssh
def test_what_is_there_is_not_sent_again(
    open_target: Open, make_request: Any, cnn_int8: Path, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_bytes = 0
    send = ssh_connection.Connection.send

    def count(connection: Any, data: bytes) -> None:
        nonlocal sent_bytes
        sent_bytes += len(data)
        send(connection, data)

    monkeypatch.setattr(ssh_connection.Connection, "send", count)
    asked = make_request(cnn_int8, OutputsTask(), inputs=np.tile(images, (50, 1, 1, 1)))
    target = open_target()
    assert target.run(asked, timeout_s=60).failure is None
    assert sent_bytes > 250_000
    sent_bytes = 0
    assert target.run(asked, timeout_s=60).failure is None
    assert sent_bytes < 2_000


@pytest.mark.ssh
def test_two_artifacts_in_one_process(open_target: Open, make_request: Any, cnn_int8: Path, cnn_float32: Path) -> None:
    other = Beside(artifact_path=str(cnn_float32), artifact_sha256=sha256_of_file(cnn_float32))
    request = make_request(cnn_int8, LatencyTask(inferences=20)).model_copy(update={"beside": other})
    reply = open_target().run(request, timeout_s=60)
    assert reply.beside is not None
    assert len(reply.beside.latencies_s) == 20
    changed = other.model_copy(update={"artifact_sha256": "0" * 64})
    refused = open_target().run(request.model_copy(update={"beside": changed}), timeout_s=60).failure
    assert refused is not None
    assert refused.message.startswith(f"{cnn_float32}: expected the sha256 {'0' * 64}")


@pytest.mark.ssh
def test_limits_reach_the_device(open_target: Open, make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, LatencyTask(inferences=10**8))
    target = open_target(memory_limit="1 MB")
    reply = target.run(request, timeout_s=60)
    assert reply.failure is not None
    assert (reply.failure.kind, reply.failure.message) == (
        "out_of_memory", "killed when its memory passed the limit of 1.00 MB",
    )  # fmt: skip
    reply = open_target().run(request, timeout_s=1)
    assert reply.failure is not None
    assert (reply.failure.kind, reply.failure.message) == ("timed_out", "killed after the limit of 1 s")


@pytest.mark.ssh
def test_through_another_server(open_target: Open, ssh_server: SshServer) -> None:
    assert open_target(jump=ssh_server.address).probe().runtimes
    error = failing(open_target(jump=ssh_server.address, host="127.0.0.2", port=1), "127.0.0.2:1 cannot be reached: ")
    assert "refused" in error.message.lower() or "failed" in error.message.lower()
    failing(open_target(jump="somebody@127.0.0.1:1"), "^somebody@127.0.0.1:1 cannot be reached: Connection refused")


@pytest.mark.ssh
def test_two_benches_at_once(open_target: Open, make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, LatencyTask(inferences=10))
    failures: list[Any] = []

    def bench(target: SshTarget) -> None:
        target.probe()
        failures.extend(target.run(request, timeout_s=60).failure for _ in range(2))

    threads = [threading.Thread(target=bench, args=(open_target(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [None] * 4


@pytest.mark.ssh
def test_two_targets_on_one_device_that_are_both_open(open_target: Open) -> None:
    """A bench closes its targets at the end; the second must not wait for the first until then."""
    first, second = open_target(num_threads=1), open_target(num_threads=2 if os.cpu_count() != 1 else 1)
    assert first.device == second.device
    assert first.probe().runtimes == second.probe().runtimes == first.probe().runtimes


@pytest.mark.ssh
def test_close_leaves_nothing(open_target: Open, ssh_server: SshServer, device_folder: Path, make_request: Any,
                              cnn_int8: Path) -> None:  # fmt: skip
    target = open_target()
    target.run(make_request(cnn_int8, LatencyTask(inferences=10)), timeout_s=60)
    target.close()
    assert list((device_folder / "sessions").iterdir()) == []
    wait_until(lambda: not ssh_server.below("python"))
    target.close()  # and once more
    assert target.probe().runtimes  # it connects anew


# A device that is lost


@contextmanager
def running(target: SshTarget, request: Any, server: SshServer) -> Iterator[list[str]]:
    """Runs a request that never ends in a thread; what is raised there is in the list afterwards."""
    messages: list[str] = []

    def run() -> None:
        try:
            target.run(request, timeout_s=60)
        except TargetError as error:
            messages.append(error.message)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: len(server.below("python")) >= 2)  # the agent and the runner
    yield messages
    thread.join()


@pytest.fixture
def endless(make_request: Any, cnn_int8: Path) -> Any:
    return make_request(cnn_int8, LatencyTask(inferences=10**8))


@pytest.mark.ssh
def test_the_connection_is_cut(
    open_target: Open, endless: Any, ssh_server: SshServer, device_folder: Path, make_request: Any, cnn_int8: Path
) -> None:
    target = open_target()
    with running(target, endless, ssh_server) as messages:
        processes = ssh_server.below("python")
        for session in ssh_server.below("sshd"):
            session.kill()
    assert messages == [f"target `pi`: {ssh_server.address}: the connection was cut"]
    wait_until(lambda: all(map(is_gone, processes)))
    wait_until(lambda: list((device_folder / "sessions").iterdir()) == [])
    assert target.run(make_request(cnn_int8, LatencyTask(inferences=10)), timeout_s=60).failure is None


@pytest.mark.ssh
def test_the_agent_is_killed(open_target: Open, endless: Any, ssh_server: SshServer) -> None:
    target = open_target()
    with running(target, endless, ssh_server) as messages:
        processes = ssh_server.below("python")
        agent = next(process for process in processes if "-c" in process.cmdline())
        agent.kill()
    assert len(messages) == 1
    assert messages[0].startswith(f"target `pi`: {ssh_server.address}: ")
    wait_until(lambda: all(map(is_gone, processes)))


@pytest.mark.ssh
def test_closed_from_another_thread(
    open_target: Open, endless: Any, ssh_server: SshServer, device_folder: Path
) -> None:
    """As the bench does where it is interrupted."""
    target = open_target()
    with running(target, endless, ssh_server) as messages:
        target.close()
    assert len(messages) == 1
    assert list((device_folder / "sessions").iterdir()) == []


@pytest.mark.ssh
def test_a_killed_edgecc_leaves_nothing(
    ssh_server: SshServer, device_folder: Path, endless: Any, tmp_path: Path
) -> None:
    (tmp_path / "request.json").write_text(endless.model_dump_json())
    options = ssh_server.options(folder=str(device_folder))
    (tmp_path / "options.json").write_text(SshOptions.model_validate(options).model_dump_json(exclude_none=True))
    host = subprocess.Popen([sys.executable, "-c", HOST, tmp_path])
    wait_until(lambda: len(ssh_server.below("python")) >= 2)
    processes = ssh_server.below("python")
    host.kill()
    host.wait()
    wait_until(lambda: all(map(is_gone, processes)))
    wait_until(lambda: list((device_folder / "sessions").iterdir()) == [])


HOST = """
import json, pathlib, sys
from edgecc.targets.ssh import SshOptions, SshTarget
from edgecc.targets.wire import RunRequest
folder = pathlib.Path(sys.argv[1])
options = json.loads((folder / "options.json").read_text())
del options["connect_timeout"]
target = SshTarget("pi", SshOptions.model_validate(options))
target.run(RunRequest.model_validate_json((folder / "request.json").read_text()), timeout_s=60)
"""


@pytest.mark.ssh
def test_a_device_that_says_nothing_any_more(
    open_target: Open, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_target()
    target.probe()
    agent = target._agent
    assert agent is not None
    monkeypatch.setattr(device_agent, "ANSWER_S", 0.3)
    monkeypatch.setattr(ssh_connection, "FINISH_S", 0.1)
    processes = ssh_server.below("python")
    for process in processes:
        process.suspend()
    try:
        with pytest.raises(TargetError, match=r"^target `pi`: .*: no answer within 0\.3 s$"), agent.turn(wait_s=0):
            pass
        target.close()
    finally:
        for process in processes:
            process.resume()
    wait_until(lambda: all(map(is_gone, processes)))


# Keys


@pytest.mark.ssh
def test_a_key_that_is_not_accepted(open_target: Open, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    error = failing(
        open_target(key=ssh_server.folder / "other_key"), f"^{ssh_server.address}: it accepted none of 1 key$"
    )
    assert f"ssh-copy-id -i {ssh_server.folder}/other_key -p {ssh_server.port}" in (error.hint or "")
    failing(open_target(user="nobody-here"), "nobody-here@127.0.0.1:[0-9]+: it accepted none of 1 key")


@pytest.mark.ssh
def test_keys_that_cannot_be_used(
    open_target: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_server: SshServer
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    failing(open_target(key=tmp_path / "none"), "none: expected a private key; it cannot be read: .*No such file")
    (tmp_path / "text").write_text("not a key")
    failing(open_target(key=tmp_path / "text"), "text: expected a private key; it cannot be read: ")
    with_passphrase(ssh_server.folder / "user_key", tmp_path / "locked")
    error = failing(open_target(key=tmp_path / "locked"), "there was no key to try")
    assert "ssh-add" in (error.hint or "")


def with_passphrase(key: Path, copy: Path) -> None:
    shutil.copy(key, copy)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", copy], check=True, stdout=subprocess.DEVNULL
    )


@pytest.mark.ssh
def test_a_key_that_the_ssh_agent_holds(
    open_target: Open, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_passphrase(ssh_server.folder / "user_key", tmp_path / "locked")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL) as agent:
        try:
            wait_until((tmp_path / "agent").exists)
            subprocess.run(["ssh-add", "-q", ssh_server.folder / "user_key"], check=True)
            assert open_target(key=tmp_path / "locked").probe().runtimes
            monkeypatch.setenv("HOME", str(tmp_path / "home"))
            assert open_target(key=None).probe().runtimes
        finally:
            agent.kill()


@pytest.mark.ssh
def test_a_default_key(
    open_target: Open, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    shutil.copy(ssh_server.folder / "user_key", tmp_path / "home" / ".ssh" / "id_ed25519")
    shutil.copy(ssh_server.folder / "known_hosts", tmp_path / "home" / ".ssh" / "known_hosts")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    options = {key: value for key, value in ssh_server.options().items() if key not in ("key", "known_hosts")}
    with SshTarget("pi", SshOptions(**options, folder=str(tmp_path / "device"))) as target:
        assert target.probe().runtimes


# Host keys


@pytest.mark.ssh
@pytest.mark.parametrize("text", [None, "", "elsewhere {key}", "127.0.0.1 {key}"])
def test_an_unknown_host_key(text: str | None, open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known hosts"
    key = (ssh_server.folder / "host_key.pub").read_text()
    if text is not None:
        known_hosts.write_text(text.format(key=key))
    error = failing(open_target(known_hosts=known_hosts), "its host key is not known; it shows ssh-ed25519 SHA256:")
    fingerprint = subprocess.run(
        ["ssh-keygen", "-lf", ssh_server.folder / "host_key.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    assert fingerprint in error.message
    assert f"ssh-keyscan -p {ssh_server.port} 127.0.0.1 >> '{known_hosts}'" in (error.hint or "")


@pytest.mark.ssh
def test_the_hint_helps(open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    target = open_target(known_hosts=tmp_path / "known_hosts")
    hint = failing(target, "is not known").hint or ""
    subprocess.run(["/bin/sh", "-c", hint.partition("the same: ")[2]], check=True, capture_output=True)
    assert target.probe().runtimes


@pytest.mark.ssh
def test_a_changed_host_key(open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(ssh_server.known_hosts_line("other_key.pub"))
    target = open_target(known_hosts=known_hosts)
    error = failing(target, r"THE HOST KEY HAS CHANGED. Expected ssh-ed25519 SHA256:.* it shows ssh-ed25519 SHA256:")
    assert "ssh-keygen -R" in (error.hint or "")
    failing(open_target(known_hosts=known_hosts, jump=ssh_server.address), "HAS CHANGED")


@pytest.mark.ssh
def test_a_key_of_another_type_is_not_enough(open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ecdsa"], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{ssh_server.port} {(tmp_path / 'ecdsa.pub').read_text()}")
    failing(open_target(known_hosts=known_hosts), "HAS CHANGED. Expected ecdsa-sha2-nistp256 SHA256")


@pytest.mark.ssh
def test_lines_that_say_nothing_of_this_host_are_passed_over(
    open_target: Open, ssh_server: SshServer, tmp_path: Path
) -> None:
    known_hosts = tmp_path / "known_hosts"
    good = ssh_server.known_hosts_line("host_key.pub")
    known_hosts.write_text(
        f"# a comment\n\n@cert-authority *.example.org {good.partition(' ')[2]}"
        f"[127.0.0.1]:{ssh_server.port} ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB\nshort\na b !!\n"
        f"{ssh_server.known_hosts_line('other_key.pub')}{good}"
    )
    assert open_target(known_hosts=known_hosts).probe().runtimes


@pytest.mark.ssh
def test_a_revoked_host_key(open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    line = ssh_server.known_hosts_line("host_key.pub")
    known_hosts.write_text(f"{line}@revoked {line}")
    failing(open_target(known_hosts=known_hosts), "is marked as revoked")


@pytest.mark.ssh
def test_a_hashed_name(open_target: Open, ssh_server: SshServer, tmp_path: Path) -> None:
    shutil.copy(ssh_server.folder / "known_hosts", tmp_path / "known_hosts")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", tmp_path / "known_hosts"], check=True, capture_output=True)
    assert "127.0.0.1" not in (tmp_path / "known_hosts").read_text()
    assert open_target(known_hosts=tmp_path / "known_hosts").probe().runtimes


# No way there


@contextmanager
def listener(says: bytes) -> Iterator[int]:
    """A port behind which no SSH server is."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(says)
                connection.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]


def unreachable(**options: Any) -> SshTarget:
    options = {"host": "127.0.0.1", "known_hosts": "/nowhere", "connect_timeout": "500 ms", **options}
    return SshTarget("pi", SshOptions.model_validate(options))


def test_a_closed_port(capfd: pytest.CaptureFixture[str]) -> None:
    failing(unreachable(user="me", port=1), "^me@127.0.0.1:1 cannot be reached: Connection refused$")
    failing(unreachable(host="no-such-host.invalid"), "no-such-host.invalid:22 cannot be reached: ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_than_ssh(says: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with listener(says) as port:
        failing(unreachable(port=port), f"127.0.0.1:{port} (cannot be reached: |does not answer)")
    assert capfd.readouterr() == ("", "")


def test_without_paramiko(monkeypatch: pytest.MonkeyPatch) -> None:
    ssh_connection._paramiko.cache_clear()
    monkeypatch.setitem(sys.modules, "paramiko", None)
    assert failing(unreachable(), "needs paramiko").hint == "pip install 'edgecc[ssh]'"


def test_its_options_need_no_ssh_library() -> None:
    code = (
        "import sys, edgecc.targets.ssh as s; s.SshOptions(host='pi', jump='a@b:1'); print('paramiko' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# Options


@pytest.mark.parametrize(
    "options",
    [
        {}, {"host": ""}, {"host": "-oProxyCommand=x"}, {"host": "a b"}, {"host": "pi@pi"},
        {"host": "pi", "user": "-l"},
        {"host": "pi", "port": 0}, {"host": "pi", "port": 65536}, {"host": "pi", "jump": "a@b@c"},
        {"host": "pi", "jump": "b:0"}, {"host": "pi", "jump": ""}, {"host": "pi", "python": "-c"},
        {"host": "pi", "runtime": "onnxruntime"},
        {"host": "pi", "folder": ""}, {"host": "pi", "num_threads": 0}, {"host": "pi", "pin": []},
        {"host": "pi", "password": "secret"}, {"host": "pi", "connect_timeout": 10},
    ],
)  # fmt: skip
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SshOptions.model_validate(options)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("b", Address("me", "b", 22)), ("a@b", Address("a", "b", 22)), ("a@b:2222", Address("a", "b", 2222)),
        ("a@[fe80::1]:2222", Address("a", "fe80::1", 2222)), ("10.0.0.5:1", Address("me", "10.0.0.5", 1)),
    ],
)  # fmt: skip
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text, default_user="me") == address


def test_one_device_has_one_name() -> None:
    options = {"host": "pi", "user": "me", "port": 2222}
    assert SshTarget("one", SshOptions(**options)).device == "me@pi:2222"
    assert SshTarget("two", SshOptions(**options, num_threads=4)).device == "me@pi:2222"
    assert not SshTarget("one", SshOptions(**options)).emulated


@pytest.mark.ssh
def test_cores_that_are_not_there(open_target: Open) -> None:
    failing(open_target(pin=[0, 1000]), "`pin` names cores 1000; .* has 0")
    failing(open_target(num_threads=1000), "expected at most [0-9]+ threads")


@pytest.mark.ssh
def test_a_path_is_never_a_command(open_target: Open, tmp_path: Path) -> None:
    odd = tmp_path / "a 'quoted\" $(touch spilt) `touch spilt`; touch spilt"
    (odd / "bin").mkdir(parents=True)
    (odd / "bin" / "python").symlink_to(sys.executable)
    error = failing(
        open_target(python=str(odd / "bin" / "python"), folder=str(odd / "folder")), "no virtual environment"
    )
    assert error.hint == "edgecc targets --setup pi"
    assert not list(tmp_path.rglob("spilt"))
    assert not (Path.home() / "spilt").exists()


@pytest.mark.ssh
def test_no_such_python(open_target: Open) -> None:
    failing(open_target(python="no-such-python"), "the program there ended with exit status 127: .*no-such-python")


@pytest.mark.ssh
def test_an_artifact_that_was_changed_or_is_gone(
    open_target: Open, make_request: Any, linear: Any, tmp_path: Path
) -> None:
    request = make_request(linear.path, LatencyTask(inferences=1))
    linear.path.write_bytes(b"other")
    reply = open_target().run(request, timeout_s=60)
    assert reply.failure is not None
    assert (reply.failure.kind, "the file was changed" in reply.failure.message) == ("refused", True)
    linear.path.unlink()
    reply = open_target().run(request, timeout_s=60)
    assert reply.failure is not None
    assert (reply.failure.kind, "No such file" in reply.failure.message) == ("refused", True)
