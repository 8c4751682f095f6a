"""From two files to what tells them apart, with a real interpreter and no word about how long anything takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edgecc import explain
from edgecc.artifact import Manifest, StageRecord, describe_file, write_manifest
from edgecc.benchmarks import why as benchmarks_why
from edgecc.errors import ArtifactError
from edgecc.explain import explain_files
from edgecc.results import Failure, FailureKind

DATA = Path(__file__).parents[1] / "data"
FLOAT32, INT8 = DATA / "cnn_float32.tflite", DATA / "cnn_int8.tflite"


def test_two_tflite_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks_why, "PROCESSES", 2)

    found = explain_files(FLOAT32, INT8, time_s=0.01)

    assert found.unmeasured is None
    assert found.processes == 2
    assert (found.before.size_bytes, found.after.size_bytes) == (FLOAT32.stat().st_size, INT8.stat().st_size)
    assert sorted(change.kind for change in found.operators) == ["CONV_2D", "FULLY_CONNECTED", "MEAN"]
    for change in found.operators:
        assert change.time_before is not None
        assert change.time_before.low <= change.time_before.value <= change.time_before.high
    assert found.before.latency is not None
    assert found.before.latency.value > 0


def test_bytes_alone_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is to be timed")

    monkeypatch.setattr("edgecc.targets.profile.profile_once", fail)
    found = explain_files(FLOAT32, INT8, time_s=0)
    assert found.unmeasured == "no time was given to measure"
    assert found.method is None


def test_a_file_that_kills_its_process_leaves_times_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: Any, **__: Any) -> Failure:
        return Failure(kind=FailureKind.CRASHED, message="the process was killed by SIGSEGV")

    monkeypatch.setattr("edgecc.targets.profile.profile_once", die)
    found = explain_files(FLOAT32, INT8)
    assert found.unmeasured is not None
    assert found.unmeasured.endswith("crashed: the process was killed by SIGSEGV")
    assert (
        found.before.structure_bytes + sum(c.size_before_bytes or 0 for c in found.operators) == FLOAT32.stat().st_size
    )


def test_processes_run_in_turn_with_the_cuts_of_their_own_file(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def once(artifact: Any, cuts: list[Path], **_: Any) -> Any:
        from edgecc.targets.profile import ProcessProfile

        assert all(path.is_file() for path in cuts)
        seen.append(Path(artifact.path).name)
        return ProcessProfile(inference_s=1.0, rounds=1, prefixes_s=(0.1,) * len(cuts))

    monkeypatch.setattr("edgecc.targets.profile.profile_once", once)
    monkeypatch.setattr(benchmarks_why, "PROCESSES", 3)
    explain_files(FLOAT32, INT8)
    old, new = FLOAT32.name, INT8.name
    assert seen == [old, new, new, old, old, new]


def test_cuts_that_would_fill_the_disk_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "MAX_CUT_BYTES", 3 * FLOAT32.stat().st_size - 1)
    found = explain_files(FLOAT32, INT8)
    assert found.unmeasured is not None
    assert found.unmeasured.endswith("cnn_float32.tflite is too large to be cut after each of its 3 operators")


def test_two_formats_are_refused(tmp_path: Path) -> None:
    import onnx

    path = tmp_path / "m.onnx"
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:])), path)
    with pytest.raises(ArtifactError, match=r"two files of one format; .* is tflite, .* is onnx"):
        explain_files(FLOAT32, path)


def manifest(path: Path, *layers: tuple[str, str]) -> None:
    listed = [{"layer": layer, "operator": operator} for layer, operator in layers]
    stage = StageRecord(
        name="quantize/int8/tflite", options={}, inputs={}, outputs={}, duration_s=1, metrics={"layers": listed}
    )
    write_manifest(
        path,
        Manifest(
            project="demo", variant="int8", artifact=describe_file(path), inputs=(), outputs=(), recipe={},
            stages=(stage,), evaluation_sha256="e" * 64, seed=0, tool_versions={}, git_commit=None,
        ),
    )  # fmt: skip


def test_keras_layers_are_named_where_the_manifest_lists_them(tmp_path: Path) -> None:
    path = Path(shutil.copy(INT8, tmp_path))
    manifest(path, ("stem", "CONV_2D"), ("head", "FULLY_CONNECTED"))
    found = explain_files(FLOAT32, path, time_s=0)
    assert {change.kind: change.layer for change in found.operators} == {
        "CONV_2D": "stem", "MEAN": None, "FULLY_CONNECTED": "head",
    }  # fmt: skip


def test_a_manifest_that_lists_other_layers_names_none(tmp_path: Path) -> None:
    path = Path(shutil.copy(INT8, tmp_path))
    manifest(path, ("stem", "CONV_2D"), ("second", "CONV_2D"))
    assert {change.layer for change in explain_files(FLOAT32, path, time_s=0).operators} == {None}
