"""The gate: budgets judged on results, fail closed. It reads, and measures nothing.

Limits are inclusive, and values are compared as they were measured, never as they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from edgecc.benchmarks import regression
from edgecc.benchmarks.baseline import Baseline
from edgecc.benchmarks.built import Built
from edgecc.benchmarks.evidence import Case, Evidence, Observation, Unmeasured
from edgecc.budget import Budget
from edgecc.errors import ArtifactError, ExitCode
from edgecc.metrics import Ability
from edgecc.project import Project
from edgecc.results import Judgement, Ratio, Results, Status, Verdict
from edgecc.units import Unit, format_points, format_value

_EXIT_CODES = {
    Status.PASS: ExitCode.PASSED,
    Status.FAIL: ExitCode.BUDGET_BROKEN,
    Status.INCONCLUSIVE: ExitCode.UNDECIDED,
    Status.UNMEASURED: ExitCode.UNDECIDED,
}

_MOST_EXTRA_DIGITS = 10
"""Beyond these, scaling to ms or kB rounds as well, and the value is shown as it is kept."""


def judge(
    project: Project,
    results: Results,
    built: Built,
    baseline: Baseline | None = None,
    abilities: Mapping[str, Set[Ability]] | None = None,
) -> Judgement:
    """Judge every budget of the project on every artifact and target it speaks of.

    Raises:
        ArtifactError: the results are another project's.
    """
    if results.project != project.name:
        raise ArtifactError(
            f"expected the results of the project {project.name}; got those of {results.project}",
            hint="edgecc bench measures this project",
        )
    evidence = Evidence(project, results, built, baseline, abilities or {})
    verdicts: list[Verdict] = []
    left_out: list[str] = []
    for budget in project.budgets:
        cases = list(evidence.cases(budget))
        verdicts += [_verdict_on(case, evidence) for case in cases] or [_nothing_judged(budget, project)]
        left_out += [f"{budget.metric} on {name}: {reason}" for name, reason in evidence.left_out(budget).items()]
    return Judgement(
        run_id=results.run_id,
        project=project.name,
        verdicts=tuple(verdicts),
        left_out=tuple(dict.fromkeys(left_out)),
    )


def exit_code(judgement: Judgement) -> ExitCode:
    """What a CI is told: 0 passed, 1 a budget is broken, 3 inconclusive or unmeasured."""
    return _EXIT_CODES[judgement.status]


def _verdict_on(case: Case, evidence: Evidence) -> Verdict:
    try:
        observation = evidence.observe(case)
    except Unmeasured as error:
        return _verdict(case, Status.UNMEASURED, "unmeasured", None, f"unmeasured: {error}")
    return _compare(case, observation)


def _compare(case: Case, observation: Observation) -> Verdict:
    budget, value = case.budget, observation.value
    if observation.ratio is not None:
        return _compare_ratio(case, observation, observation.ratio)
    kept = value >= budget.limit if budget.min is not None else value <= budget.limit
    observed = _telling_apart(budget, value)
    note = f" ({observation.note})" if observation.note else ""
    words = f"{observed}{note}, {'within' if kept else 'which breaks'} the budget of {budget.in_words()}"
    return _verdict(case, Status.PASS if kept else Status.FAIL, observed, value, words)


def _compare_ratio(case: Case, observation: Observation, ratio: Ratio) -> Verdict:
    """A regression that was measured side by side: it is known only where the whole interval lies on one side."""
    budget = case.budget
    status = regression.judge(budget.metric, ratio, budget.limit)
    worse = regression.worsening(budget.metric, ratio)
    low, high = (f"{end - 1:+.2%}" for end in (worse.low, worse.high))
    observed = f"{observation.value:+.2%} ({low} to {high})"
    answers = {
        Status.PASS: "within the budget of",
        Status.FAIL: "which breaks the budget of",
        Status.INCONCLUSIVE: "which leaves open the budget of",
    }
    seen = f"{observation.note}; a change of {worse.visible:.2%} could have been seen"
    words = f"{observed} ({seen}), {answers[status]} {budget.in_words()}"
    if status is Status.INCONCLUSIVE:
        words += "; a longer [bench] pair_time_limit or a quieter target decides it"
    return _verdict(case, status, observed, observation.value, words)


def _verdict(case: Case, status: Status, observed: str, value: float | None, words: str) -> Verdict:
    what = case.budget.metric
    if case.budget.max_drop is not None:
        what += " loss" if case.budget.is_users else " drop"
    if case.budget.max_regression is not None:
        what += " regression"
    return Verdict(
        status=status,
        severity=case.budget.severity,
        metric=case.budget.metric,
        variant=case.variant,
        format=case.format,
        target=case.target,
        limit=case.budget.in_words(),
        observed=observed,
        observed_value=value,
        limit_value=case.budget.limit,
        reason=f"{case.name}: {what} {words}.",
    )


def _nothing_judged(budget: Budget, project: Project) -> Verdict:
    """A budget that speaks of nothing would pass for ever."""
    return Verdict(
        status=Status.UNMEASURED,
        severity=budget.severity,
        metric=budget.metric,
        variant=budget.variant or ", ".join(project.shipped),
        format=budget.format,
        target=budget.target,
        limit=budget.in_words(),
        observed="unmeasured",
        observed_value=None,
        limit_value=budget.limit,
        reason=f"{budget.metric} {budget.in_words()}: unmeasured: the budget judges no artifact on any target.",
    )


def _telling_apart(budget: Budget, value: float) -> str:
    """The value with as many digits as it takes to see on which side of the limit it lies."""
    if value == budget.limit:
        return str(budget.written).strip()
    unit = budget.limit_unit

    def show(number: float, extra_digits: int) -> str:
        if budget.loses_points:
            return format_points(number, extra_digits)
        return format_value(number, unit, extra_digits)

    enough = (extra for extra in range(_MOST_EXTRA_DIGITS) if show(value, extra) != show(budget.limit, extra))
    digits = next(enough, None)
    if digits is not None:
        return show(value, digits)
    return repr(value) if unit is Unit.NUMBER else f"{value!r} {unit}"
