"""NOTES.md of a release: how to feed each model and read its answers, and what was measured where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgecc.artifact import Manifest, TensorSpec
from edgecc.benchmarks.report.markdown import _escape as escape
from edgecc.benchmarks.report.markdown import _table as table
from edgecc.benchmarks.report.summary import NOTHING, headline, row_name, shown, status_in_words
from edgecc.results import Environment, Judgement, Results, Row, Status
from edgecc.units import format_bytes

_ROUNDING = (
    "Where a tensor has a scale, feed a real value x as `q = round(x / scale) + zero_point`, limited to what its dtype "
    "holds, and read q as `x = scale * (q - zero_point)`."
)


def render_notes(results: Results, judgement: Judgement, manifests: Mapping[str, Manifest]) -> str:
    """The notes on these artifacts, given by their path in the release."""
    lines = [
        f"# {escape(results.project)}",
        "",
        f"{escape(headline(judgement))}. Run {escape(results.run_id)}, edgecc {escape(results.edgecc_version)}.",
        "`sha256sum -c SHA256SUMS` checks the files.",
    ]
    for path, manifest in manifests.items():
        lines += ["", *_model(path, manifest)]
    keys = {(manifest.variant, manifest.artifact.format) for manifest in manifests.values()}
    rows = [row for row in results.variant_rows if (row.variant, row.format) in keys]
    lines += ["", "## Measured", "", *_metrics(rows, results), *_not_passed(judgement)]
    lines += ["", "## Targets", "", *_targets(rows)]
    return "\n".join(lines) + "\n"


def _model(path: str, manifest: Manifest) -> list[str]:
    data = _data_stage(manifest)
    return [
        f"## {escape(path)}",
        "",
        f"- {format_bytes(manifest.artifact.size_bytes)}, sha256 {manifest.artifact.sha256}",
        f"- built from commit {escape(manifest.git_commit or 'unknown')}",
        f"- input: prepared as the loader {escape(data['loader'])} does it; edgecc itself rescales nothing",
        f"- classes: {_classes(data)}",
        "",
        *_tensors(manifest),
    ]


def _data_stage(manifest: Manifest) -> dict[str, Any]:
    """What the manifest says of the data: their loader, how many classes there are, and what they are called."""
    stage = next((stage for stage in manifest.stages if stage.name == "data"), None)
    section = stage.options.get("data", {}) if stage else {}
    metrics = stage.metrics if stage else {}
    return {
        "loader": str(section.get("loader", "unknown")),
        "classes": metrics.get("classes"),
        "labels": metrics.get("labels"),
    }


def _classes(data: Mapping[str, Any]) -> str:
    if data["labels"]:
        return ", ".join(f"{index} {escape(str(label))}" for index, label in enumerate(data["labels"]))
    return f"{data['classes']}, without names" if data["classes"] else "none, or not known"


def _tensors(manifest: Manifest) -> list[str]:
    specs = [("input", spec) for spec in manifest.inputs] + [("output", spec) for spec in manifest.outputs]
    rows = [
        [kind, spec.name, " × ".join(_size(size) for size in spec.shape), _dtype(spec), *_quantization(spec)]
        for kind, spec in specs
    ]
    lines = table(["tensor", "name", "shape", "dtype"], ["scale", "zero_point"], [], rows)
    return [*lines, "", _ROUNDING] if any(spec.scale for _, spec in specs) else lines


def _size(size: int) -> str:
    return "any" if size == -1 else str(size)


def _dtype(spec: TensorSpec) -> str:
    if not spec.scale:
        return spec.dtype
    limits = np.iinfo(np.dtype(spec.dtype))
    return f"{spec.dtype} ({limits.min} to {limits.max})"


def _quantization(spec: TensorSpec) -> tuple[str, str]:
    """Scales with every digit, since a rounded one gives other numbers."""
    if not spec.scale:
        return NOTHING, NOTHING
    along = f" along dimension {spec.quantized_dimension}" if len(spec.scale) > 1 else ""
    return ", ".join(map(repr, spec.scale)) + along, ", ".join(map(str, spec.zero_point))


def _metrics(rows: Sequence[Row], results: Results) -> list[str]:
    names = [name for name in results.all_metrics if any(name in row.estimates for row in rows)]
    cells = [[name, *(shown(row, name) for row in rows)] for name in names]
    return table(["metric"], [escape(row_name(row)) for row in rows], [], cells)


def _not_passed(judgement: Judgement) -> list[str]:
    """Budgets that only warn, and what no budget judged."""
    warned = [verdict for verdict in judgement.verdicts if verdict.status is not Status.PASS]
    lines = [f"- **{status_in_words(verdict)}** {escape(verdict.reason)}" for verdict in warned]
    lines += [f"- left out: {escape(note)}" for note in judgement.left_out]
    return ["", *lines] if lines else []


def _targets(rows: Sequence[Row]) -> list[str]:
    by_name = {row.target: row for row in rows}
    return [f"- {escape(f'{name} ({row.target_kind}): {_where(row)}')}" for name, row in by_name.items()]


def _where(row: Row) -> str:
    if row.environment is None:
        return "it did not answer"
    threads = "1 thread" if row.num_threads == 1 else f"{row.num_threads} threads"
    return f"{threads} on {_machine(row.environment)}"


def _machine(environment: Environment) -> str:
    parts = [
        f"{environment.cpu_model} ({environment.machine}), {environment.cores} cores",
        *([environment.accelerator] if environment.accelerator else []),
        f"governor {environment.governor or 'unknown'}",
        environment.os,
        *(f"{name} {version}" for name, version in environment.runtimes.items()),
        f"Python {environment.python}",
        *(["its clock is emulated"] if environment.emulated else []),
    ]
    return ", ".join(parts)
