"""Whether a compression step pays on a target: what it bought, and what it cost.

It pays with bytes, with time, or with right answers. It does not where it is clearly slower, whatever it saved, or
where it bought none of these. Where the interval of the latency's ratio leaves that open, there is no telling.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecc.artifact import StepRecord
from edgecc.benchmarks.ratio import latency_ratio
from edgecc.benchmarks.steps import PlannedStep
from edgecc.results import Pays, Ratio, Row, StepResult
from edgecc.units import format_bytes, format_points

MIN_SAVING = 0.01
"""A file that is less than so much smaller saves nothing: training anew moves compressed sizes by about as much."""
MIN_TIME = 0.05
"""A change of latency that is surely below this counts as none."""
SIGNIFICANT = 0.05


def judge_steps(steps: Sequence[PlannedStep], rows: Sequence[Row]) -> tuple[StepResult, ...]:
    """Every step on every target where both its artifacts have a row."""
    found = {(row.target, row.variant, row.format): row for row in rows}
    return tuple(
        _judge(step, before, after)
        for target in dict.fromkeys(row.target for row in rows)
        for step in steps
        if (before := found.get((target, step.record.before_variant, step.format)))
        and (after := found.get((target, step.variant, step.format)))
    )


def _judge(step: PlannedStep, before: Row, after: Row) -> StepResult:
    ratio = _ratio(before, after)
    latency = None if isinstance(ratio, str) else ratio
    pays = judge(step.record, latency)
    return StepResult(
        variant=step.variant,
        format=step.format,
        target=after.target,
        record=step.record,
        latency=latency,
        latency_unmeasured=ratio if isinstance(ratio, str) else None,
        pays=pays,
        marks=marks(step.record, latency),
        without=step.without,
        reason=_sentence(step, after.target, ratio, pays),
    )


def _ratio(before: Row, after: Row) -> Ratio | str:
    for row in (before, after):
        if row.failure is not None:
            return f"{row.variant} gave no numbers: {row.failure.kind.replace('_', ' ')}"
        if row.emulated:
            return "the target's clock is emulated"
    return latency_ratio(before.processes, after.processes)


def judge(record: StepRecord, latency: Ratio | None) -> Pays:
    """Weigh what a step bought against what it cost; without a ratio of latencies, nothing can be told."""
    if latency is None:
        return Pays.UNKNOWN
    if latency.low > 1:
        return Pays.NO
    if latency.high < 1:
        return Pays.YES
    if _is_smaller(record) or _answers(record) == "more accurate":
        return Pays.YES if latency.high <= 1 + MIN_TIME else Pays.UNKNOWN
    return Pays.NO if latency.low >= 1 - MIN_TIME else Pays.UNKNOWN


def marks(record: StepRecord, latency: Ratio | None) -> tuple[str, ...]:
    """What a step clearly does, in a word each."""
    found = (_size(record), None if latency is None else _speed(latency), _answers(record))
    return tuple(mark for mark in found if mark is not None)


def _size(record: StepRecord) -> str | None:
    """What an update sends is compressed; unstructured zeros make nothing else smaller."""
    raw, compressed = _size_ratios(record)
    if raw <= 1 - MIN_SAVING:
        return "smaller"
    if compressed <= 1 - MIN_SAVING:
        return "larger file, smaller update" if raw >= 1 + MIN_SAVING else "smaller update"
    return "larger" if max(raw, compressed) >= 1 + MIN_SAVING else None


def _speed(latency: Ratio) -> str | None:
    if latency.low > 1:
        return "slower"
    return "faster" if latency.high < 1 else None


def _size_ratios(record: StepRecord) -> tuple[float, float]:
    raw = record.after.size_bytes / record.before.size_bytes
    return raw, record.after.compressed_bytes / record.before.compressed_bytes


def _is_smaller(record: StepRecord) -> bool:
    return min(_size_ratios(record)) <= 1 - MIN_SAVING


def _answers(record: StepRecord) -> str | None:
    """Whether right answers were lost or gained, where chance alone would hardly do so."""
    if record.p_value is None or record.p_value >= SIGNIFICANT or record.lost is None or record.gained is None:
        return None
    return "less accurate" if record.lost > record.gained else "more accurate"


def _sentence(step: PlannedStep, target: str, ratio: Ratio | str, pays: Pays) -> str:
    is_price = not isinstance(ratio, str) and ratio.low > 1 and _is_smaller(step.record)
    bought = f"{_time(ratio, pays)}{' for ' if is_price else ', '}{_bytes(step.record)}{_accuracy(step.record)}"
    sentence = f"{step.variant} ({step.format}) on {target}: {step.record.kind} {bought}"
    if pays is not Pays.NO:
        return f"{sentence}."
    return f"{sentence}; without it: {step.without}." if step.without else f"{sentence}; no variant goes without it."


def _time(ratio: Ratio | str, pays: Pays) -> str:
    if isinstance(ratio, str):
        return f"takes a time that is unmeasured ({ratio})"
    interval = f"({ratio.low:.2f}-{ratio.high:.2f})"
    if ratio.low > 1:
        return f"makes it {ratio.value:.2f}x slower {interval}"
    if ratio.high < 1:
        return f"makes it {1 / ratio.value:.2f}x faster ({1 / ratio.high:.2f}-{1 / ratio.low:.2f})"
    words = "takes a time that cannot be told from the one before" if pays is Pays.UNKNOWN else "saves no time"
    return f"{words} {interval}"


def _bytes(record: StepRecord) -> str:
    raw = record.before.size_bytes - record.after.size_bytes
    compressed = record.before.compressed_bytes - record.after.compressed_bytes
    if not _is_smaller(record):
        return "no bytes saved"
    if _size_ratios(record)[0] <= 1 - MIN_SAVING:
        return f"{format_bytes(raw)} saved"
    saved = f"{format_bytes(compressed)} saved once compressed"
    return f"{saved} in a file {format_bytes(-raw)} larger" if _size_ratios(record)[0] >= 1 + MIN_SAVING else saved


def _accuracy(record: StepRecord) -> str:
    if _answers(record) is None or record.before.score is None or record.after.score is None:
        return ""
    return f", {format_points(record.after.score - record.before.score)} accuracy (p = {record.p_value:.2g})"
