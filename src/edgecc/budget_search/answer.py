"""What a search comes to: which recipe is chosen for each target, and else which budgets stand in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgecc.budget_search.limits import limit_name, violations
from edgecc.results import Estimate
from edgecc.search_outcome import Binding, Objective, Point, Rung, SearchLimit


def chosen_by_target(points: Sequence[Point], limits: Sequence[SearchLimit], targets: Iterable[str]) -> dict[str, str]:
    """For each target the recipe with the best score of those within all budgets there; of equals, the cheapest.

    Budgets on other targets do not speak of it.
    """
    chosen = {}
    for target in targets:
        here = [limit for limit in limits if limit.is_for(target)]
        fit = [point for point in points if meets(point, here)]
        objectives = list({limit.objective.key: limit.objective for limit in here}.values())
        if fit and objectives:
            chosen[target] = min(fit, key=lambda point: _goodness(point, objectives)).name
    return chosen


def _goodness(point: Point, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Scores first, then costs in the order of the budgets; less is better."""
    ordered = sorted(objectives, key=lambda objective: not objective.is_score)
    return tuple(objective.less_is_better(point.figures[objective.key].value) for objective in ordered)


def meets(point: Point, limits: Sequence[SearchLimit]) -> bool:
    """Whether a recipe is trained in full, and known to be within every limit that judges it."""
    known = violations(point.figures, point.format, limits)
    return point.rung is Rung.FULL and all(each is not None and each <= 0 for each in known.values())


def what_binds(points: Sequence[Point], limits: Sequence[SearchLimit]) -> tuple[Binding, ...]:
    """The budgets that no recipe meets beside all others, and what each would have to be.

    A budget alone is in the way where some recipe meets all others. Where there is none, those are told that no recipe
    at all meets, or else those that the recipe breaks which comes nearest to meeting all of them.
    """
    alone = [binding for limit in limits if (binding := _alone(limit, points, limits)) is not None]
    if alone:
        return tuple(alone)
    hopeless = [limit for limit in limits if _is_hopeless(limit, points)]
    breaking = [point for point in points if _worst_violation(point, limits)[1] > 0]
    if not hopeless and breaking:
        nearest = min(breaking, key=lambda point: _worst_violation(point, limits))
        known = _known(nearest, limits)
        broken = {name for name, violation in known.items() if violation is not None and violation > 0}
        hopeless = [limit for limit in limits if limit_name(limit) in broken]
    return tuple(_best(limit, points, others_met=False) for limit in hopeless)


def _alone(limit: SearchLimit, points: Sequence[Point], limits: Sequence[SearchLimit]) -> Binding | None:
    others = [other for other in limits if other is not limit]
    able = [point for point in points if meets(point, others) and limit.objective.key in point.figures]
    return _best(limit, able, others_met=True) if able else None


def _is_hopeless(limit: SearchLimit, points: Sequence[Point]) -> bool:
    known = [each for point in points for each in _known(point, [limit]).values()]
    told = [violation for violation in known if violation is not None]
    return bool(told) and min(told) > 0


def _known(point: Point, limits: Sequence[SearchLimit]) -> dict[str, float | None]:
    return violations(_telling(point, limits), point.format, limits)


def _telling(point: Point, limits: Sequence[SearchLimit]) -> Mapping[str, Estimate]:
    """Its figures without the scores of a short training, which do not tell what it would be in full."""
    scores = {limit.objective.key for limit in limits if limit.objective.is_score and point.rung is not Rung.FULL}
    return {key: figure for key, figure in point.figures.items() if key not in scores}


def _worst_violation(point: Point, limits: Sequence[SearchLimit]) -> tuple[int, float]:
    """Recipes of which more is known come first."""
    known = list(_known(point, limits).values())
    return known.count(None), max((each for each in known if each is not None), default=0.0)


def _best(limit: SearchLimit, points: Sequence[Point], *, others_met: bool) -> Binding:
    key = limit.objective.key
    values: Mapping[str, float] = {
        point.name: limit.objective.less_is_better(figures[key].value)
        for point in points
        if key in (figures := _telling(point, [limit])) and limit.format in (None, point.format)
    }
    if not values:
        return Binding(limit=limit, best=None, point=None, others_met=others_met)
    name = min(values, key=lambda each: values[each])
    best = next(point.figures[key].value for point in points if point.name == name)
    return Binding(limit=limit, best=best, point=name, others_met=others_met)
