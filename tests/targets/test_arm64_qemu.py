"""A stand-in for QEMU meets everything that can go wrong; the real one counts at the end."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from pydantic import ValidationError

from edgecc.errors import TargetError
from edgecc.progress import Silent
from edgecc.results import Environment
from edgecc.targets.arm64 import carry, emulator, engine, image
from edgecc.targets.arm64.lacks import Lack
from edgecc.targets.arm64.machine import machine_folder
from edgecc.targets.arm64_qemu import Arm64QemuOptions, Arm64QemuTarget
from edgecc.targets.child import RUNNER
from edgecc.targets.wire import InstructionsTask, OutputsTask, RunReply

from ..conftest import require
from .fake_qemu import install_fake_qemu

TASK = InstructionsTask(inferences=3)
ENVIRONMENT = Environment(
    os="Linux 6.1", machine="aarch64", cpu_model="aarch64", cores=1, governor=None, accelerator=None, python="3.11.2",
    runtimes={"litert": "2.3.0", "onnxruntime": "1.32.0"}, emulated=False,
)  # fmt: skip

# A reply with a count; which number it has tells which request it belongs to.
COUNTS = f"""
environment = {ENVIRONMENT.model_dump(mode="json")!r}
def count(index, instructions):
    reply = dict(schema_version=1, environment=environment, instructions=[instructions])
    end(index, reply=json.dumps(reply), log="noise")
"""


def target(**options: Any) -> Arm64QemuTarget:
    given = {"cpu": "cortex-a72", "base_image": "local", **options}
    return Arm64QemuTarget("pi", Arm64QemuOptions.model_validate(given))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "edgecc" / "arm64"


@pytest.fixture
def machine(cache: Path) -> Path:
    """A machine as set_up leaves one, for the stand-in."""
    folder = machine_folder("local", None)
    folder.mkdir(parents=True)
    for name in ("vmlinuz", "initrd.cpio"):
        (folder / name).write_bytes(b"")
    (folder / "machine.json").write_text(ENVIRONMENT.model_dump_json())
    return folder


@pytest.fixture
def qemu(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs the stand-in; `starts` is a file with a line for each time that it was started."""

    def install(text: str) -> Path:
        starts = tmp_path / "starts"
        counted = (
            f"with open({str(starts)!r}, 'a') as file: file.write('1')\nstarts = len(open({str(starts)!r}).read())"
        )
        install_fake_qemu(tmp_path, monkeypatch, f"{COUNTS}\n{counted}\n{text}")
        return starts

    return install


def failures(replies: list[RunReply]) -> list[tuple[str, str] | None]:
    return [None if reply.failure is None else (reply.failure.kind, reply.failure.message) for reply in replies]


# The options


