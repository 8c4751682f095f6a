"""The summary in Markdown, for a pull request or a job's page."""

from __future__ import annotations

import re

from edgecc.benchmarks.report.layers import layer_cells
from edgecc.benchmarks.report.steps import StepLine, score_name, step_lines, unpaid, what_can_be_seen
from edgecc.benchmarks.report.summary import (
    TIMES,
    beside,
    footnotes,
    headline,
    other_metrics,
    plain,
    score_metric,
    status_in_words,
    summarize,
)
from edgecc.results import Judgement, Results, Status

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~])")


def render_markdown(results: Results, judgement: Judgement) -> str:
    """Verdict, results, a line for everything that did not pass, compression steps and layers."""
    lines = [f"**{_escape(headline(judgement))}**", "", *_results_table(results, judgement)]
    notes = footnotes(results, [*TIMES, score_metric(results)])
    lines += [line for note in notes for line in ("", _escape(note))]
    reasons = [verdict for verdict in judgement.verdicts if verdict.status is not Status.PASS]
    lines += [""] if reasons or judgement.left_out else []
    lines += [f"- **{status_in_words(verdict)}** {_escape(verdict.reason)}" for verdict in reasons]
    lines += [f"- left out: {_escape(note)}" for note in judgement.left_out]
    lines += [*_steps(results), *_layers(results)]
    lines += [
        "",
        f"{_escape(results.project)}, run {_escape(results.run_id)}, edgecc {_escape(results.edgecc_version)}",
    ]
    return "\n".join(lines) + "\n"


def _results_table(results: Results, judgement: Judgement) -> list[str]:
    others = other_metrics(results)
    names = ["variant", "format", "target"]
    numbers = ["size", "p50", "p90", score_metric(results), "drop", *others]
    rows = [
        [
            row.variant, row.format, row.target, row.size, beside(row.p50, row.p50_interval),
            beside(row.p90, row.p90_interval), beside(row.score, row.score_interval), row.drop, *row.own, row.verdict,
        ]
        for row in summarize(results, judgement)
    ]  # fmt: skip
    return _table(names, numbers, ["verdict"], rows)


def _steps(results: Results) -> list[str]:
    """Every compression step on every target, and a line for each that does not pay."""
    if not results.steps:
        return []
    score = score_name([step.record for step in results.steps], list(results.metrics))
    rows = [
        [
            line.kind, line.format, line.target, *(" → ".join(pair) for pair in _pairs(line)),
            f"{line.ratio} ({line.interval})" if line.interval else line.ratio, line.answer,
        ]
        for line in step_lines(results)
    ]  # fmt: skip
    names = ["step", "format", "target", "artifact"]
    numbers = ["size", "gzip -9", "zeros", score, "p50", "times"]
    seen = what_can_be_seen(results)
    return [
        "",
        *_table(names, numbers, ["pays"], rows),
        *([""] if seen or unpaid(results) else []),
        *([_escape(seen), ""] if seen else []),
        *(f"- **does not pay** {_escape(sentence)}" for sentence in unpaid(results)),
    ]


def _pairs(line: StepLine) -> list[tuple[str, str]]:
    before, after = line.score
    score = (before, f"{after} ({line.p_value})" if line.p_value else after)
    return [line.artifacts, line.size, line.compressed, line.zeros, score, line.p50]


def _layers(results: Results) -> list[str]:
    """The layers of each quantized artifact, worst first, folded away."""
    lines = []
    for artifact in results.layers:
        name = _escape(f"{artifact.variant} ({artifact.format})")
        rows = [list(cells) for cells in layer_cells(artifact)]
        table = _table(["layer", "operator"], ["SQNR", "cosine"], ["kept in float"], rows)
        lines += ["", f"<details><summary>Error of each layer of {name}</summary>", "", *table, "", "</details>"]
    return lines


def _table(names: list[str], numbers: list[str], last: list[str], rows: list[list[str]]) -> list[str]:
    alignment = ["---"] * len(names) + ["---:"] * len(numbers) + ["---"] * len(last)
    cells = [_line([_escape(cell) for cell in row]) for row in rows]
    return [_line([*names, *numbers, *last]), _line(alignment), *cells]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
