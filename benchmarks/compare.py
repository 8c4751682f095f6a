"""Two runs side by side: what is better, what is worse, and what cannot be told.

Bytes and scores are exact: they differ, or they do not. Times and memory are told apart by the interval of their ratio
(edgecc.benchmarks.ratio), and only where both were measured under the same conditions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from edgecc.artifact import Format, Record
from edgecc.benchmarks import statistics
from edgecc.benchmarks.ratio import RATIO_METRICS, ratio_in_turn, ratio_of
from edgecc.errors import ExitCode
from edgecc.files import sha256_of_json
from edgecc.metrics import Metric
from edgecc.results import Estimate, PairedRun, ProcessSample, Provenance, Ratio, Results, Row
from edgecc.units import Unit

NOT_IN_TURN = (
    "The processes of the two runs were not interleaved, so whatever else the machine did is in these times: "
    "a small change proves nothing."
)
SIDE_BY_SIDE = "Times and memory of {} are those of the later run's session, in which both ran side by side."
_KEY_DIGITS = 12


def conditions(row: Row) -> dict[str, Any]:
    """What two measurements must share for their times to be compared. The target must have answered."""
    environment = row.environment
    if environment is None:
        raise ValueError("a row of a target that did not answer")
    return {
        "target_kind": row.target_kind,
        "target_options": dict(row.target_options),
        "machine": environment.machine,
        "cpu_model": environment.cpu_model,
        "cores": environment.cores,
        "accelerator": environment.accelerator,
        "emulated": row.emulated or environment.emulated,
        "num_threads": row.num_threads,
        "runtime": f"{row.runtime} {environment.runtimes.get(row.runtime, 'of an unknown version')}",
    }


def environment_key(row: Row) -> str | None:
    """A short digest of `conditions`; None where the target did not answer."""
    return None if row.environment is None else sha256_of_json(conditions(row))[:_KEY_DIGITS]


def comparable(before: Row, after: Row) -> str | None:
    """Why the times of two rows cannot be compared: what differs, with both values; None where they can."""
    for row, when in ((before, "before"), (after, "after")):
        if row.environment is None:
            return f"the target did not answer in the run {when}"
    one, other = conditions(before), conditions(after)
    differing = [f"{name} differs: {one[name]} before, {other[name]} after" for name in one if one[name] != other[name]]
    return "; ".join(differing) or None


class Answer(StrEnum):
    """What a comparison says of one metric."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNKNOWN = "cannot tell"
    REFUSED = "not comparable"


class MetricChange(Record):
    """One metric of one artifact on one target, in two runs."""

    metric: str
    unit: Unit
    before: float | None
    after: float | None
    """In `unit`; None where it was not measured."""
    change: float | None
    """By which part it grew (0.05: 5 %); of fractions and plain numbers, by how much."""
    ratio: Ratio | None = None
    """After over before with its interval, of times and memory."""
    answer: Answer
    reason: str | None = None
    """Why nothing can be told."""


class RowChange(Record):
    """One artifact on one target in two runs."""

    variant: str
    format: Format
    target: str
    same_artifact: bool
    """The file is the same, byte for byte."""
    side_by_side: bool
    """Both ran side by side, in the session of the later run."""
    metrics: tuple[MetricChange, ...]

    @property
    def name(self) -> str:
        """As a sentence names it."""
        return f"{self.variant} ({self.format}) on {self.target}"


