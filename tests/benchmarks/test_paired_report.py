from __future__ import annotations

from typing import Any

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.report.paired import paired_table
from edgecc.results import PairedRun, Ratio

ARTIFACT = Artifact(path="demo.tflite", format=Format.TFLITE, sha256="0" * 64, size_bytes=1)


def test_it_tells_of_every_metric_whichever_way_it_is_better(make_results: Any) -> None:
    ratios = {
        "latency.p50": Ratio(value=1.02, low=1.01, high=1.03, processes=8),
        "throughput": Ratio(value=0.5, low=0.4, high=0.625, processes=8),
    }
    pair = PairedRun(
        variant="int8", format=Format.TFLITE, target="gateway", baseline=ARTIFACT, candidate=ARTIFACT, environment=None,
        ratios=ratios, unmeasured={"memory.peak": "a process does not tell its memory.peak"},
    )  # fmt: skip
    table = paired_table(make_results().model_copy(update={"paired": (pair,)}))
    assert table is not None
    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows == [
        ("int8 (tflite)", "gateway", "latency.p50", "+2.00%", "+1.00% to +3.00%", "0.98%", "8 of each"),
        ("int8 (tflite)", "gateway", "throughput", "+100.00%", "+60.00% to +150.00%", "25.00%", "8 of each"),
        ("int8 (tflite)", "gateway", "memory.peak", "unmeasured", "", "", "0"),
    ]


def test_without_a_baseline_there_is_none(make_results: Any) -> None:
    assert paired_table(make_results()) is None
