"""What the reports of a search say, in words: the page and the terminal show these, so they cannot disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgecc.benchmarks.report.needed_budget import needed_budget
from edgecc.benchmarks.report.summary import EMULATED_MARK, NOTHING, plain
from edgecc.metrics import METRICS
from edgecc.results import Provenance
from edgecc.search_outcome import Binding, Objective, Point, Rung, SearchLimit, SearchOutcome
from edgecc.units import format_value

RUNGS = {Rung.UNTRAINED: "untrained", Rung.SHORT: "trained shortly", Rung.FULL: "trained in full"}
_MOST_EXTRA_DIGITS = 6


def score_objective(outcome: SearchOutcome) -> Objective | None:
    """The first that is a score."""
    return next((each for each in outcome.objectives if each.is_score), None)


def cost_objectives(outcome: SearchOutcome) -> list[Objective]:
    """All but `score_objective`."""
    return [each for each in outcome.objectives if each != score_objective(outcome)]


def cheapest_first(points: Sequence[Point], outcome: SearchOutcome) -> list[Point]:
    """Points in the order of the first cost; where there is none, of the only objective."""
    first = next(iter([*cost_objectives(outcome), *outcome.objectives]), None)
    return list(points) if first is None else sorted(points, key=lambda point: less_is_better(point, first))


def less_is_better(point: Point, objective: Objective) -> float:
    """The value, with its sign changed where more is better; infinite where there is none."""
    figure = point.figures.get(objective.key)
    return math.inf if figure is None else objective.less_is_better(figure.value)


def objective_name(objective: Objective) -> str:
    """Such as `latency.p90 on host`."""
    return plain(objective.metric if objective.target is None else f"{objective.metric} on {objective.target}")


def limit_name(limit: SearchLimit) -> str:
    """Such as `latency.p90 at most 2 ms on host`."""
    where = "" if limit.objective.target is None else f" on {limit.objective.target}"
    return plain(f"{limit.objective.metric} {limit_words(limit)}{where}")


def limit_words(limit: SearchLimit) -> str:
    """The budget without its metric, and with the format that it judges, where it judges one only."""
    return plain(limit.words if limit.format is None else f"{limit.words} ({limit.format})")


def figure_words(point: Point, objective: Objective) -> str:
    """A recipe's value; emulated times are marked."""
    figure = point.figures.get(objective.key)
    if figure is None:
        return NOTHING
    device_only = objective.metric in METRICS and METRICS[objective.metric].device_only
    is_emulated = device_only and figure.provenance is Provenance.EMULATED
    return format_value(figure.value, objective.unit) + (EMULATED_MARK if is_emulated else "")


def has_emulated_times(outcome: SearchOutcome) -> bool:
    """Whether some value is marked."""
    return any(figure_words(p, each).endswith(EMULATED_MARK) for p in outcome.points for each in outcome.objectives)


def recipe_words(point: Point, names: Mapping[str, str]) -> str:
    """What was chosen, such as `width=16, sparsity=0.5`: lines break after commas alone.

    Args:
        point: the recipe.
        names: what each option is called here.
    """
    return plain(", ".join(f"{names[option]}={_value_words(value)}" for option, value in point.values.items()))


def short_names(outcome: SearchOutcome) -> dict[str, str]:
    """Of every option the last part of its name, or all of it where others end in the same."""
    options = dict.fromkeys(option for point in outcome.points for option in point.values)
    lasts = [option.rpartition(".")[2] for option in options]
    return {option: last if lasts.count(last) == 1 else option for option, last in zip(options, lasts, strict=True)}


