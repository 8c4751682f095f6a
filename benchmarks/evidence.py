"""What the last results have to say of a budget, once everything about it is known to be sound.

Whatever was not measured on the very files that lie in `build/` now is no evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from decimal import Decimal

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.baseline import Baseline
from edgecc.benchmarks.built import Built
from edgecc.benchmarks.ratio import ratio_in_turn
from edgecc.benchmarks.regression import SIDE_BY_SIDE, confidence_for, worsening
from edgecc.benchmarks.statistics import counted_otherwise, memory, timings
from edgecc.budget import Budget
from edgecc.metrics import METRICS, USER_PREFIX, Ability, Metric
from edgecc.project import Project
from edgecc.results import Estimate, Provenance, Ratio, Results, Row
from edgecc.units import format_value

_FROM_PREDICTIONS = frozenset({"accuracy", "agreement.top1"})


class Unmeasured(Exception):  # noqa: N818 - it carries a verdict, not a fault
    """Why a budget cannot be judged. The gate makes it a verdict."""


@dataclass(frozen=True)
class Case:
    """One budget on one artifact and target."""

    budget: Budget
    variant: str
    format: Format
    target: str | None
    """None where the metric does not depend on it."""

    @property
    def name(self) -> str:
        """The artifact and its target, as a sentence names them."""
        where = "" if self.target is None else f" on {self.target}"
        return f"{self.variant} ({self.format}){where}"


@dataclass(frozen=True)
class Observation:
    """A value that a budget can be judged on."""

    value: float
    note: str = ""
    """What a reader must know of how it came to be."""
    ratio: Ratio | None = None
    """Of a regression that was measured side by side: today's over the baseline's, with its interval."""


@dataclass(frozen=True)
class Evidence:
    """The last results, read against the project and what is built now."""

    project: Project
    results: Results
    built: Built
    baseline: Baseline | None = None
    abilities: Mapping[str, Set[Ability]] = field(default_factory=dict)
    """What each target can measure; everything where a target is not named."""

    def cases(self, budget: Budget) -> Iterator[Case]:
        """Every artifact and target a budget speaks of."""
        for variant in self.project.shipped if budget.variant is None else (budget.variant,):
            for format in self.project.formats_of(variant):
                if budget.format in (None, format):
                    for target in self._targets(budget):
                        yield Case(budget, variant, format, target)

    def _targets(self, budget: Budget) -> list[str | None]:
        if not self._metric(budget).on_target:
            return [None]
        if budget.target is not None:
            return [budget.target]
        unjudged = self.left_out(budget)
        return [name for name in self.project.targets if name not in unjudged]

    def left_out(self, budget: Budget) -> dict[str, str]:
        """The targets that a budget does not speak of unless it names them, each with the reason."""
        metric = self._metric(budget)
        if budget.target is not None or metric.ability is None:
            return {}
        emulated = {row.target for row in self.results.rows if row.emulated}
        reasons = {}
        for name in self.project.targets:
            if metric.ability not in self.abilities.get(name, {metric.ability}):
                reasons[name] = "the target does not measure it"
            elif metric.device_only and name in emulated and not budget.emulated:
                reasons[name] = "the target is emulated, and nothing of the kind from it can pass"
        return reasons

    def _metric(self, budget: Budget) -> Metric:
        return self.project.all_metrics[budget.metric]

    def observe(self, case: Case) -> Observation:
        """The value to judge.

        Raises:
            Unmeasured: there is none that is sound; says why.
        """
        row = self._row(case)
        if case.budget.max_regression is not None:
            return self._regression(case, row)
        estimate = self._estimate(row, case.budget)
        if case.budget.max_drop is not None:
            return self._drop(case, estimate)
        return Observation(estimate.value, "emulated" if estimate.provenance is Provenance.EMULATED else "")

    def _drop(self, case: Case, estimate: Estimate) -> Observation:
        formats = self.project.formats_of(case.budget.reference)
        format = case.format if case.format in formats else formats[0]
        reference_case = Case(case.budget, case.budget.reference, format, case.target)
        try:
            reference = self._estimate(self._row(reference_case), case.budget)
        except Unmeasured as error:
            raise Unmeasured(f"the reference {reference_case.name}: {error}") from None
        metric = self._metric(case.budget)
        values = [format_value(one.value, metric.unit) for one in (estimate, reference)]
        note = f"{values[0]} against {values[1]} of {reference_case.name}"
        return Observation(_lost(metric, reference, estimate), note)

    def _regression(self, case: Case, row: Row) -> Observation:
        if self.baseline is None:
            raise Unmeasured("there is no baseline: edgecc baseline set makes one of a run that passed")
        before = self.baseline.artifact(case.variant, case.format)
        if before is None:
            raise Unmeasured("the baseline holds no such artifact")
        if case.budget.metric not in SIDE_BY_SIDE:
            return self._worsening(case, row, self.baseline)
        if self._metric(case.budget).device_only and row.emulated:
            raise Unmeasured("the target is emulated")
        if before.sha256 == row.artifact.sha256:
            return Observation(0.0, "the file is the baseline's, byte for byte")
        return self._side_by_side(case, row, self.baseline, before)

    def _side_by_side(self, case: Case, row: Row, baseline: Baseline, before: Artifact) -> Observation:
        """From processes of both artifacts that ran side by side."""
        key = (case.variant, case.format, case.target)
        pairs = [pair for pair in self.results.paired if (pair.variant, pair.format, pair.target) == key]
        if len(pairs) != 1 or self.results.baseline_run_id != baseline.results.run_id:
            raise Unmeasured("the last bench did not measure it beside this baseline")
        (pair,) = pairs
        if (pair.baseline.sha256, pair.candidate.sha256) != (before.sha256, row.artifact.sha256):
            raise Unmeasured("other files than these were measured side by side: their sha256 differ")
        metric = case.budget.metric
        ratio = pair.ratios.get(metric)
        if ratio is None:
            raise Unmeasured(pair.unmeasured.get(metric, "the results do not say why"))
        if pair.environment != row.environment or row.environment is None:
            raise Unmeasured("it was measured beside the baseline elsewhere than alone")
        again = ratio_in_turn(metric, pair.baseline_processes, pair.candidate_processes, ratio.confidence)
        decided = sum(len(each.ratios) + len(each.unmeasured) for each in self.results.paired)
        if again != ratio or ratio.confidence < confidence_for(decided, is_last=True):
            raise Unmeasured("the ratio does not follow from the raw values beside it: the results are damaged")
        worse = worsening(metric, ratio)
        return Observation(worse.value - 1, f"{ratio.processes} processes of each side by side", ratio)

    def _worsening(self, case: Case, row: Row, baseline: Baseline) -> Observation:
        """From two benches: of a file's bytes, and of scores, which no clock moves."""
        metric = self._metric(case.budget)
        now = self._estimate(row, case.budget)
        rows = [
            each
            for each in baseline.results.rows
            if (each.variant, each.format) == (case.variant, case.format)
            and (case.target in (None, each.target))
            and each.failure is None
        ]
        if metric.name == "instructions" and rows and (differs := counted_otherwise(rows[0], row)):
            raise Unmeasured(differs)
        before = rows[0].estimates.get(metric.name) if rows else None
        if before is None or not math.isfinite(before.value):
            raise Unmeasured(f"the baseline holds no {metric.name} of it")
        is_score = metric.name in _FROM_PREDICTIONS or case.budget.is_users
        if is_score and baseline.results.evaluation_sha256 != self.results.evaluation_sha256:
            raise Unmeasured("the baseline was scored on another evaluation set: their sha256 differ")
        values = [format_value(one.value, metric.unit) for one in (now, before)]
        note = f"{values[0]} against the baseline's {values[1]}"
        if case.budget.is_difference:
            return Observation(_lost(metric, before, now), note)
        if before.value <= 0:
            raise Unmeasured(f"the baseline's {metric.name} is {before.value}")
        return Observation((now.value - before.value) / before.value, note)

    def _row(self, case: Case) -> Row:
        rows = [row for row in self.results.rows if (row.variant, row.format) == (case.variant, case.format)]
        if case.target is None:
            # One target on which the artifact runs is enough; one that runs nowhere passes nothing.
            rows = [row for row in rows if row.failure is None][:1] or rows[:1]
        else:
            rows = [row for row in rows if row.target == case.target]
        if len(rows) != 1:
            raise Unmeasured(
                "the results hold it more than once"
                if rows
                else "it is not in the last results, which may have been narrowed"
            )
        if (failure := rows[0].failure) is not None:
            raise Unmeasured(f"{failure.kind.replace('_', ' ')}: {failure.message}")
        self._check_target(case, rows[0])
        self._check_artifact(case, rows[0])
        return rows[0]

    def _check_target(self, case: Case, row: Row) -> None:
        if case.target is None:
            return
        if row.environment is None:
            raise Unmeasured("the target did not answer")
        spec = self.project.targets.get(case.target)
        if spec is None or spec.kind != row.target_kind:
            now = "has no such target" if spec is None else f"says {spec.kind}"
            raise Unmeasured(f"the target was of kind {row.target_kind}; the project now {now}")
        if row.target_options != spec.options:
            raise Unmeasured("the target's keys in the project file are not those it was measured with")

    def _check_artifact(self, case: Case, row: Row) -> None:
        key = (case.variant, case.format)
        now = self.built.artifacts.get(key)
        if now is None:
            raise Unmeasured(self.built.refused.get(key, "the artifact that was measured is not in build/ now"))
        if now != row.artifact.sha256:
            raise Unmeasured("the artifact in build/ is not the one that was measured: its sha256 differs")

    def _estimate(self, row: Row, budget: Budget) -> Estimate:
        metric = budget.metric
        estimate = row.estimates.get(metric)
        if estimate is None:
            raise Unmeasured(row.unmeasured.get(metric, "the results do not say why"))
        if not math.isfinite(estimate.value):
            raise Unmeasured(f"the value is {estimate.value}")
        if estimate.provenance is Provenance.ESTIMATED:
            raise Unmeasured("the value is estimated, not measured")
        is_emulated = estimate.provenance is Provenance.EMULATED or row.emulated
        if self._metric(budget).device_only and is_emulated and not budget.emulated:
            raise Unmeasured("the target is emulated")
        _check_raw_values(row, metric, estimate)
        if metric in _FROM_PREDICTIONS or metric.startswith(USER_PREFIX):
            self._check_evaluation(estimate)
        return estimate

    def _check_evaluation(self, estimate: Estimate) -> None:
        if self.built.evaluation is None:
            raise Unmeasured("the evaluation set is not in build/ now")
        if self.built.evaluation != self.results.evaluation_sha256:
            raise Unmeasured("the evaluation set in build/ is not the one that was scored: its sha256 differs")
        whole = self.results.evaluation_samples
        if estimate.samples != whole or whole == 0:
            raise Unmeasured(f"{estimate.samples} of the evaluation set's {whole} samples were scored")


