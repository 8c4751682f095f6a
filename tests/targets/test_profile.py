"""No time is asserted: only what is timed, that it is told apart, and that a crash is an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgecc.artifact import describe_file
from edgecc.results import Failure
from edgecc.targets import profile
from edgecc.targets.profile import ProcessProfile, profile_once
from edgecc.targets.profile_runner import MAX_ROUNDS, MIN_ROUNDS, node_times

QUICK: dict[str, Any] = {"time_s": 0.01, "timeout_s": 60.0}


def node(name: str, start_us: int, duration_us: int, kind: str = "Conv") -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start_us, "dur": duration_us, "args": {"op_name": kind}}


RUN = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 100}


def test_nodes_are_told_inference_by_inference() -> None:
    events = [
        {"cat": "Session", "name": "session_initialization", "ts": 0, "dur": 9},
        node("one", 10, 5), node("two", 15, 3, "Relu"), RUN,
        node("one", 30, 7), node("two", 40, 0, "Relu"), RUN,
        node("one", 50, 7),
    ]  # fmt: skip
    assert list(node_times(events)) == [
        {("one", "Conv"): pytest.approx(5e-6), ("two", "Relu"): pytest.approx(3e-6)},
        {("one", "Conv"): pytest.approx(7e-6), ("two", "Relu"): 0},
    ]


def test_nodes_in_a_body_are_counted_once_in_the_node_that_runs_it() -> None:
    body = [node("inner", 11, 4, "Add"), node("inner", 16, 4, "Add"), node("loop", 10, 12, "Loop")]
    events = [*body, node("after", 22, 1), RUN]
    assert list(node_times(events)) == [
        {("loop", "Loop"): pytest.approx(12e-6), ("after", "Conv"): pytest.approx(1e-6)}
    ]


def test_an_onnx_file_is_timed_with_the_profiler_and_without(linear: Any) -> None:
    found = profile_once(describe_file(linear.path), **QUICK)
    assert isinstance(found, ProcessProfile)
    assert {each.kind for each in found.operators} == {"Gemm"}
    assert found.inference_s > 0
    assert found.profiled_s is not None
    assert found.profiled_s > sum(each.seconds for each in found.operators)
    assert MIN_ROUNDS <= found.rounds <= MAX_ROUNDS


def test_the_profile_leaves_no_file_behind(linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.chdir(scratch)
    profile_once(describe_file(linear.path), **QUICK)
    left = {path.name for path in scratch.iterdir()}
    assert left <= {".ses"}  # of ONNX Runtime itself, whenever it is imported


def test_a_loop_is_one_node(make_onnx: Any) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"]), helper.make_node("Add", ["h", "h"], ["doubled"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 3]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("doubled", TensorProto.FLOAT, [1, 3]),
        ],
    )
    ends = {"x": (TensorProto.FLOAT, [1, 3])}, {"y": (TensorProto.FLOAT, [1, 3])}
    constants = {"count": np.array(50), "always": np.array(True)}
    path = make_onnx([helper.make_node("Loop", ["count", "always", "x"], ["y"], body=body)], *ends, constants)

    found = profile_once(describe_file(path), **QUICK)

    assert isinstance(found, ProcessProfile)
    assert "Loop" in {each.kind for each in found.operators}
    assert found.profiled_s is not None
    assert sum(each.seconds for each in found.operators) <= found.profiled_s


def test_every_prefix_of_a_tflite_file_is_timed(cnn_int8: Path, cnn_float32: Path) -> None:
    found = profile_once(describe_file(cnn_int8), [cnn_int8, cnn_int8], **QUICK)
    assert isinstance(found, ProcessProfile)
    assert len(found.prefixes_s) == 2
    assert min(found.prefixes_s) > 0
    assert found.operators == ()
    assert found.profiled_s is None
    open_batch = profile_once(describe_file(cnn_float32), [cnn_float32], **QUICK)
    assert isinstance(open_batch, ProcessProfile)


def test_a_file_that_is_no_model_is_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no model")
    found = profile_once(describe_file(path), **QUICK)
    assert isinstance(found, Failure)
    assert found.kind == "refused"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("import time; time.sleep(60)", "timed_out"),
        ("x = bytearray(10**9); import time; time.sleep(60)", "out_of_memory"),
        ("print('{}')", "crashed"),
        ("import json, sys; open(json.load(sys.stdin)['outputs_path'], 'w').write('{}'); print('{}')", "crashed"),
    ],
)
def test_a_process_that_dies_or_leaves_nothing_is_a_failure(
    script: str, kind: str, linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stand_in.py"
    path.write_text(script)
    monkeypatch.setattr(profile, "RUNNER", path)
    limits = {"timeout_s": 3.0, "memory_limit_bytes": 3e8}
    found = profile_once(describe_file(linear.path), time_s=0.01, **limits)
    assert isinstance(found, Failure)
    assert found.kind == kind
