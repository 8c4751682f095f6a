"""How near a search comes to training everything, and at what cost, beside random search.

    python benchmarks/studies/search.py [FOLDER] [EPOCHS]

The example `fashion-mnist-search` has 24 recipes. Every one of them is trained in full and shortly, once, as many at
a time as there are cores; the latency budget is a tenth of the teacher's p90 as float32 TFLite, timed in the same
run. Then the search is replayed over what was recorded, in ten orders, and its front compared with that of all 24: by
hypervolume, within the limits on size and latency, which no training can change. Random search is given as much
training time, 1,000 times: over all recipes, and over those alone that the cheap rungs leave. Last, a search for what
cannot be: 4 kB and 0.1 points. A second run in the same FOLDER takes up what was trained and timed.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from project_copies import copy_example, edgecc, edit, finish

from edgecc import api
from edgecc.budget_search.front import hypervolume
from edgecc.budget_search.ladder import Ladder, Look
from edgecc.budget_search.limits import judged_budgets, objectives_of
from edgecc.budget_search.recipe import Recipe
from edgecc.budget_search.search import Search
from edgecc.budget_search.trial import as_values
from edgecc.cli.console import TerminalProgress
from edgecc.progress import Silent
from edgecc.project import ProjectFolder
from edgecc.search_outcome import Rung
from edgecc.units import Unit, format_value

EXAMPLE = "fashion-mnist-search"
ORDERS, DRAWS = 10, 1000
ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def main(folder: Path, epochs: int) -> None:
    project = folder / EXAMPLE
    if not project.exists():
        copy_example(EXAMPLE, folder)
        edit(project, "views = 4\nepochs = 8\n", f"views = 4\nepochs = {epochs}\n")
    finish(edgecc("compile", project, home=folder / "home"))
    opened = _with_latency_budget(api.open_project(project))
    _train_everything(project, len(_recipes(opened)))
    with _ladder(opened) as (ladder, judged):
        recipes = _recipes(opened)
        looks = {recipe.name: _looks(ladder, recipe) for recipe in recipes}
        _compare(opened, ladder, judged, recipes, looks)
    _impossible(opened)


def _with_latency_budget(opened: ProjectFolder) -> ProjectFolder:
    """A tenth of what the teacher takes here and now."""
    (row,) = api.bench(opened, variants=["float32"]).rows
    p90_s = row.estimates["latency.p90"].value
    print(f"teacher: {row.artifact.size_bytes / 1e3:.0f} kB, p90 {1e6 * p90_s:.1f} µs; budget {1e5 * p90_s:.2f} µs")
    return _with_limits(opened, {"latency.p90": f"{1e5 * p90_s:.3f} us"})


def _with_limits(opened: ProjectFolder, limits: dict[str, str]) -> ProjectFolder:
    budgets = [
        budget.model_copy(update={"max" if budget.max is not None else "max_drop": limits[budget.metric]})
        if budget.metric in limits
        else budget
        for budget in opened.project.budgets
    ]
    return opened.model_copy(update={"project": opened.project.model_copy(update={"budgets": tuple(budgets)})})


def _recipes(opened: ProjectFolder) -> list[Recipe]:
    section = opened.project.search
    assert section is not None
    (variant,) = section.open_variants(opened.project.emit.formats)
    names = [option.name for option in variant.options]
    grid = np.meshgrid(*(np.arange(option.values.count) for option in variant.options), indexing="ij")
    places = np.stack(grid, -1).reshape(-1, len(names)).astype(int)
    every = [option.values.every() for option in variant.options]
    return [
        Recipe.of(variant, {name: values[place] for name, values, place in zip(names, every, row, strict=True)})
        for row in places
    ]


def _train_everything(project: Path, count: int) -> None:
    """Fill the cache; a network this small trains no faster on several cores than on one."""
    os.environ.update(ONE_CORE)
    jobs = [(project, index, rung) for index in range(count) for rung in (Rung.FULL, Rung.SHORT)]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for number, done in enumerate(pool.map(_train, jobs), 1):
            print(f"{number} of {len(jobs)}: {done}", file=sys.stderr)


def _train(job: tuple[Path, int, Rung]) -> str:
    project, index, rung = job
    opened = api.open_project(project)
    recipe = _recipes(opened)[index]
    judged, _ = judged_budgets(opened.project, [])
    look = Ladder(opened, objectives_of(judged), [], {}, Silent(), api._run_artifact).look(recipe, rung)
    return f"{recipe.name} {rung} {sum(look.trainings_s.values()):.0f} s"


@contextmanager
def _ladder(opened: ProjectFolder) -> Iterator[tuple[Ladder, Any]]:
    name, spec = next(iter(opened.project.targets.items()))
    with api._open(name, spec) as target, TerminalProgress() as progress:
        judged, _ = judged_budgets(opened.project, [target])
        yield (
            Ladder(opened, objectives_of(judged), [target], {name: target.probe()}, progress, api._run_artifact),
            judged,
        )


def _looks(ladder: Ladder, recipe: Recipe) -> dict[Rung, Look]:
    return {rung: ladder.look(recipe, rung) for rung in Rung}


def _search(opened: ProjectFolder, ladder: Ladder, judged: Any, order: int) -> Search:
    project = opened.project.model_copy(update={"seed": order})
    assert project.search is not None
    search = Search(project, project.search, judged, ladder, Silent())
    search.run()
    return search


def _compare(
    opened: ProjectFolder, ladder: Ladder, judged: Any, recipes: Sequence[Recipe], looks: dict[str, dict[Rung, Look]]
) -> None:
    searches = [_search(opened, ladder, judged, order) for order in range(ORDERS)]
    objectives, limits = searches[0].objectives, searches[0].limits
    figures = {name: {**look[Rung.UNTRAINED].figures, **look[Rung.FULL].figures} for name, look in looks.items()}
    costs = [limit for limit in limits if not limit.objective.is_score]
    able = [
        name
        for name, own in figures.items()
        if all((limit.violation(own[limit.objective.key].value) or 0) <= 0 for limit in costs)
    ]
    values = as_values([figures[name] for name in able], objectives)
    ideal, worst = values.min(axis=0), values.max(axis=0)
    full_s = {name: sum(look[Rung.FULL].trainings_s.values()) for name, look in looks.items()}
    total_s, whole = sum(full_s.values()), hypervolume(values, ideal, worst)

    def reached(names: Sequence[str]) -> float:
        chosen = [able.index(name) for name in names if name in able]
        return hypervolume(values[chosen], ideal, worst) / whole

    _print_recipes(recipes, figures, full_s, objectives, limits)
    print(f"\n{len(able)} of {len(recipes)} within the limits on costs; training all: {total_s:.0f} s")
    rng = np.random.default_rng(0)
    for order, search in enumerate(searches):
        done = [trial.recipe.name for trial in search.trials if trial.is_done]
        plain, cheap = (
            [reached(_drawn(rng, names, full_s, search.training_s)) for _ in range(DRAWS)]
            for names in (list(looks), able)
        )
        print(
            f"order {order}: {len(done)} trained in full, {search.training_s / total_s:.1%} of the time, "
            f"{reached(done):.1%} of the hypervolume; random as long: {np.mean(plain):.1%} of all recipes "
            f"({np.percentile(plain, 5):.0%} to {np.percentile(plain, 95):.0%}), {np.mean(cheap):.1%} of the able ones "
            f"({np.percentile(cheap, 5):.0%} to {np.percentile(cheap, 95):.0%}); "
            f"within every budget: {', '.join(point.name for point in search.points() if point.meets) or 'none'}"
        )


def _drawn(rng: np.random.Generator, names: Sequence[str], full_s: dict[str, float], time_s: float) -> list[str]:
    """Recipes in an order of chance, as many as can be trained in that time; the last may run over."""
    order = [names[index] for index in rng.permutation(len(names))]
    spent = np.cumsum([full_s[name] for name in order])
    return order[: int(np.searchsorted(spent, time_s)) + 1]


def _print_recipes(recipes: Any, figures: Any, full_s: Any, objectives: Any, limits: Any) -> None:
    for recipe in recipes:
        own = figures[recipe.name]
        words = "  ".join(format_value(own[each.key].value, each.unit).rjust(9) for each in objectives)
        broken = [each.objective.key for each in limits if (each.violation(own[each.objective.key].value) or 0) > 0]
        chosen = " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in recipe.values.items())
        time_s = format_value(full_s[recipe.name], Unit.SECONDS)
        answer = f"breaks {', '.join(broken)}" if broken else "meets all"
        print(f"{recipe.name}  {chosen:34s}  {words}  {time_s:>7s}  {answer}")


def _impossible(opened: ProjectFolder) -> None:
    with _ladder(_with_limits(opened, {"size": "4 kB", "accuracy": "0.1 pp"})) as (ladder, judged):
        search = _search(opened, ladder, judged, 0)
    from edgecc.budget_search.answer import what_binds

    for binding in what_binds(search.points(), search.limits):
        print(f"\n4 kB and 0.1 pp: {binding.limit.objective.key} binds, best {binding.best:g} ({binding.point})")
    rungs = {str(trial.rung) for trial in search.trials}
    print(f"rungs reached: {', '.join(sorted(rungs))}; training: {search.training_s:.0f} s")


if __name__ == "__main__":
    work = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="edgecc-search-"))
    work.mkdir(parents=True, exist_ok=True)
    main(work.resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 8)
