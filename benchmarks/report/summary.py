"""What every report says, in words: HTML, Markdown and the terminal show these rows, so they cannot disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgecc.benchmarks.reference import counterpart
from edgecc.metrics import METRICS, user_metric
from edgecc.results import Judgement, Provenance, Results, Row, Status, Verdict
from edgecc.units import Unit, format_points, format_value, parse

NOTHING = "–"
EMULATED_MARK = "*"
EMULATED_NOTE = "* emulated: not the device's own, and meets no budget unless that says so"
TIMES = ("latency.p50", "latency.p90")
"""What a table of results shows of latencies."""
INTERVAL_NOTE = "Intervals are at 95 %"
_WORST_FIRST = (Status.FAIL, Status.UNMEASURED, Status.INCONCLUSIVE, Status.PASS)
_COUNTED_AS = {
    Status.PASS: "passed",
    Status.FAIL: "broken",
    Status.INCONCLUSIVE: "inconclusive",
    Status.UNMEASURED: "unmeasured",
}


@dataclass(frozen=True)
class SummaryRow:
    """One artifact on one target, as a table shows it."""

    variant: str
    format: str
    target: str
    size: str
    p50: str
    p50_interval: str
    """Without the unit, such as `10.3-10.5`; empty where there is none."""
    p90: str
    p90_interval: str
    score: str
    """Of `score_metric`."""
    score_interval: str
    drop: str
    own: tuple[str, ...]
    """The project's own metrics but that one, in the order of `other_metrics`."""
    verdict: str
    status: Status | None
    """Of the worst budget that counts; None where none was judged."""


@dataclass(frozen=True)
class UnmeasuredGroup:
    """Metrics that have no value for one and the same reason, and where that is so."""

    metrics: tuple[str, ...]
    reason: str
    where: tuple[str, ...]


def plain(text: str) -> str:
    """Text from a device or a file without what a terminal, XML or Markdown could take for a command."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def row_name(row: Row) -> str:
    """A row as a sentence names it."""
    return plain(f"{row.variant} ({row.format}) on {row.target}")


def judged(verdict: Verdict) -> str:
    """What a verdict is about."""
    format = "" if verdict.format is None else f" ({verdict.format})"
    target = "" if verdict.target is None else f" on {verdict.target}"
    return plain(f"{verdict.variant}{format}{target}")


def status_in_words(verdict: Verdict) -> str:
    """A verdict's status, marked where it only warns."""
    return f"{verdict.status} (warn)" if verdict.severity == "warn" else str(verdict.status)


def headline(judgement: Judgement) -> str:
    """The verdict in one line."""
    if not judgement.verdicts:
        return "Unmeasured: the project has no budgets, so nothing was judged"
    counts = Counter(verdict.status for verdict in judgement.verdicts if verdict.severity == "error")
    parts = [f"{counts[status]} {_COUNTED_AS[status]}" for status in _WORST_FIRST if counts[status]]
    warned = sum(_warns(verdict) for verdict in judgement.verdicts)
    parts += [f"{warned} warned"] if warned else []
    return f"{judgement.status.capitalize()}: {', '.join(parts) or 'no budget counts'}"


def summarize(results: Results, judgement: Judgement | None) -> list[SummaryRow]:
    """A line for every variant's row. Without a judgement the verdict says whether the row has numbers."""
    return [_summary_row(row, results, judgement) for row in results.variant_rows]


def score_metric(results: Results) -> str:
    """The metric that tells how good the answers are: accuracy, or else the project's first where there is none."""
    scored = any("accuracy" in row.estimates for row in results.rows)
    return "accuracy" if scored or not results.metrics else user_metric(next(iter(results.metrics)))


def other_metrics(results: Results) -> list[str]:
    """The project's own metrics but `score_metric`."""
    return [name for own in results.metrics if (name := user_metric(own)) != score_metric(results)]


def group_unmeasured(results: Results) -> list[UnmeasuredGroup]:
    """What has no value and why, each reason once, in the order of the rows."""
    groups: dict[tuple[tuple[str, ...], str], list[Row]] = {}
    for row in results.rows:
        for reason in dict.fromkeys(row.unmeasured.values()):
            metrics = tuple(metric for metric, why in row.unmeasured.items() if why == reason)
            groups.setdefault((metrics, plain(reason)), []).append(row)
    return [UnmeasuredGroup(metrics, reason, _where(rows, results)) for (metrics, reason), rows in groups.items()]


def group_warnings(results: Results) -> list[tuple[str, tuple[str, ...]]]:
    """Every warning once, with where it holds."""
    groups: dict[str, list[Row]] = {}
    for row in results.rows:
        for warning in row.warnings:
            groups.setdefault(plain(warning), []).append(row)
    return [(warning, _where(rows, results)) for warning, rows in groups.items()]


