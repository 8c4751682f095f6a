"""Which of a project's budgets a search can judge, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from edgecc.artifact import Format
from edgecc.budget import Budget
from edgecc.metrics import USER_PREFIX, Metric
from edgecc.project import Project
from edgecc.results import Estimate
from edgecc.search_outcome import Objective, SearchLimit
from edgecc.targets.target import Target


@dataclass(frozen=True)
class JudgedBudget:
    """A budget on one target."""

    budget: Budget
    objective: Objective

    def limit(self, references: Mapping[str, float]) -> SearchLimit:
        """The limit in numbers, as far as they are known: by variant, the scores that losses are taken from."""
        budget, objective = self.budget, self.objective
        limit = SearchLimit(
            objective=objective,
            bound=budget.limit,
            words=budget.in_words(),
            target=budget.target,
            format=budget.format,
        )
        if budget.max_drop is None:
            return limit
        reference = references.get(budget.reference)
        bound = None if reference is None else _worse(reference, objective.less_is_better(budget.limit))
        loss = {"bound": bound, "reference": reference, "reference_variant": budget.reference}
        return limit.model_copy(update=loss)


def _worse(reference: float, loss: float) -> float:
    # In floats 0.13 - 0.01 is more than 0.12, which would break "at most 1 pp".
    return float(Decimal(repr(reference)) + Decimal(repr(loss)))


def judged_budgets(project: Project, targets: Sequence[Target]) -> tuple[list[JudgedBudget], list[str]]:
    """The budgets that recipes are judged by, and why the others are left out, in sentences."""
    judged: list[JudgedBudget] = []
    left_out = []
    for budget in project.budgets:
        why = _why_not(budget, project)
        found = [] if why else list(_on_targets(budget, project.all_metrics[budget.metric], targets))
        judged += found
        if not found:
            words = why or "no target can measure it as the search would need it"
            left_out.append(f"{budget.metric} {budget.in_words()}: {words}.")
    return judged, left_out


def _why_not(budget: Budget, project: Project) -> str | None:
    if budget.severity == "warn":
        return "it only warns"
    if budget.variant is not None:
        return f"it judges the variant {budget.variant} alone"
    if budget.max_regression is not None:
        return "a recipe that was never released has no baseline"
    if budget.metric == "agreement.top1":
        return "it is judged at the end, on the test set"
    if budget.metric.startswith(USER_PREFIX) and budget.metric != f"{USER_PREFIX}{next(iter(project.metrics))}":
        return "only the first metric of your own is scored on validation data"
    return None


def _on_targets(budget: Budget, metric: Metric, targets: Iterable[Target]) -> Iterator[JudgedBudget]:
    def judged(target: str | None) -> JudgedBudget:
        return JudgedBudget(budget, without_target.model_copy(update={"target": target}))

    without_target = Objective(metric=metric.name, target=None, unit=metric.unit, better=metric.better)
    if metric.ability is None or without_target.is_score:
        yield judged(None)
        return
    for target in targets:
        is_meant = budget.target in (None, target.name) and metric.ability in target.abilities
        if is_meant and not (target.emulated and metric.device_only and not budget.emulated):
            yield judged(target.name)


def objectives_of(judged: Iterable[JudgedBudget]) -> tuple[Objective, ...]:
    """What the front is drawn over: each limited metric once."""
    return tuple({each.objective.key: each.objective for each in judged}.values())


def limit_name(limit: SearchLimit) -> str:
    """Such as `latency.p90@host at most 1 ms`."""
    return f"{limit.objective.key} {limit.words}"


def violations(
    figures: Mapping[str, Estimate], format: Format, limits: Iterable[SearchLimit]
) -> dict[str, float | None]:
    """By how much a recipe breaks each limit that judges its format, by the limit's name; None where nobody knows."""
    found: dict[str, float | None] = {}
    for limit in limits:
        if limit.format in (None, format):
            figure = figures.get(limit.objective.key)
            found[limit_name(limit)] = None if figure is None else limit.violation(figure.value)
    return found
