from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgecc.errors import TargetError
from edgecc.targets import runner
from edgecc.targets.runner import describe_environment
from edgecc.targets.target import Target
from edgecc.targets.wire import LatencyTask
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

CORES = os.sched_getaffinity(0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the machine says of itself; a test may change it."""
    description = {**describe_environment(), "machine": "x86_64"}
    monkeypatch.setattr(runner, "describe_environment", lambda: description)
    return description


def target(**options: Any) -> Target:
    return X86CpuTarget("host", X86CpuOptions.model_validate(options))


def test_probe_and_run_speak_of_one_environment(machine: dict[str, Any], make_request: Any, cnn_int8: Path) -> None:
    core = min(CORES)
    with target(pin=[core]) as pinned:
        probed = pinned.probe()
        reply = pinned.run(make_request(cnn_int8, LatencyTask(inferences=3)), timeout_s=60)
    assert probed.cores == 1
    assert set(probed.runtimes) == {"litert", "onnxruntime"}
    assert reply.environment is not None
    assert reply.environment.model_copy(update={"load_average": None, "machine": "x86_64"}) == probed.model_copy(
        update={"load_average": None}
    )


def test_the_memory_limit_reaches_the_child(make_request: Any, cnn_int8: Path) -> None:
    reply = target(memory_limit="1 MB").run(make_request(cnn_int8, LatencyTask(inferences=3)), timeout_s=60)
    assert reply.failure is not None
    assert reply.failure.kind == "out_of_memory"


def test_another_machine(machine: dict[str, Any]) -> None:
    machine["machine"] = "aarch64"
    with pytest.raises(TargetError, match="expected an x86-64 machine; this one is aarch64") as caught:
        target().probe()
    assert caught.value.hint


def test_no_runtime(machine: dict[str, Any]) -> None:
    machine["runtimes"] = {}
    with pytest.raises(TargetError, match="ai-edge-litert or onnxruntime") as caught:
        target().probe()
    assert caught.value.hint == "pip install ai-edge-litert onnxruntime"


def test_more_threads_than_cores(machine: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match=f"at most {len(CORES)} threads"):
        target(num_threads=len(CORES) + 1).probe()
    with pytest.raises(TargetError, match="at most 1 threads"):
        target(num_threads=2, pin=[min(CORES)]).probe()


def test_a_core_that_is_not_there(machine: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="names cores 1000; there are"):
        target(pin=[min(CORES), 1000]).probe()


@pytest.mark.parametrize(
    "options",
    [{"num_threads": 0}, {"memory_limit": "4"}, {"memory_limit": 4e9}, {"pin": []}, {"pin": [-1]}, {"threads": 1}],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        X86CpuOptions.model_validate(options)
