"""What a search found as one self-contained page: it opens offline, on a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from edgecc.benchmarks.report import summary
from edgecc.benchmarks.report.history_plot import PALETTE
from edgecc.benchmarks.report.search_plot import Bound, Dot, Side, draw_search
from edgecc.benchmarks.report.search_summary import (
    RUNGS,
    binding_words,
    cheapest_first,
    cost_objectives,
    figure_words,
    has_emulated_times,
    headline,
    limit_name,
    limit_words,
    objective_name,
    recipe_words,
    score_objective,
    short_names,
    standing,
    why_no_further,
)
from edgecc.benchmarks.report.summary import plain
from edgecc.benchmarks.report.variant_toml import variant_toml
from edgecc.search_outcome import Objective, Point, Rung, SearchOutcome
from edgecc.units import Unit, format_value


@dataclass(frozen=True)
class RecipeRow:
    """One recipe as a table shows it."""

    name: str
    is_chosen: bool
    recipe: str
    reached: str
    figures: tuple[str, ...]
    """In the order of the objectives."""
    standing: str
    meets: bool
    why: str
    """Why it is not on the front."""
    toml: str


@dataclass(frozen=True)
class Figure:
    """Two objectives against each other."""

    title: str
    svg: str
    caption: str


def render_search(outcome: SearchOutcome) -> str:
    """The page. Nothing in it comes from or goes to a network.

    Raises:
        MissingExtraError: tomli_w is not installed.
    """
    from jinja2 import Environment as Templates
    from jinja2 import PackageLoader, StrictUndefined

    templates = Templates(
        loader=PackageLoader("edgecc.benchmarks.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judgement = outcome.judgement
    return templates.get_template("search.html.j2").render(
        project=plain(outcome.project),
        headline=headline(outcome),
        status=_status(outcome),
        bindings=[binding_words(binding) for binding in outcome.bindings],
        judgement=judgement,
        test_headline=None if judgement is None else summary.headline(judgement),
        verdicts=[] if judgement is None else [
            (verdict, summary.status_in_words(verdict), summary.judged(verdict)) for verdict in judgement.verdicts
        ],
        figures=_figures(outcome),
        legend=_legend(outcome),
        objectives=[objective_name(each) for each in outcome.objectives],
        front=_rows(cheapest_first(outcome.front, outcome), outcome),
        others=_rows([point for point in outcome.points if not point.on_front], outcome),
        footnote=summary.EMULATED_NOTE if has_emulated_times(outcome) else "",
        facts=_facts(outcome),
        left_out=[plain(note) for note in outcome.left_out],
    )  # fmt: skip


def _status(outcome: SearchOutcome) -> str:
    """The colour of the headline: what the test set says goes before what the validation data say."""
    if outcome.judgement is not None:
        return outcome.judgement.status
    return "pass" if outcome.chosen and not outcome.bindings else "fail"


def _rows(points: Sequence[Point], outcome: SearchOutcome) -> list[RecipeRow]:
    names = short_names(outcome)
    return [
        RecipeRow(
            name=plain(point.name),
            is_chosen=point.name in outcome.chosen.values(),
            recipe=recipe_words(point, names),
            reached=RUNGS[point.rung],
            figures=tuple(figure_words(point, each) for each in outcome.objectives),
            standing=standing(point, outcome),
            meets=point.meets,
            why=why_no_further(point),
            toml=variant_toml(point.name, point.table) if point.on_front else "",
        )
        for point in points
    ]


def _figures(outcome: SearchOutcome) -> list[Figure]:
    drawn = [_figure(*pair, outcome, f"plot{index}") for index, pair in enumerate(_pairs(outcome))]
    return [figure for figure in drawn if figure is not None]


def _pairs(outcome: SearchOutcome) -> list[tuple[Objective, Objective]]:
    """Each cost against the score; without a score, the first cost against the second."""
    score, costs = score_objective(outcome), cost_objectives(outcome)
    return list(pairwise(costs[:2])) if score is None else [(cost, score) for cost in costs]


def _figure(across: Objective, up: Objective, outcome: SearchOutcome, name: str) -> Figure | None:
    """None where no recipe has a value for both."""
    shown = [point for point in outcome.points if across.key in point.figures]
    dots = [_dot(point, across, up, outcome) for point in shown]
    if all(dot.y is None for dot in dots):
        return None
    title = f"{objective_name(up)} against {objective_name(across)}"
    words = f"{title} of {len(dots)} recipes; the tables below say the same."
    svg = draw_search(dots, _side(across, outcome), _side(up, outcome), name, title, words)
    return Figure(title, svg, _caption(dots, up, len(outcome.points)))


def _side(objective: Objective, outcome: SearchOutcome) -> Side:
    """The budgets at the same place are one line."""
    own = sorted(
        ((limit.bound, limit_words(limit)) for limit in outcome.limits
         if limit.objective.key == objective.key and limit.bound is not None),
    )  # fmt: skip
    bounds = [
        Bound(value, ", ".join(dict.fromkeys(words for _, words in same)))
        for value, same in groupby(own, key=lambda each: each[0])
    ]
    return Side(objective_name(objective), objective.unit, objective.better, bounds)


def _dot(point: Point, across: Objective, up: Objective, outcome: SearchOutcome) -> Dot:
    marked = outcome.chosen.values() or [each.point for each in outcome.bindings if each.others_met]
    return Dot(
        x=point.figures[across.key].value,
        y=point.figures[up.key].value if up.key in point.figures else None,
        colour=_groups(outcome).index(_group(point)),
        is_full=point.rung is Rung.FULL,
        on_front=point.on_front,
        name=plain(point.name) if point.name in marked else "",
        title=_told(point, outcome),
    )


def _told(point: Point, outcome: SearchOutcome) -> str:
    """What a pointer on a recipe is told, in lines."""
    figures = [f"{objective_name(each)}: {figure_words(point, each)}" for each in outcome.objectives]
    in_full = {option: option for option in point.values}
    answer = standing(point, outcome) if point.on_front else why_no_further(point)
    return "\n".join([f"{plain(point.name)}: {RUNGS[point.rung]}", recipe_words(point, in_full), *figures, answer])


def _caption(dots: Sequence[Dot], up: Objective, count: int) -> str:
    parts = {
        "Filled: trained in full, and pale where another is as good in everything and better in something.": any(
            dot.is_full for dot in dots
        ),
        "Hollow: not trained in full.": any(not dot.is_full and dot.y is not None for dot in dots),
        f"Ticks at the bottom: no {objective_name(up)}.": any(dot.y is None for dot in dots),
        "Line: the front in these two.": sum(dot.on_front for dot in dots) > 1,
        "Ring: chosen, or nearest to the budgets.": any(dot.name for dot in dots),
        "Shaded: beyond a budget.": True,
        f"Not shown: {count - len(dots)} without a value.": len(dots) < count,
    }
    return " ".join(words for words, is_so in parts.items() if is_so)


def _group(point: Point) -> tuple[str, str]:
    return point.open_variant, point.format


def _groups(outcome: SearchOutcome) -> list[tuple[str, str]]:
    """What has a colour of its own."""
    return list(dict.fromkeys(map(_group, outcome.points)))


def _legend(outcome: SearchOutcome) -> list[tuple[str, str]]:
    """Colour and name; empty where there is one alone."""
    groups = _groups(outcome)
    if len(groups) < 2:
        return []
    return [(PALETTE[index % len(PALETTE)], plain(f"{name} ({format})")) for index, (name, format) in enumerate(groups)]


def _facts(outcome: SearchOutcome) -> dict[str, str]:
    """How the search went, by name."""
    rungs = [point.rung for point in outcome.points]
    return {
        "recipes": ", ".join(f"{rungs.count(rung)} {words}" for rung, words in RUNGS.items()),
        "budgets": "; ".join(map(limit_name, outcome.limits)) or "none",
        "stopped because": plain(outcome.stopped),
        "started": plain(outcome.started_at),
        "took": _long_time(outcome.duration_s),
        "training": _long_time(outcome.training_s),
        "seed": str(outcome.seed),
        "edgecc": plain(outcome.edgecc_version),
    }


def _long_time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return format_value(seconds, Unit.SECONDS)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