class Comparison(Record):
    """Two runs side by side."""

    schema_version: Literal[1] = 1
    before: str
    after: str
    """Run ids."""
    rows: tuple[RowChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    """The rows that only one of the runs has, as a sentence names them."""
    notes: tuple[str, ...]
    """What a reader must know, in sentences."""

    @property
    def exit_code(self) -> ExitCode:
        """3 where something that is in both runs, or everything, could not be compared."""
        refused = any(change.answer is Answer.REFUSED for row in self.rows for change in row.metrics)
        return ExitCode.UNDECIDED if refused or not self.rows else ExitCode.PASSED


def compare_results(before: Results, after: Results) -> Comparison:
    """Compare every variant that both runs have, by variant, format and target."""
    old, new = _by_name(before), _by_name(after)
    rows = tuple(_Pair(before, after, old[key], new[key]).compare() for key in old if key in new)
    return Comparison(
        before=before.run_id,
        after=after.run_id,
        rows=rows,
        only_before=tuple(_name(*key) for key in old if key not in new),
        only_after=tuple(_name(*key) for key in new if key not in old),
        notes=tuple(_notes(before, after, rows)),
    )


def _by_name(results: Results) -> dict[tuple[str, Format, str], Row]:
    return {(row.variant, row.format, row.target): row for row in results.variant_rows}


def _name(variant: str, format: Format, target: str) -> str:
    return f"{variant} ({format}) on {target}"


def _notes(before: Results, after: Results, rows: tuple[RowChange, ...]) -> Iterator[str]:
    if before.project != after.project:
        yield f"The runs are of two projects: {before.project} before, {after.project} after."
    if any(change.ratio is not None and not row.side_by_side for row in rows for change in row.metrics):
        yield NOT_IN_TURN
    if side_by_side := [row.name for row in rows if row.side_by_side]:
        yield SIDE_BY_SIDE.format(", ".join(side_by_side))


class _Pair:
    """The same artifact's row in two runs."""

    def __init__(self, before: Results, after: Results, old: Row, new: Row) -> None:
        self._before, self._after, self._old, self._new = before, after, old, new
        self._metrics: Mapping[str, Metric] = before.all_metrics | after.all_metrics
        self._paired = _measured_side_by_side(before, after, old, new)
        self._differs = None if self._paired else comparable(old, new)
        self._estimates = _estimates(old, new, self._paired)
        self._same_artifact = old.artifact.sha256 == new.artifact.sha256

    def compare(self) -> RowChange:
        measured = [name for name in self._metrics if any(name in each for each in self._estimates)]
        return RowChange(
            variant=self._new.variant,
            format=self._new.format,
            target=self._new.target,
            same_artifact=self._same_artifact,
            side_by_side=self._paired is not None,
            metrics=tuple(self._change(self._metrics[name]) for name in measured),
        )

    def _change(self, metric: Metric) -> MetricChange:
        one, other = (each.get(metric.name) for each in self._estimates)
        if one is None or other is None:
            return _answered(metric, one, other, Answer.REFUSED, self._missing(metric.name))
        if refusal := self._refusal(metric):
            return _answered(metric, one, other, Answer.REFUSED, refusal)
        if metric.name in RATIO_METRICS:
            return self._by_interval(metric, one, other)
        return _answered(metric, one, other, _exact(metric, one.value, other.value))

    def _missing(self, metric: str) -> str:
        is_old = metric not in self._estimates[0]
        when, row = ("before", self._old) if is_old else ("after", self._new)
        return f"unmeasured {when}: {row.unmeasured.get(metric, 'the results do not say why')}"

    def _refusal(self, metric: Metric) -> str | None:
        """Why the values mean different things."""
        if metric.wall_clock:
            return self._differs
        if metric.name == "instructions":
            return statistics.counted_otherwise(self._old, self._new)
        if not metric.on_target or metric.name in RATIO_METRICS:
            return None
        if self._before.evaluation_sha256 != self._after.evaluation_sha256:
            return "the evaluation set is another: its sha256 differs"
        references = [results.reference_variant for results in (self._before, self._after)]
        if metric.name.startswith("agreement.") and references[0] != references[1]:
            return f"the reference variant differs: {references[0]} before, {references[1]} after"
        return None

    def _by_interval(self, metric: Metric, one: Estimate, other: Estimate) -> MetricChange:
        unknown = self._unknown(metric)
        if unknown is None:
            ratio = self._ratio(metric.name)
            if not isinstance(ratio, str):
                return _answered(metric, one, other, _beyond(metric, ratio), ratio=ratio)
            unknown = ratio
        return _answered(metric, one, other, Answer.UNKNOWN, unknown)

    def _unknown(self, metric: Metric) -> str | None:
        if metric.device_only and self._new.emulated:
            return "the target is emulated"
        if self._same_artifact:
            return "it is the same file, so what differs is what else the machine did"
        return self._differs

    def _ratio(self, metric: str) -> Ratio | str:
        if self._paired is not None:
            return ratio_in_turn(metric, self._paired.baseline_processes, self._paired.candidate_processes)
        return ratio_of(metric, self._old.processes, self._new.processes)


def _measured_side_by_side(before: Results, after: Results, old: Row, new: Row) -> PairedRun | None:
    """The processes of both artifacts in one session, where the later run was measured against the earlier."""
    if after.baseline_run_id != before.run_id:
        return None
    key = (new.variant, new.format, new.target, old.artifact.sha256, new.artifact.sha256)
    pairs = [
        pair
        for pair in after.paired
        if (pair.variant, pair.format, pair.target, pair.baseline.sha256, pair.candidate.sha256) == key and pair.ratios
    ]
    return pairs[0] if len(pairs) == 1 else None


def _estimates(old: Row, new: Row, paired: PairedRun | None) -> list[Mapping[str, Estimate]]:
    """What is known of each row; of times and memory what one session says of both, where there was one."""
    if paired is None:
        return [old.estimates, new.estimates]
    both = ((old, paired.baseline_processes), (new, paired.candidate_processes))
    return [{**row.estimates, **_of_processes(processes)} for row, processes in both]


def _of_processes(processes: Sequence[ProcessSample]) -> dict[str, Estimate]:
    answers = statistics.timings(processes, Provenance.MEASURED) | statistics.memory(processes, Provenance.MEASURED)
    return {name: answer for name, answer in answers.items() if isinstance(answer, Estimate)}


def _answered(
    metric: Metric,
    one: Estimate | None,
    other: Estimate | None,
    answer: Answer,
    reason: str | None = None,
    ratio: Ratio | None = None,
) -> MetricChange:
    before, after = (None if each is None else each.value for each in (one, other))
    return MetricChange(
        metric=metric.name,
        unit=metric.unit,
        before=before,
        after=after,
        change=growth(metric.unit, before, after) if ratio is None else ratio.value - 1,
        ratio=ratio,
        answer=answer,
        reason=reason,
    )


def growth(unit: Unit, before: float | None, after: float | None) -> float | None:
    """By which part a value grew, or by how much where the unit is a fraction or a plain number."""
    if before is None or after is None or not math.isfinite(before) or not math.isfinite(after):
        return None
    if unit in (Unit.FRACTION, Unit.NUMBER):
        return after - before
    return after / before - 1 if before else None


def _exact(metric: Metric, before: float, after: float) -> Answer:
    if not math.isfinite(before) or not math.isfinite(after):
        return Answer.UNKNOWN
    if before == after:
        return Answer.SAME
    return Answer.BETTER if (after < before) == (metric.better == "lower") else Answer.WORSE


def _beyond(metric: Metric, ratio: Ratio) -> Answer:
    """Better or worse where the whole interval lies on one side of 1."""
    if ratio.low <= 1 <= ratio.high:
        return Answer.UNKNOWN
    return Answer.BETTER if (ratio.high < 1) == (metric.better == "lower") else Answer.WORSE
