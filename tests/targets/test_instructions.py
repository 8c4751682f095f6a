from __future__ import annotations

import shutil
import tempfile
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper
from pydantic import ValidationError

from edgecc.results import Failure, FailureKind
from edgecc.targets import instructions, runner
from edgecc.targets.child import run_in_child
from edgecc.targets.instructions import count_instructions
from edgecc.targets.wire import InstructionsTask, LatencyTask, RunReply, RunRequest
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

LIMITS: dict[str, Any] = {"timeout_s": 120.0, "memory_limit_bytes": 4e9}
IDLE = [900, 700, 600, 600, 650]

needs_valgrind = pytest.mark.usefixtures("valgrind")


@pytest.fixture
def any_request() -> RunRequest:
    return RunRequest(artifact_path="none", artifact_sha256="", runtime="litert", task=InstructionsTask(inferences=3))


class FakeCallgrind:
    """Stands in for the child: writes the dumps it was given, as callgrind names them, and answers."""

    def __init__(self, totals: Iterable[int | str], failure: Failure | None = None) -> None:
        self.under: list[str] = []
        self.limits: dict[str, Any] = {}
        self._totals = totals
        self._failure = failure

    def __call__(self, request: RunRequest, *, under: list[str], **limits: Any) -> RunReply:
        self.under, self.limits = under, limits
        prefix = under[-1].partition("=")[2]
        for part, total in enumerate(self._totals, 1):
            text = f"version: 1\npart: {part}\nevents: Ir\nfn=(1)\n0 99\ntotals: {total}\n"
            Path(f"{prefix}.{part}-01").write_text(text)
        return RunReply(runtime_version="1.0", failure=self._failure, log="the log")


def install(monkeypatch: pytest.MonkeyPatch, *totals: int | str, failure: Failure | None = None) -> FakeCallgrind:
    fake = FakeCallgrind(totals, failure)
    monkeypatch.setattr(instructions, "run_in_child", fake)
    monkeypatch.setattr(instructions, "_version", lambda valgrind: "valgrind-9.9")
    monkeypatch.setattr(shutil, "which", lambda name: f"/opt/{name}")
    return fake


# What callgrind wrote


def test_what_counting_costs_is_taken_off(any_request: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = install(monkeypatch, *IDLE, 5600, 5700, 5650)
    reply = count_instructions(any_request, **LIMITS, pin=[0])
    assert reply.instructions == (5000, 5100, 5050)
    assert reply.runtime_version == "1.0"
    assert "callgrind of valgrind-9.9" in reply.instructions_counter
    assert "without AVX-512" in reply.instructions_counter
    assert fake.limits == {**LIMITS, "pin": [0]}
    assert fake.under[:3] == ["env", "PYTHONHASHSEED=0", "/opt/valgrind"]
    assert not Path(fake.under[-1].partition("=")[2]).parent.exists()


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        ([], "No such file"),
        ([*IDLE, 5600, 5700], "No such file"),
        ([*IDLE, 5600, "many", 5700], "counts.7-01 has no totals"),
        ([*IDLE, 5600, 600, 5700], "more instructions than nothing does"),
        ([0] * 8, "more instructions than nothing does"),
    ],
)
def test_counts_that_are_not_there_are_a_failure_and_never_zero(
    totals: list[int | str], message: str, any_request: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, *totals)
    reply = count_instructions(any_request, **LIMITS)
    assert reply.failure is not None
    assert reply.failure.kind == "crashed"
    assert message in reply.failure.message
    assert reply.instructions == ()
    assert reply.log == "the log"


