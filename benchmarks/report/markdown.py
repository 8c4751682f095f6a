"""The summary in Markdown, for a pull request or a job's page."""

from __future__ import annotations

import re

from edgecc.benchmarks.report.summary import EMULATED_NOTE, headline, is_emulated, plain, status_in_words, summarize
from edgecc.results import Judgement, Results, Status

_HEADER = ("variant", "format", "target", "size", "p50", "p90", "accuracy", "drop", "verdict")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|!~])")


def render_markdown(results: Results, judgement: Judgement) -> str:
    """Verdict, results, and a line for everything that did not pass."""
    lines = [f"**{_escape(headline(judgement))}**", "", *_results_table(results, judgement)]
    if is_emulated(results):
        lines += ["", _escape(EMULATED_NOTE)]
    reasons = [verdict for verdict in judgement.verdicts if verdict.status is not Status.PASS]
    lines += [""] if reasons or judgement.left_out else []
    lines += [f"- **{status_in_words(verdict)}** {_escape(verdict.reason)}" for verdict in reasons]
    lines += [f"- left out: {_escape(note)}" for note in judgement.left_out]
    lines += [
        "",
        f"{_escape(results.project)}, run {_escape(results.run_id)}, edgecc {_escape(results.edgecc_version)}",
    ]
    return "\n".join(lines) + "\n"


def _results_table(results: Results, judgement: Judgement) -> list[str]:
    alignment = ["---"] * 3 + ["---:"] * 5 + ["---"]
    rows = [
        [row.variant, row.format, row.target, row.size, row.p50, row.p90, row.accuracy, row.drop, row.verdict]
        for row in summarize(results, judgement)
    ]
    return [_line(_HEADER), _line(alignment), *(_line([_escape(cell) for cell in row]) for row in rows)]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", plain(text))