@pytest.mark.parametrize(
    "options",
    [{"cpu": None}, {"board": "raspberry-pi-4"}, {"cpu": "pentium"}, {"num_threads": 2}, {"base_image": "-v"}],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        target(**options)


def test_what_it_can_do() -> None:
    pi = target(cpu=None, board="raspberry-pi-3", runtime="tflite_runtime")
    assert pi.abilities == {"instructions"}
    assert pi.emulated
    assert pi.settings.num_threads == 1
    assert pi.tflite_runtime == "tflite_runtime"


# What is there


def test_it_tells_what_is_there_without_starting_it(qemu: Any) -> None:
    starts = qemu("")
    assert target().probe() == ENVIRONMENT.model_copy(
        update={"emulated": True, "cpu_model": "cortex-a72, emulated by QEMU 9.9.9"}
    )
    assert target(cpu="cortex-a53").probe().cpu_model.startswith("cortex-a53, ")
    assert not starts.exists()


def test_a_machine_that_was_not_made(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_fake_qemu(tmp_path, monkeypatch)
    with pytest.raises(TargetError, match="target `pi`: the machine to emulate was not made yet") as caught:
        target().probe()
    assert caught.value.hint == "edgecc targets --setup pi"


def test_a_cpu_that_this_qemu_does_not_emulate(qemu: Any) -> None:
    qemu("")
    for act in (target(cpu="neoverse-n1").probe, lambda: target(cpu="neoverse-n1").set_up(Silent())):
        with pytest.raises(TargetError, match=r"QEMU 9\.9\.9 emulates no machine with the CPU neoverse-n1") as caught:
            act()
        assert "name another `cpu`" in (caught.value.hint or "")


def test_all_that_is_missing_is_told_at_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "engine_lack", lambda: Lack("Docker's engine does not answer", "start it"))
    monkeypatch.setattr(emulator, "emulator_lacks", lambda model: [Lack("no handler qemu-aarch64", "register it")])
    monkeypatch.setattr(image, "installer_lack", lambda: Lack("neither pip nor uv is there", "get one"))
    with pytest.raises(TargetError) as caught:
        target().set_up(Silent())
    for what in ("no qemu-system-aarch64", "Docker's engine", "no handler", "neither pip nor uv", "gets the kernel"):
        assert what in caught.value.message
    for remedy in ("qemu-system-arm", "start it", "register it", "get one", "mmdebstrap"):
        assert remedy in (caught.value.hint or "")


def test_what_was_set_up_is_not_set_up_again(qemu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu("")
    monkeypatch.setattr(image, "build", None)
    target().set_up(Silent())


def test_clean_up_removes_the_machine(qemu: Any, machine: Path) -> None:
    target().clean_up()
    target().clean_up()
    assert not machine.exists()


def test_a_machine_in_which_there_is_no_python(qemu: Any, machine: Path) -> None:
    qemu('end(0, returncode=1, log="noise\\nModuleNotFoundError: no numpy\\n")')
    with pytest.raises(TargetError, match="the emulated machine cannot run Python: ModuleNotFoundError: no numpy"):
        target()._describe(machine)
    qemu("print('/init: python3: not found'); print('[ 1.0] Kernel panic - not syncing: Attempted to kill init!')")
    with pytest.raises(TargetError, match=r"target `pi`: the emulated machine ended: .*python3: not found"):
        target()._describe(machine)


# Counting


def test_several_are_counted_in_one_machine(qemu: Any, make_request: Any, cnn_int8: Path, cnn_float32: Path) -> None:
    starts = qemu("count(0, 700); count(1, 800); time.sleep(60)")
    replies = list(target().run_all([make_request(path, TASK) for path in (cnn_int8, cnn_float32)], timeout_s=60))
    assert failures(replies) == [None, None]
    assert [reply.instructions for reply in replies] == [(700,), (800,)]
    assert replies[0].instructions_counter == "the clock of QEMU 9.9.9 with -icount, which emulates a cortex-a72"
    assert replies[0].environment is not None
    assert replies[0].environment == target().probe()
    assert replies[0].log == "noise"
    assert starts.read_text() == "1"


def test_none_needs_no_machine(qemu: Any) -> None:
    starts = qemu("")
    assert list(target().run_all([], timeout_s=60)) == []
    assert not starts.exists()


def test_a_reply_comes_when_it_is_there(qemu: Any, make_request: Any, cnn_int8: Path, tmp_path: Path) -> None:
    qemu(f"count(0, 700)\nwhile not os.path.exists({str(tmp_path / 'heard')!r}): time.sleep(0.01)\ncount(1, 800)")
    replies = target().run_all([make_request(cnn_int8, TASK)] * 2, timeout_s=60)
    assert next(replies).instructions == (700,)
    (tmp_path / "heard").touch()
    assert [reply.instructions for reply in replies] == [(800,)]


def test_a_model_that_kills_its_process_leaves_the_others(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    starts = qemu("count(0, 700); end(1, returncode=-11); end(2, returncode=None); count(3, 900)")
    replies = list(target().run_all([make_request(cnn_int8, TASK)] * 4, timeout_s=60))
    assert failures(replies) == [
        None,
        ("crashed", "the process was killed by SIGSEGV"),
        ("timed_out", "killed after the limit of 60 s"),
        None,
    ]
    assert replies[3].instructions == (900,)
    assert starts.read_text() == "1"


@pytest.mark.parametrize(
    ("death", "kind", "message"),
    [
        ("time.sleep(600)", "timed_out", "killed after the limit of 2 s"),
        (
            "print('[ 9.0] Kernel panic - not syncing: Out of memory'); raise SystemExit",
            "out_of_memory",
            "Out of memory",
        ),
        ("raise SystemExit", "crashed", "the emulated machine ended"),
    ],
)
def test_a_model_that_takes_the_machine_with_it_leaves_the_others(
    death: str, kind: str, message: str, qemu: Any, make_request: Any, cnn_int8: Path
) -> None:
    starts = qemu(f"if starts == 1: count(0, 700); say(started=1); {death}\ncount(0, 900)")
    replies = list(target().run_all([make_request(cnn_int8, TASK)] * 3, timeout_s=2))
    assert [reply.instructions for reply in replies] == [(700,), (), (900,)]
    got_kind, got_message = failures(replies)[1] or ("", "")
    assert got_kind == kind
    assert message in got_message
    assert starts.read_text() == "11"


def test_what_it_does_not_do_is_refused_in_its_place(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    starts = qemu("count(0, 100 * starts); count(1, 100 * starts + 1)")
    counted, other = make_request(cnn_int8, TASK), make_request(cnn_int8, OutputsTask())
    gone = counted.model_copy(update={"artifact_path": "/gone.tflite"})
    replies = list(target().run_all([other, counted, counted, gone, counted], timeout_s=60))
    assert [reply.instructions for reply in replies] == [(), (100,), (101,), (), (200,)]
    assert [failure and failure[0] for failure in failures(replies)] == ["refused", None, None, "refused", None]
    assert starts.read_text() == "11"


def test_a_machine_that_does_not_start_is_a_lost_target(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    qemu("print('qemu-system-aarch64: Cannot allocate memory'); raise SystemExit(1)")
    with pytest.raises(TargetError, match=r"target `pi`: the emulated machine ended: .*Cannot allocate memory"):
        target().run(make_request(cnn_int8, TASK), timeout_s=60)


def test_a_machine_that_ends_between_two_is_a_lost_target(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    qemu("count(0, 700)")
    replies = target().run_all([make_request(cnn_int8, TASK)] * 2, timeout_s=60)
    assert next(replies).instructions == (700,)
    with pytest.raises(TargetError, match="the emulated machine ended"):
        next(replies)


def test_a_count_that_is_none_is_a_failure(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    qemu("count(0, 0)")
    reply = target().run(make_request(cnn_int8, TASK), timeout_s=60)
    assert failures([reply])[0] == (
        "crashed",
        "the reply cannot be read: instructions.0: Input should be greater than 0",
    )


def test_closed_from_another_thread_it_ends_at_once(qemu: Any, make_request: Any, cnn_int8: Path) -> None:
    starts = qemu("count(0, 700); say(started=1); time.sleep(600)")
    pi = target()
    replies = pi.run_all([make_request(cnn_int8, TASK)] * 3, timeout_s=300)
    next(replies)
    timer = threading.Timer(0.3, pi.close)
    timer.start()
    with pytest.raises(TargetError, match="target `pi` was closed"):
        next(replies)
    timer.join()
    assert starts.read_text() == "1"
    with pytest.raises(TargetError, match="target `pi` was closed"):
        pi.run(make_request(cnn_int8, TASK), timeout_s=60)
    assert starts.read_text() == "1"


# With QEMU


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm64QemuTarget]:
    """A target that is set up, in a cache folder of its own."""
    require("qemu")
    require("docker")
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platformdirs, "user_cache_path", lambda name: folder / name)
        pi = target()
        pi.set_up(Silent())
        yield pi
        pi.clean_up()
        assert [path for path in (folder / "edgecc" / "arm64").iterdir() if path.is_dir()] == []
    shutil.rmtree(folder)


@pytest.fixture
def deadly_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner, but for models of two names: one kills it, one makes it wait for ever."""
    death = """
    request = Path(sys.argv[1]).read_text()
    if "crash.tflite" in request:
        ctypes.string_at(0)
    if "hang.tflite" in request:
        time.sleep(10**6)
"""
    start = "    faulthandler.enable()\n"
    source = RUNNER.read_text()
    assert source.count(start) == 1
    (tmp_path / "runner.py").write_text(source.replace(start, start + death))
    monkeypatch.setattr(carry, "RUNNER", tmp_path / "runner.py")


@pytest.mark.docker
@pytest.mark.qemu
def test_a_count_repeats_wherever_it_is_made(
    real: Arm64QemuTarget, deadly_runner: None, make_request: Any, cnn_int8: Path, linear: Any, tmp_path: Path
) -> None:
    """First, last and alone; beside a model that kills its process, one that hangs, and one that is none."""
    crash, hang, broken = (tmp_path / f"{name}.tflite" for name in ("crash", "hang", "broken"))
    for path in (crash, hang):
        path.write_bytes(cnn_int8.read_bytes())
    broken.write_bytes(b"no model")
    requests = [
        make_request(path, InstructionsTask()) for path in (cnn_int8, crash, broken, hang, linear.path, cnn_int8)
    ]
    replies = list(real.run_all(requests, timeout_s=300))
    assert [failure and failure[0] for failure in failures(replies)] == [
        None, "crashed", "refused", "timed_out", None, None,
    ]  # fmt: skip
    assert failures(replies)[1] == ("crashed", "the process was killed by SIGSEGV")
    assert "runner.py" in replies[1].log  # where it was
    alone = real.run(requests[0], timeout_s=300)
    counts = [min(reply.instructions) for reply in (replies[0], replies[5], alone)]
    assert max(counts) <= 1.001 * min(counts)
    assert [len(reply.instructions) for reply in replies] == [5, 0, 0, 0, 5, 5]
    probed = real.probe()
    assert (probed.machine, probed.emulated) == ("aarch64", True)
    assert replies[0].environment is not None
    assert replies[0].environment.runtimes == probed.runtimes


@pytest.mark.docker
@pytest.mark.qemu
def test_a_dot_product_is_cheaper_where_there_is_one(real: Arm64QemuTarget, make_request: Any, cnn_int8: Path) -> None:
    """The Cortex-A76 has instructions for int8 that the Cortex-A72 lacks; both start from one machine."""
    other = target(cpu="cortex-a76")
    other.set_up(Silent())
    older, newer = (pi.run(make_request(cnn_int8, InstructionsTask()), timeout_s=300) for pi in (real, other))
    assert newer.instructions_counter.endswith("a cortex-a76")
    assert min(newer.instructions) < 0.99 * min(older.instructions)
