from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.targets.arm64 import carry
from edgecc.targets.arm64.carry import batch, packed, read_reply, refusal
from edgecc.targets.child import RUNNER
from edgecc.targets.wire import InstructionsTask, LatencyTask, OutputsTask

TASK = InstructionsTask(inferences=3, seed=5)


def failure(ended: dict[str, Any]) -> tuple[str, str]:
    reply = read_reply({"ended": 0, "reply": "", "log": "", **ended}, 60.0)
    assert reply.failure is not None
    return reply.failure.kind, reply.failure.message


# What goes in


def test_a_request_speaks_of_the_files_inside(make_request: Any, cnn_int8: Path) -> None:
    request = make_request(cnn_int8, TASK, inputs=np.zeros((2, 8, 8, 1), np.float32), shapes=((1, 8, 8, 1),))
    files = packed([request], 60.0)
    inside = json.loads(bytes(files["0/request.json"]))
    assert inside["artifact_path"] == "/edgecc/files/0/cnn_int8.tflite"
    assert inside["inputs_path"] == "/edgecc/files/1/inputs.npy"
    assert inside["outputs_path"] is None
    assert inside["task"] == {"kind": "instructions", "counter": "clock", "inferences": 3, "seed": 5}
    assert inside["artifact_sha256"] == request.artifact_sha256
    assert inside["shapes"] == [[1, 8, 8, 1]]
    assert files["files/0/cnn_int8.tflite"] == cnn_int8
    assert files["files/1/inputs.npy"] == Path(request.inputs_path)
    assert files["runner.py"] == RUNNER


def test_what_several_need_is_carried_once(make_request: Any, cnn_int8: Path, cnn_float32: Path) -> None:
    samples = np.zeros((2, 8, 8, 1), np.float32)
    requests = [make_request(path, TASK, inputs=samples) for path in (cnn_int8, cnn_float32, cnn_int8)]
    files = packed(requests, 60.0)
    assert [name for name in files if name.startswith("files/")] == [
        "files/0/cnn_int8.tflite",
        "files/1/inputs.npy",
        "files/2/cnn_float32.tflite",
    ]
    assert bytes(files["0/request.json"]) == bytes(files["2/request.json"])


def test_two_files_of_one_name_stay_two(make_request: Any, cnn_int8: Path, cnn_float32: Path, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "model.tflite" for folder in ("a", "b")]
    for path, source in zip(paths, (cnn_int8, cnn_float32), strict=True):
        path.parent.mkdir()
        path.write_bytes(source.read_bytes())
    files = packed([make_request(path, TASK) for path in paths], 60.0)
    assert [files[f"files/{index}/model.tflite"] for index in (0, 1)] == paths


def test_each_runtime_finds_its_own_packages_first(make_request: Any, cnn_int8: Path, linear: Any) -> None:
    requests = [make_request(cnn_int8, TASK), make_request(linear.path, TASK)]
    requests.append(requests[0].model_copy(update={"runtime": "tflite_runtime"}))
    job = json.loads(bytes(packed(requests, 60.0)["job.json"]))
    assert job["timeout_s"] == 60.0
    assert [variables["PYTHONPATH"] for variables in job["variables"]] == [
        "/edgecc:/opt/edgecc/litert:/opt/edgecc/tflite_runtime",
        "/edgecc:/opt/edgecc/litert:/opt/edgecc/tflite_runtime",
        "/edgecc:/opt/edgecc/tflite_runtime:/opt/edgecc/litert",
    ]


@pytest.mark.parametrize("task", [LatencyTask(inferences=1), OutputsTask()])
def test_it_only_counts(task: Any, make_request: Any, cnn_int8: Path) -> None:
    refused = refusal(make_request(cnn_int8, task))
    assert refused is not None
    assert refused.kind == "refused"
    assert f"only counts instructions; the task is `{task.kind}`" in refused.message
    assert refusal(make_request(cnn_int8, TASK)) is None


def test_a_file_that_is_gone_or_too_large(make_request: Any, cnn_int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = make_request(cnn_int8, TASK)
    gone = refusal(request.model_copy(update={"inputs_path": "/no/such/inputs.npy"}))
    assert gone is not None
    assert gone.message == "/no/such/inputs.npy: cannot be read: No such file or directory"
    monkeypatch.setattr(carry, "MOST_BYTES", 1000)
    large = refusal(request)
    assert large is not None
    assert large.message.startswith("the artifact and its samples have ")
    assert large.message.endswith("; at most 1.00 kB fit into the emulated machine")


def test_a_machine_takes_as_many_as_fit(
    make_request: Any, cnn_int8: Path, cnn_float32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8, float32 = make_request(cnn_int8, TASK), make_request(cnn_float32, TASK)
    both_bytes = cnn_int8.stat().st_size + cnn_float32.stat().st_size
    monkeypatch.setattr(carry, "MOST_BYTES", both_bytes)
    assert batch([int8, float32, int8]) == [int8, float32, int8]  # the third brings nothing new
    monkeypatch.setattr(carry, "MOST_BYTES", both_bytes - 1)
    assert batch([int8, int8, float32, int8]) == [int8, int8]
    assert batch([int8, make_request(cnn_int8, OutputsTask()), int8]) == [int8]


# What comes out


def test_a_reply(make_request: Any) -> None:
    text = json.dumps({"schema_version": 1, "runtime_version": "2.3.0", "instructions": [7, 8]})
    reply = read_reply({"ended": 0, "returncode": 0, "reply": text, "log": "noise"}, 60.0)
    assert (reply.failure, reply.instructions, reply.log) == (None, (7, 8), "noise")


@pytest.mark.parametrize(
    ("ended", "kind", "message"),
    [
        ({"returncode": None}, "timed_out", "killed after the limit of 60 s"),
        (
            {"returncode": -9},
            "out_of_memory",
            "killed by SIGKILL from outside, as the kernel does when memory runs out",
        ),
        ({"returncode": -11}, "crashed", "the process was killed by SIGSEGV"),
        ({"returncode": -6, "log": "what():  std::bad_alloc"}, "out_of_memory", "what():  std::bad_alloc"),
        ({"returncode": 1, "log": "ImportError: numpy"}, "crashed", "exit code 1: ImportError: numpy"),
        ({"returncode": 0}, "crashed", "the process ended without a reply"),
        ({"returncode": 0, "reply": '{"schema'}, "crashed", "the reply cannot be read"),
        ({"returncode": 0, "reply": '{"schema_version": 1, "instructions": [0]}'}, "crashed", "cannot be read"),
    ],
)
def test_an_end_without_numbers(ended: dict[str, Any], kind: str, message: str) -> None:
    got_kind, got_message = failure(ended)
    assert got_kind == kind
    assert message in got_message
