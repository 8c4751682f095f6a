"""Reports of a bench and its verdicts, for people and for CI."""

from __future__ import annotations

from pathlib import Path

from edgecc.files import write_atomically
from edgecc.results import Judgement, Results


def render_reports(results: Results, judgement: Judgement, trials: Path | None) -> dict[str, str]:
    """Every report by its file's name: index.html, summary.md, junit.xml, verdict.json and, for the charts of
    github-action-benchmark, benchmark.json and benchmark-bigger.json (where bigger is better).

    `trials` is the tuning's trials.json, where there was a tuning.

    Raises:
        ArtifactError: the trials cannot be read.
    """
    from edgecc.benchmarks.report.github_benchmark import render_benchmark
    from edgecc.benchmarks.report.html import render_html
    from edgecc.benchmarks.report.junit import render_junit
    from edgecc.benchmarks.report.markdown import render_markdown
    from edgecc.benchmarks.report.trials import read_tuning

    return {
        "index.html": render_html(results, judgement, None if trials is None else read_tuning(trials)),
        "summary.md": render_markdown(results, judgement),
        "junit.xml": render_junit(judgement),
        "verdict.json": judgement.model_dump_json(indent=1) + "\n",
        "benchmark.json": render_benchmark(results, "lower"),
        "benchmark-bigger.json": render_benchmark(results, "higher"),
    }


def write_reports(results: Results, judgement: Judgement, trials: Path | None, folder: Path) -> list[Path]:
    """Write every report into a folder, and return where they are, in the order of `render_reports`.

    Raises:
        ArtifactError: the trials cannot be read.
        OutputError: the folder cannot be written to.
    """
    contents = render_reports(results, judgement, trials)
    for name, text in contents.items():
        write_atomically(folder / name, text)
    return [folder / name for name in contents]