def _value_words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}={_value_words(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return _value_words(value[0]) if len(value) == 1 else f"[{', '.join(map(_value_words, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def broken_limits(point: Point, outcome: SearchOutcome) -> list[SearchLimit]:
    """The limits that a recipe is known to break."""
    judging = [limit for limit in outcome.limits if limit.format in (None, point.format)]
    return [limit for limit in judging if _breaks(point, limit)]


def _breaks(point: Point, limit: SearchLimit) -> bool:
    figure = point.figures.get(limit.objective.key)
    violation = None if figure is None else limit.violation(figure.value)
    return violation is not None and violation > 0


def standing(point: Point, outcome: SearchOutcome) -> str:
    """Whether a recipe that was trained meets the budgets, or which ones it breaks."""
    if point.meets:
        return "meets all"
    broken = dict.fromkeys(objective_name(limit.objective) for limit in broken_limits(point, outcome))
    return f"breaks {', '.join(broken)}" if broken else "not known"


def why_no_further(point: Point) -> str:
    """Why a recipe is not on the front."""
    if point.ruled_out is not None:
        return plain(point.ruled_out)
    if point.rung is Rung.FULL:
        return "another is as good in everything and better in something"
    return "the search stopped before"


def answers(outcome: SearchOutcome) -> list[str]:
    """A sentence for each recipe that was chosen, and one for what none was found for."""
    if not outcome.chosen:
        return [f"{_nothing_meets(outcome)}."]
    found = [
        f"{_chosen(name, targets)}: {_figures_on(outcome.point(name), targets, outcome)}."
        for name, targets in _targets_by_choice(outcome).items()
    ]
    without = targets_without(outcome)
    return [*found, *([plain(f"No recipe meets every budget on {joined(without)}.")] if without else [])]


def targets_without(outcome: SearchOutcome) -> list[str]:
    """The targets that budgets speak of, and that no recipe was chosen for."""
    named = dict.fromkeys(limit.objective.target for limit in outcome.limits)
    return [target for target in named if target is not None and target not in outcome.chosen]


def _targets_by_choice(outcome: SearchOutcome) -> dict[str, list[str]]:
    by_choice: dict[str, list[str]] = {}
    for target, name in outcome.chosen.items():
        by_choice.setdefault(name, []).append(target)
    return by_choice


def _chosen(name: str, targets: Sequence[str]) -> str:
    return plain(f"{name} meets every budget on {joined(targets)}")


def _figures_on(point: Point, targets: Sequence[str], outcome: SearchOutcome) -> str:
    here = [each for each in outcome.objectives if each.target is None or each.target in targets]
    return ", ".join(f"{objective_name(each)} {figure_words(point, each)}" for each in here)


def binding_words(binding: Binding) -> str:
    """A sentence on a budget that is in the way: how near the best comes, and what the budget would have to be."""
    name, best = limit_name(binding.limit), binding.best
    if best is None:
        return f"{name}: no recipe has a value."
    point, value = plain(str(binding.point)), _told_apart(binding.limit, best)
    if (binding.limit.violation(best) or 0.0) <= 0:
        return f"{name}: {point} keeps it with {value}, but no recipe keeps it together with the others."
    nearest = f"{point} comes nearest with {value}"
    if binding.others_met:
        nearest = f"of the recipes that meet all other budgets, {nearest}"
    else:
        nearest = f"no recipe meets it; {nearest}"
    return f"{name}: {nearest}. It would have to be {needed_budget(binding.limit, best)}."


def _told_apart(limit: SearchLimit, value: float) -> str:
    """The value with as many digits as it takes to see on which side of the limit it lies."""
    unit, bound = limit.objective.unit, limit.bound
    if bound is None or value == bound:
        return format_value(value, unit)
    shown = (
        (format_value(value, unit, extra), format_value(bound, unit, extra)) for extra in range(_MOST_EXTRA_DIGITS)
    )
    return next((own for own, other in shown if own != other), repr(value))


def headline(outcome: SearchOutcome) -> str:
    """What came out, in one sentence."""
    found = [_chosen(name, targets) for name, targets in _targets_by_choice(outcome).items()]
    if found:
        without = targets_without(outcome)
        return "; ".join([*found, *([plain(f"no recipe does on {joined(without)}")] if without else [])]) + "."
    ways = _ways_out(outcome.bindings)
    return f"{_nothing_meets(outcome)}{': ' if ways else ''}{ways}."


def _nothing_meets(outcome: SearchOutcome) -> str:
    count = len(outcome.points)
    return f"{'The one recipe does not meet' if count == 1 else f'None of {count} recipes meets'} every budget"


def _ways_out(bindings: Sequence[Binding]) -> str:
    """What the budgets would have to be: any one of them where each is alone in the way, or else all of them."""
    ways = [
        f"{limit_name(each.limit)} would have to be {needed_budget(each.limit, each.best)}"
        for each in bindings
        if each.best is not None and (each.limit.violation(each.best) or 0.0) > 0
    ]
    return (", or " if any(each.others_met for each in bindings) else ", and ").join(ways)


def joined(names: Sequence[str]) -> str:
    """Such as `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
