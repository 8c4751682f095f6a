"""From a project to a search's outcome."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from edgecc.artifact import ArtifactRunner
from edgecc.budget_search.answer import chosen_by_target, what_binds
from edgecc.budget_search.confirm import confirm
from edgecc.budget_search.ladder import Ladder
from edgecc.budget_search.limits import judged_budgets, objectives_of
from edgecc.budget_search.search import Search
from edgecc.errors import Fault, MissingExtraError, ProjectError
from edgecc.metrics import Ability
from edgecc.progress import Progress
from edgecc.project import ProjectFolder
from edgecc.search_outcome import SearchOutcome
from edgecc.targets.target import Target


def search_project(
    folder: ProjectFolder,
    targets: Sequence[Target],
    abilities: Mapping[str, frozenset[Ability]],
    *,
    progress: Progress,
    run_artifact: ArtifactRunner,
) -> SearchOutcome:
    """Look for recipes that meet the project's budgets, and measure the best of them on the test set.

    Args:
        folder: a project with a `[search]`.
        targets: all of the project's, open; the caller closes them.
        abilities: of the targets, by name.
        progress: where to report.
        run_artifact: runs an artifact here.

    Raises:
        ProjectError: there is no `[search]`.
        MissingExtraError: a library that is needed in the end is not there.
        TargetError: a target that a budget speaks of does not answer.
        EdgeccError: no recipe could be made, or something is wrong that no other recipe would cure.
    """
    project, section = folder.project, folder.project.search
    if section is None:
        fault = Fault("search", "a table with what may be chosen", "nothing")
        raise ProjectError(str(folder.file), [fault], hint="docs/search.md shows one")
    _check_libraries()
    started_at, start = datetime.now(UTC), time.monotonic()
    judged, left_out = judged_budgets(project, targets)
    objectives = objectives_of(judged)
    wanted = {each.target for each in objectives}
    environments = {target.name: target.probe() for target in targets if target.name in wanted}
    ladder = Ladder(folder, objectives, targets, environments, progress, run_artifact)
    search = Search(project, section, judged, ladder, progress)
    search.run()
    points, limits = search.points(), search.limits
    names = chosen_by_target(points, limits, list(project.targets))
    by_name = {point.name: point for point in points}
    without = [target for target in project.targets if target not in names]
    chosen = {target: by_name[name] for target, name in names.items()}
    return SearchOutcome(
        project=project.name,
        edgecc_version=importlib.metadata.version("edgecc"),
        seed=project.seed,
        started_at=started_at.isoformat(timespec="seconds"),
        training_s=search.training_s,
        objectives=objectives,
        limits=limits,
        left_out=tuple(left_out),
        points=points,
        stopped=search.stopped,
        chosen=names,
        bindings=what_binds(points, [each for each in limits if any(map(each.is_for, without))]) if without else (),
        judgement=(
            confirm(folder, chosen, targets, abilities, progress=progress, run_artifact=run_artifact)
            if chosen
            else None
        ),
        duration_s=time.monotonic() - start,
    )


def _check_libraries() -> None:
    """Before hours of training, rather than after them."""
    for module, library in (("moocore", "moocore"), ("optuna", "Optuna"), ("tomli_w", "tomli-w")):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(needed_by="the search", library=library, extra="search")
