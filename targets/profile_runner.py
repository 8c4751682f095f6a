"""Times the operators of one model file on this machine: `python profile_runner.py < request.json > reply.json`.

The request is that of `profile.py`. The reply is the runner's; the times go to the file `outputs_path`, as JSON.
They are medians over this process's rounds, in seconds.
"""

from __future__ import annotations

import gc
import json
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from edgecc.targets import runner

MIN_ROUNDS, MAX_ROUNDS = 10, 200
WARMUP_ROUNDS = 3
_SUFFIX = "_kernel_time"
"""Ends the name of a node in ONNX Runtime's profile."""

Request = dict[str, Any]


def profile(request: Request) -> dict[str, Any]:
    """The reply to a request."""
    runner._check_digest(Path(request["artifact_path"]), request["artifact_sha256"])
    runtime = runner._start_runtime(request["runtime"])
    model = runtime(request["artifact_path"], request["settings"]["num_threads"])
    feed = next(runner._feeds(model.inputs(), request))
    model.resize([array.shape for array in feed])
    measure = {"litert": _time_prefixes, "onnxruntime": _time_nodes}[request["runtime"]]
    gc.disable()
    times = measure(model, feed, request)
    Path(request["outputs_path"]).write_text(json.dumps(times))
    environment = runner.describe_environment()
    version = environment["runtimes"].get(request["runtime"], "unknown")
    return {"runtime_version": version, "environment": environment}


def _time_prefixes(model: Any, feed: Sequence[Any], request: Request) -> dict[str, Any]:
    """Every prefix and the whole model in turn, so that what else the machine does falls on all alike."""
    calls = [_prefix_call(path, feed, request["settings"]["num_threads"]) for path in request["prefixes"]]
    rows = list(_rounds([*calls, lambda: model.infer(feed)], request["time_s"]))
    *prefixes_s, inference_s = (statistics.median(column) for column in zip(*rows, strict=True))
    return {"inference_s": inference_s, "prefixes_s": prefixes_s, "rounds": len(rows)}


def _prefix_call(path: str, feed: Sequence[Any], num_threads: int) -> Any:
    """What runs a prefix; its inputs are in place, so that nothing is copied but what its operators copy."""
    prefix = runner.LiteRt(path, num_threads)
    prefix.resize([array.shape for array in feed])
    prefix.infer(feed)
    return prefix._interpreter.invoke


def _rounds(calls: Sequence[Any], time_s: float) -> Iterator[list[float]]:
    """The time of each call, round after round, each just after a call of its own that is not timed."""
    start = time.perf_counter()
    for count in range(WARMUP_ROUNDS + MAX_ROUNDS):
        row = [_timed(call) for call in calls]
        if count >= WARMUP_ROUNDS:
            yield row
        if count + 1 >= WARMUP_ROUNDS + MIN_ROUNDS and time.perf_counter() - start > time_s:
            return


def _timed(call: Any) -> float:
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _time_nodes(model: Any, feed: Sequence[Any], request: Request) -> dict[str, Any]:
    """The model as it is and under ONNX Runtime's profiler, in turn."""
    folder = Path(tempfile.mkdtemp())
    try:
        profiled = _ProfiledOnnx(request["artifact_path"], request["settings"]["num_threads"], folder)
        profiled.resize([array.shape for array in feed])
        rows = list(_rounds([lambda: model.infer(feed), lambda: profiled.infer(feed)], request["time_s"]))
        inferences = list(node_times(json.loads(profiled.end())))
    finally:
        shutil.rmtree(folder)
    if len(inferences) != 2 * (WARMUP_ROUNDS + len(rows)):
        raise runner.Refusal("ONNX Runtime's profile was cut off: the model runs more nodes than it keeps")
    inference_s, profiled_s = (statistics.median(column) for column in zip(*rows, strict=True))
    operators = [
        {"name": name, "kind": kind, "seconds": seconds}
        for (name, kind), seconds in _medians(inferences[2 * WARMUP_ROUNDS + 1 :: 2]).items()
    ]
    return {"inference_s": inference_s, "profiled_s": profiled_s, "operators": operators, "rounds": len(rows)}


class _ProfiledOnnx(runner.OnnxRuntime):
    """The runner's own session, under the profiler."""

    def __init__(self, path: str, num_threads: int, folder: Path) -> None:
        onnxruntime = self.module()

        def options() -> Any:
            own = onnxruntime.SessionOptions()
            own.enable_profiling, own.profile_file_prefix = True, str(folder / "profile")
            return own

        names = {**vars(onnxruntime), "SessionOptions": options}
        self.module = lambda: SimpleNamespace(**names)  # type: ignore[method-assign]
        super().__init__(path, num_threads)

    def end(self) -> str:
        return Path(self._session.end_profiling()).read_text()


def node_times(events: Sequence[Mapping[str, Any]]) -> Iterator[dict[tuple[str, str], float]]:
    """The seconds that each node took, by name and kind, of each inference in ONNX Runtime's profile.

    The runtime writes whole microseconds and cuts the rest off. Nodes in the body of a loop or branch are counted in
    the node that runs the body, and left out themselves.
    """
    nodes: list[Mapping[str, Any]] = []
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(_SUFFIX):
            nodes.append(event)
        elif event["name"] == "model_run":
            yield _summed(_outermost(nodes))
            nodes = []


def _outermost(nodes: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    end_us = 0
    for node in sorted(nodes, key=lambda node: (node["ts"], -node["dur"])):
        if node["ts"] >= end_us:
            end_us = node["ts"] + node["dur"]
            yield node


def _summed(nodes: Iterator[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    times: dict[tuple[str, str], float] = defaultdict(float)
    for node in nodes:
        times[node["name"].removesuffix(_SUFFIX), node["args"]["op_name"]] += node["dur"] / 1e6
    return dict(times)


def _medians(inferences: Sequence[Mapping[tuple[str, str], float]]) -> dict[tuple[str, str], float]:
    names = dict.fromkeys(name for inference in inferences for name in inference)
    return {name: statistics.median(each.get(name, 0.0) for each in inferences) for name in names}


if __name__ == "__main__":
    runner._run = profile
    runner.main()
