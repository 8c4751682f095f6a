"""What was measured beside the baseline, for a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table

from edgecc.benchmarks.regression import worsening
from edgecc.results import PairedRun, Results


def paired_table(results: Results) -> Table | None:
    """A row for each metric that was measured beside the baseline; None where nothing was."""
    if not results.paired:
        return None
    table = Table(title="beside the baseline; + is worse", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("artifact", "target", "metric"):
        table.add_column(name)
    for name in ("change", "interval", "could see", "processes"):
        table.add_column(name, justify="right")
    for pair in results.paired:
        for metric in (*pair.ratios, *pair.unmeasured):
            table.add_row(f"{pair.variant} ({pair.format})", pair.target, metric, *_change(pair, metric))
    return table


def _change(pair: PairedRun, metric: str) -> tuple[str, ...]:
    if metric not in pair.ratios:
        return ("unmeasured", "", "", str(len(pair.candidate_processes)))
    worse = worsening(metric, pair.ratios[metric])
    interval = f"{worse.low - 1:+.2%} to {worse.high - 1:+.2%}"
    return (f"{worse.value - 1:+.2%}", interval, f"{worse.visible:.2%}", f"{worse.processes} of each")
