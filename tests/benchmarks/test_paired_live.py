"""Baseline and candidate side by side on this very machine."""

from __future__ import annotations

from pathlib import Path

from edgecc.artifact import describe_file
from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan, PlannedPair, Subject
from edgecc.benchmarks.regression import LOOKS
from edgecc.project import BenchSection, TargetSpec
from edgecc.targets.registry import open_target

DATA = Path(__file__).parents[1] / "data"


def test_two_files_are_measured_side_by_side() -> None:
    old, new = (
        Subject("int8", path, describe_file(path)) for path in (DATA / "cnn_float32.tflite", DATA / "cnn_int8.tflite")
    )
    pair = PlannedPair("host", old, new, {"latency.p50": 1e6, "memory.peak": 1e6})
    bench = BenchSection(processes=1, inferences=20)
    plan = BenchPlan("demo", (new,), bench, 0, None, None, pairs=(pair,), baseline_run_id="run")
    with open_target("host", TargetSpec.model_validate({"kind": "x86_cpu"})) as target:
        results = measure(plan, [target])
    [paired] = results.paired
    assert set(paired.ratios) | set(paired.unmeasured) == {"latency.p50", "memory.peak"}
    assert paired.ratios["latency.p50"].processes == LOOKS[0] == len(paired.baseline_processes)
    float_peak, int8_peak = (
        max(each.memory_peak_bytes or 0 for each in processes)
        for processes in (paired.baseline_processes, paired.candidate_processes)
    )
    assert int8_peak > 0
    assert float_peak > 0
    assert (paired.baseline.sha256, paired.candidate.sha256) == (old.artifact.sha256, new.artifact.sha256)
    assert paired.environment == results.rows[0].environment
    assert results.baseline_run_id == "run"
