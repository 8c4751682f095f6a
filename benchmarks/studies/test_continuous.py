"""edgecc's own speed, watched from change to change with pytest-benchmark's files.

    pytest benchmarks/studies/test_continuous.py --benchmark-only --benchmark-json=continuous.json

- runner and bare loop: the same model on the same random input, in the same interpreter and library; one fresh process
  each, in turn, A B B A. The ratio of their median latencies, with its interval, stands in `extra_info`. The model is
  so small that what the runner adds is seen.
- gate: `edgecc gate` as a whole process, on a project with results. Aim: under 0.5 s.
- warm compile: `edgecc compile` as a whole process where nothing has changed since the last one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from project_copies import copy_example, edgecc, edit, finish

from edgecc.artifact import describe_file
from edgecc.benchmarks.ratio import ratio_in_turn
from edgecc.pytest_fixtures import record_latencies
from edgecc.results import ProcessSample
from edgecc.targets.wire import LatencyTask, RunRequest

MODEL = Path(__file__).parents[2] / "tests/data/cnn_float32.tflite"
PROCESSES = 12
INFERENCES = 1000
ROUNDS = 10
BARE = """
import gc, json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
x = np.random.default_rng(0).random(source["shape"], dtype=np.float32)
values = []
gc.disable()
warm = time.perf_counter() + 0.2
while len(values) < int(sys.argv[2]):
    start = time.perf_counter()
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    interpreter.get_tensor(result["index"])
    end = time.perf_counter()
    if end > warm:
        values.append(end - start)
json.dump(values, sys.stdout)
"""


@pytest.fixture(scope="module")
def both(edgecc_target: Any) -> dict[str, list[ProcessSample]]:
    """Processes of edgecc's runner and of the bare loop, measured in turn."""
    samples: dict[str, list[ProcessSample]] = {"runner": [], "bare loop": []}
    for index in range(PROCESSES):
        for name in samples if index % 2 == 0 else reversed(samples):
            samples[name].append(_with_runner(edgecc_target) if name == "runner" else _with_bare_loop())
    return samples


def _with_runner(target: Any) -> ProcessSample:
    request = RunRequest(
        artifact_path=str(MODEL),
        artifact_sha256=describe_file(MODEL).sha256,
        runtime="litert",
        task=LatencyTask(inferences=INFERENCES),
    )
    reply = target.run(request, timeout_s=60)
    assert reply.process is not None, reply.failure
    return reply.process


def _with_bare_loop() -> ProcessSample:
    command = [sys.executable, "-c", BARE, str(MODEL), str(INFERENCES)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    values = json.loads(answer.stdout)
    return ProcessSample(latencies_s=values, warmups=0, load_cold_s=0, load_warm_s=0, memory_peak_bytes=None)


@pytest.mark.benchmark(group="one inference")
@pytest.mark.parametrize("name", ["runner", "bare loop"])
def test_one_inference(benchmark: Any, both: dict[str, list[ProcessSample]], name: str) -> None:
    ratio = ratio_in_turn("latency.p50", both["bare loop"], both["runner"])
    assert not isinstance(ratio, str), ratio
    values = [value for process in both[name] for value in process.latencies_s]
    print(f"runner over bare loop: {ratio.value:.3f} ({ratio.low:.3f}-{ratio.high:.3f})")
    record_latencies(benchmark, values, runner_over_bare_loop=ratio.model_dump())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, trained for a moment and measured once."""
    folder = tmp_path_factory.mktemp("continuous")
    project = copy_example("digits", folder)
    edit(project, "epochs = 8\n", "epochs = 1\n")
    edit(project, "max_trials = 8\n", "max_trials = 1\n")
    edit(project, "epochs = 40\n", "epochs = 3\n")
    finish(edgecc("compile", project, home=folder / "home"))
    finish(edgecc("bench", project, home=folder / "home"))
    return project


@pytest.mark.benchmark(group="whole process")
def test_gate(benchmark: Any, project: Path) -> None:
    def gate() -> int:
        process = edgecc("gate", project, home=project.parent / "home")
        process.communicate()
        return process.returncode

    # 0 or 1: so short a training may cost too much accuracy.
    assert benchmark.pedantic(gate, rounds=ROUNDS, warmup_rounds=1) in {0, 1}


@pytest.mark.benchmark(group="whole process")
def test_warm_compile(benchmark: Any, project: Path) -> None:
    def compile() -> str:
        return finish(edgecc("compile", project, home=project.parent / "home"))

    benchmark.pedantic(compile, rounds=ROUNDS, warmup_rounds=1)


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "--benchmark-only", "-s"]))
