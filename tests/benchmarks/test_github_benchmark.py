"""What github-action-benchmark reads: the right direction, fixed units, and no number that is no device's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest

from edgecc.benchmarks.report.github_benchmark import render_benchmark
from edgecc.metrics import METRICS, Better
from edgecc.results import Estimate, Provenance, Results

MakeResults = Callable[..., Results]


def entries(results: Results, better: Better = "lower") -> dict[str, dict[str, Any]]:
    """By name; the action looks an entry of the last commit up by it."""
    listed = json.loads(render_benchmark(results, better))
    named = {entry["name"]: entry for entry in listed}
    assert len(named) == len(listed)
    return named


def with_estimates(results: Results, **estimates: Estimate) -> Results:
    named = {name.replace("_", "."): estimate for name, estimate in estimates.items()}
    rows = tuple(row.model_copy(update={"estimates": named}) for row in results.rows[:1])
    return results.model_copy(update={"rows": rows})


def test_an_entry_has_what_the_action_reads(make_results: MakeResults) -> None:
    results = with_estimates(make_results(), latency_p50=Estimate(value=0.0011, samples=200, low=0.001, high=0.00125))
    assert list(entries(results).values()) == [
        {
            "name": "float32 (tflite) on gateway: latency.p50",
            "unit": "µs",
            "value": 1100.0,
            "range": "1000.0 to 1250.0",
            "extra": "measured, 200 values\nFake CPU @ 2.0GHz, litert 2.3.0",
        }
    ]


def test_without_an_interval_there_is_no_range(make_results: MakeResults) -> None:
    results = with_estimates(make_results(), size=Estimate(value=1_234_567.0, samples=1))
    [entry] = entries(results).values()
    assert "range" not in entry
    assert (entry["value"], entry["unit"]) == (1_234_567, "B")


def test_each_metric_is_in_the_file_of_its_direction(make_results: MakeResults) -> None:
    results = make_results()
    for better in ("lower", "higher"):
        names = {name.rpartition(": ")[2] for name in entries(results, better)}
        assert names
        assert all(METRICS[name].better == better for name in names)
    accuracy = entries(results, "higher")["int8 (tflite) on gateway: accuracy"]
    assert (accuracy["value"], accuracy["unit"]) == (96.0, "%")


def test_own_metrics_go_where_the_project_says(make_results: MakeResults) -> None:
    own = {"loss": Estimate(value=0.25, samples=100)}
    results = with_estimates(make_results(), **{f"user_{name}": estimate for name, estimate in own.items()})
    results = results.model_copy(update={"metrics": {"loss": "lower"}})
    assert entries(results)["float32 (tflite) on gateway: user.loss"]["value"] == 0.25
    assert entries(results, "higher") == {}


def test_times_of_an_emulated_clock_are_left_out(make_results: MakeResults) -> None:
    results = make_results(("gateway", "pi"), emulated=("pi",))
    emulated = results.model_copy(
        update={"rows": tuple(row.model_copy(update={"emulated": row.target == "pi"}) for row in results.rows)}
    )
    names = entries(emulated) | entries(emulated, "higher")
    assert "int8 (tflite) on gateway: latency.p50" in names
    assert not [name for name in names if "on pi: latency" in name or "on pi: load" in name]
    assert "int8 (tflite) on pi: size" in names
    assert "int8 (tflite) on pi: accuracy" in names


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_json_does_not_have_are_left_out(make_results: MakeResults, value: float) -> None:
    assert entries(with_estimates(make_results(), size=Estimate(value=value, samples=1))) == {}


def test_an_estimate_is_labelled(make_results: MakeResults) -> None:
    estimate = Estimate(value=10.0, samples=1, provenance=Provenance.ESTIMATED)
    [entry] = entries(with_estimates(make_results(), memory_peak=estimate)).values()
    assert entry["extra"].startswith("estimated, 1 value\n")


def test_artifacts_that_never_ship_are_left_out(stepped: Results) -> None:
    names = entries(stepped)
    assert names
    assert not [name for name in names if "@" in name]


def test_hostile_names_stay_on_their_line(make_results: MakeResults) -> None:
    names = entries(make_results(int8_name="a\x1b[31m\n\ud800b"))
    assert "a [31m  b (tflite) on gateway: size" in names
