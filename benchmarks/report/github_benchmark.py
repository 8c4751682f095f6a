"""Results for github-action-benchmark, which draws a chart of every metric over the commits.

Its tools `customSmallerIsBetter` and `customBiggerIsBetter` each read a list of {name, unit, value, range, extra}. One
list has one direction, so there are two. Units are fixed, since a chart compares numbers of different runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from edgecc.benchmarks.report.summary import plain, row_name
from edgecc.metrics import Better, Metric
from edgecc.results import Estimate, Provenance, Results, Row
from edgecc.units import Unit

_UNITS: dict[Unit, tuple[str, float]] = {
    Unit.SECONDS: ("µs", 1e6),
    Unit.BYTES: ("B", 1),
    Unit.FRACTION: ("%", 100),
    Unit.PER_SECOND: ("1/s", 1),
    Unit.COUNT: ("count", 1),
    Unit.NUMBER: ("1", 1),
}
"""What the action is told, and how many of it one base unit is."""


def render_benchmark(results: Results, better: Better) -> str:
    """The metrics of this direction on every artifact and target, as the action reads them.

    Times of an emulated clock are left out: they are no device's, and a chart does not say so. So are values that are
    not finite, which JSON does not have.
    """
    return json.dumps(list(_entries(results, better)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _entries(results: Results, better: Better) -> Iterator[dict[str, Any]]:
    known = results.all_metrics
    for row in results.variant_rows:
        for name, estimate in row.estimates.items():
            metric = known.get(name)
            if metric is not None and metric.better == better and _can_be_drawn(metric, row, estimate):
                yield _entry(metric, row, estimate)


def _can_be_drawn(metric: Metric, row: Row, estimate: Estimate) -> bool:
    emulated = row.emulated or estimate.provenance is Provenance.EMULATED
    return math.isfinite(estimate.value) and not (metric.device_only and emulated)


def _entry(metric: Metric, row: Row, estimate: Estimate) -> dict[str, Any]:
    unit, scale = _UNITS[metric.unit]
    entry = {"name": f"{row_name(row)}: {plain(metric.name)}", "unit": unit, "value": _rounded(estimate.value * scale)}
    if estimate.low is not None and estimate.high is not None:
        entry["range"] = f"{_rounded(estimate.low * scale)} to {_rounded(estimate.high * scale)}"
    return entry | {"extra": _origin(row, estimate)}


def _rounded(value: float) -> float:
    """Without the noise of scaling: 1.1e-3 s is 1100 µs, and not 1100.0000000000002."""
    return float(f"{value:.12g}")


def _origin(row: Row, estimate: Estimate) -> str:
    values = "1 value" if estimate.samples == 1 else f"{estimate.samples} values"
    origin = f"{estimate.provenance}, {values}"
    if row.environment is None:
        return origin
    version = row.environment.runtimes.get(row.runtime, "")
    return f"{origin}\n{plain(f'{row.environment.cpu_model}, {row.runtime} {version}')}"
