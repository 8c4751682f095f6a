"""Reports of a bench and its verdicts, for people and for CI."""

from __future__ import annotations

from pathlib import Path

from edgecc.files import write_atomically
from edgecc.results import Judgement, Results


def write_reports(results: Results, judgement: Judgement, trials: Path | None, folder: Path) -> list[Path]:
    """Write index.html, summary.md, junit.xml and verdict.json, and return where they are, in that order.

    `trials` is the tuning's trials.json, where there was a tuning.

    Raises:
        ArtifactError: the trials cannot be read.
        OutputError: the folder cannot be written to.
    """
    from edgecc.benchmarks.report.html import render_html
    from edgecc.benchmarks.report.junit import render_junit
    from edgecc.benchmarks.report.markdown import render_markdown
    from edgecc.benchmarks.report.trials import read_tuning

    contents = {
        "index.html": render_html(results, judgement, None if trials is None else read_tuning(trials)),
        "summary.md": render_markdown(results, judgement),
        "junit.xml": render_junit(judgement),
        "verdict.json": judgement.model_dump_json(indent=1) + "\n",
    }
    for name, text in contents.items():
        write_atomically(folder / name, text)
    return [folder / name for name in contents]
