"""What `doctor` found, for a terminal."""

from __future__ import annotations

from rich.table import Table

from edgecc.benchmarks.doctor import LIMITS, SLOWDOWNS, Diagnosis
from edgecc.units import Unit, format_value


def diagnosis_table(diagnosis: Diagnosis) -> Table:
    """A row a limit: what the gate says of the artifact against itself, and how often it sees each slowdown."""
    latency = format_value(diagnosis.latency_p50_s, Unit.SECONDS)
    title = f"{diagnosis.target}: {diagnosis.artifact}, p50 {latency}, {diagnosis.processes} processes of each kind"
    table = Table(title=title, title_justify="left")
    table.add_column("max_regression")
    table.add_column("false alarms", justify="right")
    table.add_column("undecided", justify="right")
    for slowdown in SLOWDOWNS[1:]:
        table.add_column(f"sees {slowdown:.0%}", justify="right")
    for limit in LIMITS:
        own = {each.slowdown: each for each in diagnosis.answers if each.limit == limit}
        seen = [f"{own[slowdown].fail.value:.1%}" if slowdown in own else "-" for slowdown in SLOWDOWNS[1:]]
        mark = " *" if limit == diagnosis.honest_limit else ""
        table.add_row(f"{limit:.0%}{mark}", f"{own[0.0].fail.value:.1%}", f"{own[0.0].inconclusive.value:.1%}", *seen)
    return table


def diagnosis_sentences(diagnosis: Diagnosis) -> list[str]:
    """What it means, in sentences."""
    limit = diagnosis.honest_limit
    trials = diagnosis.answers[0].fail.trials
    worst = max(each.fail.high for each in diagnosis.answers if each.slowdown == 0)
    if limit is None:
        advice = (
            "No max_regression is honest here: give [bench] pair_time_limit more time, quiet the machine, "
            "or keep to metrics without a clock."
        )
    else:
        advice = (
            f'Honest here (*): max_regression = "{limit:.0%}": the smallest limit that hardly ever cries wolf, hardly '
            "ever stays undecided, and sees a slowdown of twice itself."
        )
    spun = ", ".join(f"{name} measured as {ratio.value - 1:+.2%}" for name, ratio in diagnosis.seen_slowdowns.items())
    return [
        advice,
        f"Each share is of {trials} benches of up to {diagnosis.pair_time_limit_s:g} s, replayed from the recording; "
        f"false alarms are below {worst:.1%} at 95 % confidence (Clopper-Pearson).",
        f"Spun slowdowns: {spun}.",
    ]