def _lost(metric: Metric, reference: Estimate, estimate: Estimate) -> float:
    """By how much a score is worse. In floats 0.97 - 0.96 is more than 0.01, and 1 pp would break "at most 1 pp"."""
    if metric.name == "accuracy":  # in whole samples
        return (
            round(reference.value * reference.samples) - round(estimate.value * estimate.samples)
        ) / estimate.samples
    lost = Decimal(repr(reference.value)) - Decimal(repr(estimate.value))
    return float(lost if metric.better == "higher" else -lost)


def _without_interval(answer: Estimate | str) -> Estimate | str:
    return answer if isinstance(answer, str) else answer.model_copy(update={"low": None, "high": None})


def _check_raw_values(row: Row, metric: str, estimate: Estimate) -> None:
    """A value must follow from the raw values that are kept beside it."""
    if metric.startswith(USER_PREFIX):
        follows = True  # raw outputs are not kept
    elif metric in _FROM_PREDICTIONS:
        follows = estimate.value <= 1 and estimate.samples == len(row.predictions)
    elif metric == "instructions":
        follows = bool(row.instructions) and estimate.value == min(row.instructions)
    elif metric == "size":
        follows = estimate.value == row.artifact.size_bytes
    elif row.processes:
        again = timings(row.processes, estimate.provenance) | memory(row.processes, estimate.provenance)
        follows = _without_interval(again.get(metric, estimate)) == _without_interval(estimate)
    else:
        follows = not METRICS[metric].on_target
    if not follows:
        raise Unmeasured("the value does not follow from the raw values beside it: the results are damaged")
