from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from edgecc.errors import TargetError
from edgecc.project import TargetSpec
from edgecc.targets import registry, runner
from edgecc.targets.requirement import requirement
from edgecc.targets.wire import RuntimeSettings
from edgecc.targets.x86_cpu import X86CpuOptions, X86CpuTarget


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretends that packages with these entry points are installed."""

    def install(**entries: str) -> None:
        found = [EntryPoint(kind, place, registry.ENTRY_POINT_GROUP) for kind, place in entries.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == "edgecc.targets" else [])

    return install


def test_open_target_gives_name_and_options() -> None:
    spec = TargetSpec.model_validate({"kind": "x86_cpu", "num_threads": 2})
    with registry.open_target("gateway", spec) as target:
        assert isinstance(target, X86CpuTarget)
        assert (target.name, target.settings.num_threads, target.emulated) == ("gateway", 2, False)


def test_options_that_the_kind_does_not_take() -> None:
    spec = TargetSpec.model_validate({"kind": "x86_cpu", "cpu": "cortex-a72"})
    with pytest.raises(TargetError, match="target `pi`: cpu: Extra inputs"):
        registry.open_target("pi", spec)


def test_an_unknown_kind_lists_the_known() -> None:
    with pytest.raises(TargetError, match=r"out of .*`x86_cpu`.*; got `x86`"):
        registry.target_class("x86")


def test_every_kind_can_be_imported_and_calls_itself_so() -> None:
    assert registry.target_options()["x86_cpu"] is X86CpuOptions
    assert all(registry.target_class(kind).kind == kind for kind in registry.BUILT_IN)


def test_a_third_party_adds_a_kind(installed: Any) -> None:
    installed(my_board="edgecc.targets.x86_cpu:X86CpuTarget")
    assert registry.target_class("my_board") == X86CpuTarget
    assert "my_board" in registry.target_options()


def test_a_kind_that_is_taken(installed: Any) -> None:
    installed(x86_cpu="other.module:Class")
    with pytest.raises(TargetError, match=r"claim the kind `x86_cpu`: edgecc.*X86CpuTarget and other\.module"):
        registry.target_options()


@pytest.mark.parametrize("place", ["no_such_package:Class", "edgecc.targets.x86_cpu:NoSuchClass"])
def test_a_class_that_cannot_be_imported(place: str, installed: Any) -> None:
    installed(my_board=place)
    with pytest.raises(TargetError, match=f"`my_board` cannot be imported from {place}"):
        registry.target_class("my_board")


def test_importing_the_targets_imports_no_runtime() -> None:
    code = (
        "import sys, edgecc.targets.registry as r, edgecc.targets.host; r.target_options();"
        "print(*{'ai_edge_litert', 'onnxruntime', 'tensorflow', 'onnx'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize(
    ("kind", "key", "others"),
    [
        ("arm64_qemu", "kernel", {"cpu": "cortex-a72"}),
        ("ssh", "key", {"host": "pi"}),
        ("ssh", "known_hosts", {"host": "pi"}),
    ],
)
def test_a_file_of_the_machine_does_not_depend_on_where_edgecc_was_started(
    kind: str, key: str, others: dict[str, str]
) -> None:
    relative = TargetSpec.model_validate({"kind": kind, key: "keys/pi", **others})
    with pytest.raises(TargetError, match=f"target `pi`: {key}: .*expected an absolute path.*; got `keys/pi`"):
        registry.open_target("pi", relative)
    at_home = registry.target_class(kind).Options.model_validate({key: "~/keys/pi", **others})
    assert getattr(at_home, key) == Path.home() / "keys/pi"


@pytest.mark.parametrize("kind", ["x86_cpu", "ssh"])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"onnx_providers": ["CUDAExecutionProvider"]}, "CUDAExecutionProvider is the target kind `cuda`"),
        ({"onnx_providers": []}, "at least 1 item"),
        ({"onnx_providers": ["cuda"]}, "should match pattern"),
        ({"caches": "cold", "num_threads": 2}, "other cores have caches of their own"),
    ],
)
def test_settings_that_would_measure_something_else(kind: str, options: dict[str, Any], complaint: str) -> None:
    where = {"host": "pi"} if kind == "ssh" else {}
    with pytest.raises(TargetError, match=complaint):
        registry.open_target("pi", TargetSpec.model_validate({"kind": kind, **where, **options}))


def test_settings_of_an_option() -> None:
    options = {"kind": "x86_cpu", "xnnpack": False, "caches": "cold", "onnx_providers": ["DnnlExecutionProvider"]}
    with registry.open_target("gateway", TargetSpec.model_validate(options)) as target:
        assert target.cold_caches
        assert target.settings == RuntimeSettings(xnnpack=False, providers=("DnnlExecutionProvider",))


def test_a_home_that_is_nobodys() -> None:
    relative = TargetSpec.model_validate({"kind": "ssh", "host": "pi", "key": "~nobody-at-all/key"})
    with pytest.raises(TargetError, match="there is no such user's home folder"):
        registry.open_target("pi", relative)


@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu"])
def test_either_build_of_onnx_runtime_tells_which_version_a_target_gets(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_distribution_version", lambda name: "1.24.1" if name == package else None)
    assert requirement("onnxruntime") == "onnxruntime==1.24.1"
    with pytest.raises(TargetError, match="expected ai-edge-litert here"):
        requirement("litert")