def test_a_run_that_failed_stays_one(any_request: RunRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure(kind=FailureKind.TIMED_OUT, message="killed")
    install(monkeypatch, *IDLE, 5600, 5700, 5650, failure=failure)
    reply = count_instructions(any_request, **LIMITS)
    assert reply.failure == failure
    assert reply.instructions == ()


def test_without_valgrind_the_reply_says_how_to_get_it(
    any_request: RunRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    reply = count_instructions(any_request, **LIMITS)
    assert reply.failure is not None
    assert reply.failure.kind == "refused"
    assert "apt-get install valgrind" in reply.failure.message


def test_the_runner_refuses_to_count_without_valgrind(make_request: Any, cnn_int8: Path) -> None:
    reply = run_in_child(make_request(cnn_int8, InstructionsTask()), **LIMITS)
    assert reply.failure is not None
    assert reply.failure.kind == "refused"
    assert reply.failure.message.startswith("instructions are counted under valgrind")


def test_the_runner_refuses_to_count_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.platform, "machine", lambda: "riscv64")
    with pytest.raises(runner.Refusal, match="this machine is riscv64"):
        runner._Callgrind()


# The target


def test_a_target_counts_where_it_was_asked_to(
    make_request: Any, cnn_int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = install(monkeypatch, *IDLE, *[5600] * 5)
    target = X86CpuTarget("host", X86CpuOptions.model_validate({"instructions": "callgrind", "memory_limit": "1 GB"}))
    assert "instructions" in target.abilities
    assert "instructions" not in X86CpuTarget("host", X86CpuOptions()).abilities
    assert target.run(make_request(cnn_int8, InstructionsTask()), timeout_s=9.0).instructions == (5000,) * 5
    assert fake.limits == {"timeout_s": 9.0, "memory_limit_bytes": 1e9, "pin": None}
    fake.under.clear()
    assert target.run(make_request(cnn_int8, LatencyTask(inferences=1)), timeout_s=60.0).process is not None
    assert fake.under == []


@pytest.mark.parametrize("options", [{"instructions": "perf"}, {"instructions": True}])
def test_counters_there_are_none_of(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        X86CpuOptions.model_validate(options)


def test_the_work_of_several_threads_is_not_counted() -> None:
    with pytest.raises(ValidationError, match="only with `num_threads = 1`"):
        X86CpuOptions.model_validate({"instructions": "callgrind", "num_threads": 2})


# With valgrind

SLED = """
import ctypes, json, mmap, sys
sys.path.insert(0, {targets!r})
import runner

def sled(nops):
    page = mmap.mmap(-1, 65536, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\\x90" * nops + b"\\xc3")
    return page, ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))

pages, (short, long) = zip(sled(1000), sled(21000))
callgrind = runner._Callgrind()
callgrind.start()
for _ in range(20):
    callgrind.count(lambda feed: short(), [])
    callgrind.count(lambda feed: long(), [])
print(json.dumps({{"schema_version": 1}}), flush=True)
runner.os._exit(0)
"""


@needs_valgrind
def test_a_count_is_that_of_the_processor(any_request: RunRequest, tmp_path: Path) -> None:
    """Two functions that differ by 20,000 instructions that do nothing."""
    script = tmp_path / "sled.py"
    script.write_text(textwrap.dedent(SLED.format(targets=str(Path(runner.__file__).parent))))
    counts = tmp_path / "counts"
    under = instructions._command("valgrind", counts)
    assert run_in_child(any_request, **LIMITS, runner=script, under=under).failure is None
    totals = [instructions._total(counts, part) for part in range(1, 41)]
    assert min(totals[1::2]) - min(totals[0::2]) == pytest.approx(20_000, abs=20)


@needs_valgrind
def test_a_count_repeats(make_request: Any, cnn_int8: Path) -> None:
    # The first process of a fresh installation compiles the runtime's Python code, so that everything lies elsewhere in
    # memory; in a bench, those that time the artifact have done so.
    _, first, again = (count_instructions(make_request(cnn_int8, InstructionsTask()), **LIMITS) for _ in range(3))
    assert first.failure is None
    assert len(first.instructions) == 5
    assert min(again.instructions) == pytest.approx(min(first.instructions), rel=1e-3)
    assert first.outputs[0].dtype == "int8"


@needs_valgrind
def test_a_count_sees_one_percent_more_work(make_request: Any, make_onnx: Any) -> None:
    smaller, larger = (_count_product(columns, make_request, make_onnx) for columns in (3200, 3232))
    assert 1.005 < larger / smaller < 1.015


def _count_product(columns: int, make_request: Any, make_onnx: Any) -> int:
    """Instructions of a product of (1, 256) with (256, columns)."""
    path = make_onnx(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (TensorProto.FLOAT, [1, 256])},
        {"y": (TensorProto.FLOAT, [1, columns])},
        {"w": np.ones((256, columns), np.float32)},
    )
    reply = count_instructions(make_request(path, InstructionsTask(inferences=3)), **LIMITS)
    assert reply.failure is None, reply.failure
    return min(reply.instructions)


@needs_valgrind
def test_nothing_is_left_of_a_count_that_took_too_long(
    make_request: Any, cnn_int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    # A server that another test shares may be a child of this process too.
    before = _children()
    reply = count_instructions(make_request(cnn_int8, InstructionsTask()), timeout_s=1.0, memory_limit_bytes=4e9)
    assert reply.failure is not None
    assert reply.failure.kind == "timed_out"
    assert list(temporary.iterdir()) == []
    assert not _children() - before


def _children() -> set[psutil.Process]:
    return {child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE}