def notes(results: Results) -> list[str]:
    """Failures, accuracies that were asked for and could not be had, and warnings: a line each."""
    failures = [
        f"{row_name(row)}: {row.failure.kind.replace('_', ' ')}: {plain(row.failure.message)}"
        for row in results.rows
        if row.failure is not None
    ]
    warnings = [f"{', '.join(where)}: {warning}" for warning, where in group_warnings(results)]
    score = score_metric(results)
    unscored = [
        f"{row_name(row)}: {score} is unmeasured: {plain(row.unmeasured[score])}"
        for row in results.rows
        if row.failure is None and results.evaluation_samples and score in row.unmeasured
    ]
    return failures + unscored + warnings


def _where(rows: Sequence[Row], results: Results) -> tuple[str, ...]:
    """Names of rows; a target whose rows are all among them is named alone."""
    places: dict[str, None] = {}
    for row in rows:
        own = [other for other in rows if other.target == row.target]
        everything = [other for other in results.rows if other.target == row.target]
        places[f"all on {plain(row.target)}" if len(own) == len(everything) > 1 else row_name(row)] = None
    return tuple(places)


def shown(row: Row, metric: str) -> str:
    """A metric of a row as a table shows it; emulated times are marked."""
    estimate = row.estimates.get(metric)
    if estimate is None:
        return NOTHING
    emulated = metric in METRICS and METRICS[metric].device_only and estimate.provenance is Provenance.EMULATED
    return format_value(estimate.value, _unit(metric)) + (EMULATED_MARK if emulated else "")


def interval(row: Row, metric: str) -> str:
    """The interval of a metric of a row in the unit and with the digits of `shown`; empty where there is none."""
    estimate = row.estimates.get(metric)
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    number, _, suffix = format_value(estimate.value, _unit(metric)).partition(" ")
    scale, decimals = parse(f"1 {suffix}", _unit(metric)), len(number.partition(".")[2])
    return "-".join(f"{end / scale:,.{decimals}f}" for end in (estimate.low, estimate.high))


def beside(value: str, interval: str) -> str:
    """A value with its interval in parentheses, where it has one."""
    return f"{value} ({interval})" if interval else value


def footnotes(results: Results, with_intervals: Sequence[str]) -> list[str]:
    """What a reader must know of a table of results that shows the intervals of these metrics."""
    has_intervals = any(interval(row, metric) for row in results.variant_rows for metric in with_intervals)
    is_emulated = any(row.emulated for row in results.rows)
    return [INTERVAL_NOTE] * has_intervals + [EMULATED_NOTE] * is_emulated


def _unit(metric: str) -> Unit:
    return METRICS[metric].unit if metric in METRICS else Unit.NUMBER  # of the project's own


def _summary_row(row: Row, results: Results, judgement: Judgement | None) -> SummaryRow:
    verdict, status = _verdict(row, judgement)
    return SummaryRow(
        variant=plain(row.variant),
        format=str(row.format),
        target=plain(row.target),
        size=shown(row, "size"),
        p50=shown(row, "latency.p50"),
        p50_interval=interval(row, "latency.p50"),
        p90=shown(row, "latency.p90"),
        p90_interval=interval(row, "latency.p90"),
        score=shown(row, score_metric(results)),
        score_interval=interval(row, score_metric(results)),
        drop=_drop(row, results),
        own=tuple(shown(row, name) for name in other_metrics(results)),
        verdict=verdict,
        status=status,
    )


def _drop(row: Row, results: Results) -> str:
    """How much of the score is lost against the reference on the same target; negative where it became better."""
    neighbours = [other for other in results.rows if other.target == row.target]
    reference = counterpart(neighbours, results.reference_variant, row.format)
    if reference is None or row.variant == reference.variant:
        return NOTHING
    metric = results.all_metrics[score_metric(results)]
    own, others = row.estimates.get(metric.name), reference.estimates.get(metric.name)
    if own is None or others is None:
        return NOTHING
    lost = others.value - own.value if metric.better == "higher" else own.value - others.value
    return format_points(lost) if metric.unit is Unit.FRACTION else f"{lost:+.3g}"


def _verdict(row: Row, judgement: Judgement | None) -> tuple[str, Status | None]:
    failure = row.failure and row.failure.kind.replace("_", " ")
    if judgement is None:
        return failure or "measured", None
    verdicts = [verdict for verdict in judgement.verdicts if _is_about(verdict, row)]
    status = _worst([verdict for verdict in verdicts if verdict.severity == "error"])
    words = [str(status)] if status else []
    words += ["warned"] if any(map(_warns, verdicts)) else []
    return ", ".join(words) or ("pass" if verdicts else failure or NOTHING), status


def _is_about(verdict: Verdict, row: Row) -> bool:
    about = (verdict.variant, verdict.format) == (row.variant, row.format)
    return about and verdict.target in (None, row.target)


def _worst(verdicts: Sequence[Verdict]) -> Status | None:
    present = {verdict.status for verdict in verdicts}
    return next((status for status in _WORST_FIRST if status in present), None)


def _warns(verdict: Verdict) -> bool:
    return verdict.severity == "warn" and verdict.status is not Status.PASS
