"""What was chosen, published and measured as the project says: the only time that the test set is looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgecc.artifact import ArtifactRunner, Format
from edgecc.benchmarks.built import built_now
from edgecc.benchmarks.gate import judge
from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import plan_project
from edgecc.compiler.compile import compile_project
from edgecc.metrics import Ability
from edgecc.progress import Progress
from edgecc.project import Project, ProjectFolder
from edgecc.results import Judgement
from edgecc.search_outcome import Point
from edgecc.targets.target import Target
from edgecc.variant import SUPPORTED_QUANTIZATION, VariantSection


def confirm(
    folder: ProjectFolder,
    chosen: Mapping[str, Point],
    targets: Sequence[Target],
    abilities: Mapping[str, frozenset[Ability]],
    *,
    progress: Progress,
    run_artifact: ArtifactRunner,
) -> Judgement:
    """Compile what was chosen into the build folder, bench it and judge it by the project's budgets.

    Args:
        folder: the project.
        chosen: by target, the recipe that was chosen for it, and is judged on no other.
        targets: all that are measured on.
        abilities: of the targets, by name.
        progress: where to report.
        run_artifact: runs an artifact here.

    Raises:
        EdgeccError: something could not be built or measured.
    """
    project = _with_chosen(folder.project, {point.name: point for point in chosen.values()}.values())
    derived = folder.model_copy(update={"project": project})
    emitted = project.with_steps(project.emitted())
    compile_project(derived, list(project.emitted()), progress=progress, run_artifact=run_artifact)
    results = measure(plan_project(derived, emitted), targets, progress)
    judgement = judge(project, results, built_now(derived), None, abilities)
    names = {target: point.name for target, point in chosen.items()}
    meant = [each for each in judgement.verdicts if each.target is None or names.get(each.target) == each.variant]
    return judgement.model_copy(update={"verdicts": tuple(meant)})


def _with_chosen(project: Project, chosen: Collection[Point]) -> Project:
    """The project with the recipes as the variants that ship, beside those that they are compared with."""
    budgets = tuple(each for each in project.budgets if each.variant is None and each.max_regression is None)
    sections = {point.name: VariantSection.model_validate(point.table) for point in chosen}
    compared = {each.reference for each in budgets if each.max_drop is not None} | {project.reference_variant}
    formats = tuple(dict.fromkeys(point.format for point in chosen))
    others = {
        name: section.model_copy(update={"formats": _formats(project, name, formats)})
        for name, section in project.variants.items()
        if name in compared
    }
    changed = {"variants": others | sections, "ship": tuple(sections), "budgets": budgets, "search": None}
    return project.model_copy(update=changed)


def _formats(project: Project, variant: str, wanted: Collection[Format]) -> tuple[Format, ...]:
    """Its own, and those that are wanted where it can be emitted so: a loss is taken from the same format."""
    quantize = project.variants[variant].quantize
    able = [each for each in wanted if quantize is None or quantize.scheme in SUPPORTED_QUANTIZATION[each]]
    return tuple(dict.fromkeys([*project.formats_of(variant), *able]))
