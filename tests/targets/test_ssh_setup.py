"""Setting a device up: with a stand-in for its pip, and on a real OpenSSH server here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.artifact import Format
from edgecc.errors import TargetError
from edgecc.progress import Silent
from edgecc.targets import device_setup
from edgecc.targets.arrays import read_outputs
from edgecc.targets.device_agent import Executed
from edgecc.targets.device_setup import install_runtimes
from edgecc.targets.wire import LatencyTask, OutputsTask
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget

from .ssh_server import Open, failing


@pytest.mark.ssh
def test_set_up_run_and_clean_up(
    open_target: Open, make_request: Any, cnn_int8: Path, linear: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    target = open_target(folder=str(folder), python=sys.executable)
    assert failing(target, "has no virtual environment").hint == "edgecc targets --setup pi"
    target.set_up(Silent())
    here = X86CpuTarget("host", X86CpuOptions()).run(make_request(cnn_int8, LatencyTask(inferences=10)), timeout_s=60)
    for model in (cnn_int8, linear.path):
        reply = target.run(make_request(model, LatencyTask(inferences=10)), timeout_s=60)
        assert reply.process is not None
        assert here.environment is not None
        assert reply.environment is not None
        assert reply.environment.runtimes == here.environment.runtimes
    inode = (folder / "venv").stat().st_ino
    marker = folder / "venv" / "marker"
    marker.touch()
    target.set_up(Silent())
    assert (marker.exists(), (folder / "venv").stat().st_ino) == (True, inode)
    target.clean_up()
    assert not folder.exists()


@pytest.mark.ssh
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime has no wheel for this Python")
def test_tflite_runtime_beside_litert(
    open_target: Open,
    make_request: Any,
    cnn_int8: Path,
    linear: Any,
    images: Any,
    cnn_answers: Any,
    device_folder: Path,
) -> None:
    target = open_target(runtime="tflite_runtime", python=sys.executable)
    failing(target, "has no virtual environment for tflite_runtime")
    target.set_up(Silent())
    assert target.probe().runtimes == {"tflite_runtime": "2.14.0"}
    assert "tflite_runtime" not in open_target().probe().runtimes

    assert target.runtime_of(Format.TFLITE) == "tflite_runtime"
    request = make_request(cnn_int8, OutputsTask(), inputs=images, runtime="tflite_runtime")
    reply = target.run(request, timeout_s=60)
    assert reply.runtime_version == "2.14.0"
    (quantized,), (spec,) = read_outputs(Path(request.outputs_path)), reply.outputs
    assert spec.scale
    outputs = (quantized.astype(float) - spec.zero_point[0]) * spec.scale[0]
    np.testing.assert_allclose(outputs, cnn_answers, atol=3 * spec.scale[0])

    refused = target.run(make_request(linear.path, LatencyTask(inferences=1)), timeout_s=60).failure
    assert refused is not None
    assert (refused.kind, "onnxruntime cannot be imported" in refused.message) == ("refused", True)

    open_target().clean_up()  # of either removes both
    assert not any(device_folder.glob("venv*"))


class ScriptedAgent:
    """Answers what pip would: which requirements it can install, and what it says of the others."""

    python = "3.9.2"

    def __init__(self, can: set[str], says: str, made: Executed = Executed()) -> None:  # noqa: B008
        self._can, self._says, self._made = can, says, made
        self.installed: list[str] = []

    def make_environment(self) -> Executed:
        return self._made

    def install(self, packages: list[str]) -> Executed:
        if not set(packages) <= self._can:
            return Executed(1, f"Collecting things\n{self._says}")
        self.installed += packages
        return Executed()


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"numpy": "2.4.0", "ai-edge-litert": "2.3.0", "onnxruntime": "1.32.0"}
    monkeypatch.setattr(device_setup.importlib.metadata, "version", installed.__getitem__)  # type: ignore[attr-defined]


NO_WHEEL = "ERROR: No matching distribution found"


@pytest.mark.usefixtures("versions")
def test_an_old_python_gets_the_newest_that_fits() -> None:
    agent: Any = ScriptedAgent({"numpy", "ai-edge-litert==2.3.0", "onnxruntime"}, NO_WHEEL)
    notes = Notes()
    install_runtimes(agent, "pi", "litert", notes)
    assert agent.installed == ["numpy", "ai-edge-litert==2.3.0", "onnxruntime"]
    assert [note.partition(",")[0] for note in notes.notes] == ["pi: numpy 2.4.0", "pi: onnxruntime 1.32.0"]


@pytest.mark.usefixtures("versions")
def test_a_runtime_without_a_wheel_is_left_out_and_said_to_be() -> None:
    agent: Any = ScriptedAgent({"numpy==2.4.0", "ai-edge-litert==2.3.0"}, NO_WHEEL)
    notes = Notes()
    install_runtimes(agent, "pi", "litert", notes)
    assert notes.notes == ["pi: onnxruntime was left out: No matching distribution found"]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("can", "says", "message"),
    [
        ({"numpy"}, NO_WHEEL, "no runtime can be installed for its Python 3.9.2: No matching"),
        (set[str](), NO_WHEEL, "numpy cannot be installed for its Python 3.9.2: No matching"),
        (set[str](), f"WARNING: Retrying: NewConnectionError\n{NO_WHEEL}", "reaches no package index: No matching"),
    ],
)
def test_a_device_that_cannot_have_them(can: set[str], says: str, message: str) -> None:
    agent: Any = ScriptedAgent(can, says)
    with pytest.raises(TargetError, match=message) as caught:
        install_runtimes(agent, "pi", "litert", Silent())
    assert caught.value.hint is not None or "numpy" in message


def test_tflite_runtime_comes_with_an_old_numpy_and_alone() -> None:
    agent: Any = ScriptedAgent({"tflite-runtime==2.14.0", "numpy<2"}, NO_WHEEL)
    notes = Notes()
    install_runtimes(agent, "pi", "tflite_runtime", notes)
    assert agent.installed == ["tflite-runtime==2.14.0", "numpy<2"]
    assert notes.notes == []


@pytest.mark.parametrize(
    ("says", "message", "hint"),
    [
        (NO_WHEEL, "tflite-runtime==2.14.0 cannot be installed for its Python 3.9.2: No matching", "up to Python 3.11"),
        ("ERROR: No space left on device", "cannot be installed for its Python 3.9.2: No space left on device$", ""),
        (f"WARNING: NameResolutionError\n{NO_WHEEL}", "reaches no package index", "pip.conf"),
    ],
)
def test_a_device_that_cannot_have_tflite_runtime(says: str, message: str, hint: str) -> None:
    agent: Any = ScriptedAgent({"numpy<2"}, says)
    with pytest.raises(TargetError, match=message) as caught:
        install_runtimes(agent, "pi", "tflite_runtime", Silent())
    assert hint in (caught.value.hint or "")
    assert bool(hint) == bool(caught.value.hint)


def test_a_python_without_venv() -> None:
    agent: Any = ScriptedAgent(set(), "", Executed(1, "The virtual environment was not created: ensurepip is missing"))
    with pytest.raises(TargetError, match=r"its Python 3\.9\.2 cannot make a virtual environment") as caught:
        install_runtimes(agent, "pi", "litert", Silent())
    assert "apt install python3-venv" in (caught.value.hint or "")
