"""What every compression step did, in words, for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgecc.artifact import Figures, Format, StepRecord
from edgecc.benchmarks.payoff import marks
from edgecc.benchmarks.report.summary import NOTHING, plain, shown
from edgecc.benchmarks.steps import PlannedStep
from edgecc.metrics import user_metric
from edgecc.results import Pays, Results
from edgecc.units import Unit, format_bytes, format_value

_ANSWERS = {Pays.YES: "yes", Pays.NO: "no", Pays.UNKNOWN: "cannot tell"}


@dataclass(frozen=True)
class StepLine:
    """One step, as a table shows it: pairs are before it and after it."""

    kind: str
    format: str
    artifacts: tuple[str, str]
    size: tuple[str, str]
    compressed: tuple[str, str]
    zeros: tuple[str, str]
    score: tuple[str, str]
    p_value: str
    answer: str
    target: str = ""
    p50: tuple[str, str] = (NOTHING, NOTHING)
    ratio: str = NOTHING
    interval: str = ""
    pays: Pays | None = None
    """None where no latency was looked for."""


def step_lines(results: Results) -> list[StepLine]:
    """A line for every step of the results on every target."""
    rows = {(row.target, row.variant, row.format): row for row in results.rows}
    lines = []
    for step in results.steps:
        pair = [rows.get((step.target, name, step.format)) for name in (step.record.before_variant, step.variant)]
        before, after = (NOTHING if row is None else shown(row, "latency.p50") for row in pair)
        line = replace(
            _line(step.variant, step.format, step.record),
            answer=f"{_ANSWERS[step.pays]}: {_in_words(step.marks)}",
            target=plain(step.target),
            p50=(before, after),
            pays=step.pays,
        )
        if (ratio := step.latency) is not None:
            line = replace(line, ratio=f"{ratio.value:.2f}x", interval=f"{ratio.low:.2f}-{ratio.high:.2f}")
        lines.append(line)
    return lines


def compiled_lines(steps: Sequence[PlannedStep]) -> list[StepLine]:
    """A line for every step of what was compiled, of whose latency nothing is known."""
    return [_line(step.variant, step.format, step.record) for step in steps]


def _line(variant: str, format: Format, record: StepRecord) -> StepLine:
    before, after = record.before, record.after
    return StepLine(
        kind=record.kind,
        format=str(format),
        artifacts=(plain(record.before_variant), plain(variant)),
        size=(format_bytes(before.size_bytes), format_bytes(after.size_bytes)),
        compressed=(format_bytes(before.compressed_bytes), format_bytes(after.compressed_bytes)),
        zeros=(f"{100 * before.sparsity:.0f} %", f"{100 * after.sparsity:.0f} %"),
        score=(_score(record, before), _score(record, after)),
        p_value=_p_value(record),
        answer=_in_words(marks(record, None)),
    )


def _in_words(marks: Sequence[str]) -> str:
    return ", ".join(marks) or "nothing clear"


def _score(record: StepRecord, figures: Figures) -> str:
    if figures.score is None:
        return NOTHING
    return format_value(figures.score, Unit.NUMBER if record.p_value is None else Unit.FRACTION)


def _p_value(record: StepRecord) -> str:
    if record.p_value is None:
        return ""
    return "p < 0.001" if record.p_value < 0.001 else f"p = {record.p_value:.2g}"


def score_name(records: Sequence[StepRecord], own: Sequence[str]) -> str:
    """What the steps' scores are: a project's steps are all scored alike."""
    if any(record.p_value is not None for record in records) or not own:
        return "accuracy"
    return user_metric(own[0])


def unpaid(results: Results) -> list[str]:
    """A sentence for every step that does not pay."""
    return [plain(step.reason) for step in results.steps if step.pays is Pays.NO]


def what_can_be_seen(results: Results) -> str | None:
    """How fine these processes see, in a sentence; None where there are no ratios."""
    ratios = [step.latency for step in results.steps if step.latency is not None]
    if not ratios:
        return None
    processes = min(ratio.processes for ratio in ratios)
    finest, coarsest = (f"{100 * end(ratio.visible for ratio in ratios):.1f} %" for end in (min, max))
    visible = finest if finest == coarsest else f"{finest} at best and {coarsest} at worst"
    return (
        f"Scores are of validation samples. Intervals are at 95 %; {processes} processes of each artifact could tell "
        f"a change of latency of {visible} from none."
    )
