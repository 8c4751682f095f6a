"""The rungs a recipe climbs: built untrained, trained shortly, trained in full, and measured on each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import ValidationError

from edgecc.artifact import ArtifactRunner
from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan, Subject
from edgecc.benchmarks.statistics import timings
from edgecc.budget_search.recipe import Recipe
from edgecc.compiler.candidate import Candidate, make_candidate
from edgecc.errors import ArtifactError, DataError, TargetError
from edgecc.files import sha256_of_json, write_atomically
from edgecc.progress import Progress
from edgecc.project import BenchSection, Project, ProjectFolder, VerifySection
from edgecc.results import MOMENTARY, Environment, Estimate, FailureKind, Row
from edgecc.search_outcome import Objective, Rung
from edgecc.targets.target import Target

PROCESSES = 5
"""Fresh processes that time a recipe, and more where a percentile needs them; what is chosen in the end is measured as
the project says."""
_UNCHECKED = VerifySection(samples=100).model_copy(update={"min_agreement_float": 0.0, "min_agreement_quantized": 0.0})
"""Numbers that were never trained, or hardly, need not survive quantization."""


@dataclass(frozen=True)
class Look:
    """What one rung tells of a recipe."""

    figures: Mapping[str, Estimate]
    """By `Objective.key`."""
    parameters: int | None
    operators: int
    trainings_s: Mapping[str, float]
    """By the sha256 of what was trained."""


@dataclass(frozen=True)
class Ladder:
    """Makes recipes and measures them, each thing once: what is made is in the stage cache, what is timed is kept."""

    folder: ProjectFolder
    objectives: Sequence[Objective]
    targets: Sequence[Target]
    environments: Mapping[str, Environment]
    """Of each target, by its name."""
    progress: Progress
    run_artifact: ArtifactRunner

    def look(self, recipe: Recipe, rung: Rung) -> Look:
        """Make a recipe as far as a rung goes, and measure all that can be known of it there.

        Raises:
            EdgeccError: it cannot be made, or not be run on a target.
            DataError: a budget limits a score that validation data do not have.
            TargetError: a target was lost, or does not measure what a budget limits.
        """
        candidate = make_candidate(
            self._folder(recipe, rung), recipe.name, recipe.format,
            evaluate=rung is not Rung.UNTRAINED, progress=self.progress, run_artifact=self.run_artifact,
        )  # fmt: skip
        # Weights do not change how long an inference takes; what is trained in full is measured all the same.
        rows = self._rows(recipe.name, candidate) if rung is not Rung.SHORT else {}
        figures = {
            each.key: figure for each in self.objectives if (figure := _figure(each, candidate, rows)) is not None
        }
        return Look(figures, candidate.parameters, candidate.operators, candidate.trainings_s)

    def score(self, variant: str, metric: str) -> float:
        """The score of one of the project's own variants on validation data, in its first format.

        Raises:
            EdgeccError: it cannot be made.
            DataError: this is not what validation data are scored by.
        """
        format = self.folder.project.formats_of(variant)[0]
        candidate = make_candidate(
            self.folder, variant, format, evaluate=True, progress=self.progress, run_artifact=self.run_artifact
        )
        return _score(candidate, metric)

    def _folder(self, recipe: Recipe, rung: Rung) -> ProjectFolder:
        project: Project = self.folder.project
        changed: dict[str, object] = {
            "variants": {recipe.name: recipe.at(rung, project.train, self._short)}, "budgets": (), "ship": None,
        }  # fmt: skip
        if rung is not Rung.FULL:
            changed["verify"] = _UNCHECKED
        if rung is Rung.UNTRAINED and not recipe.shape_depends_on_weights:
            changed["train"] = project.train.model_copy(update={"epochs": 0})
        return self.folder.model_copy(update={"project": project.model_copy(update=changed)})

    @property
    def _short(self) -> float:
        search = self.folder.project.search
        return 1.0 if search is None else search.short

    def _rows(self, name: str, candidate: Candidate) -> dict[str, Row]:
        wanted = {each.target for each in self.objectives}
        return {target.name: self._row(name, candidate, target) for target in self.targets if target.name in wanted}

    def _row(self, name: str, candidate: Candidate, target: Target) -> Row:
        kept = self._kept(candidate, target)
        row = _read(kept)
        if row is not None and all(each.metric in row.estimates for each in self._objectives_on(target)):
            return row
        row = self._measured(name, candidate, target)
        if row.failure is not None:
            lost = row.failure.kind is FailureKind.TARGET_LOST
            kind = TargetError if lost else ArtifactError
            raise kind(f"on {target.name}: {row.failure.kind.replace('_', ' ')}: {row.failure.message}")
        write_atomically(kept, row.model_dump_json())
        return row

    def _measured(self, name: str, candidate: Candidate, target: Target) -> Row:
        project = self.folder.project
        plan = BenchPlan(
            project=project.name,
            subjects=(Subject(name, candidate.path, candidate.artifact),),
            bench=self._bench(target),
            seed=project.seed,
            evaluation=None,
            reference_variant=None,
            target_options={target.name: project.targets[target.name].options},
        )
        (row,) = measure(plan, [target], self.progress).rows
        return row

    def _bench(self, target: Target) -> BenchSection:
        project = self.folder.project
        values = max((project.all_metrics[each.metric].min_samples for each in self._objectives_on(target)), default=1)
        enough = max(PROCESSES, math.ceil(values / project.bench.inferences))
        return project.bench.model_copy(update={"processes": min(enough, project.bench.processes)})

    def _objectives_on(self, target: Target) -> list[Objective]:
        return [each for each in self.objectives if each.target == target.name]

    def _kept(self, candidate: Candidate, target: Target) -> Path:
        """Where the row is: the same bytes, measured in the same way on the same machine."""
        spec, bench = self.folder.project.targets[target.name], self._bench(target)
        environment = self.environments[target.name].model_dump(mode="json", exclude=set(MOMENTARY))
        key = [candidate.artifact.sha256, spec.model_dump(mode="json"), bench.model_dump(mode="json"), environment]
        return self.folder.state / "search" / f"{sha256_of_json(key)[:32]}.json"


def _read(kept: Path) -> Row | None:
    try:
        return Row.model_validate_json(kept.read_bytes())
    except (OSError, ValidationError):
        return None


def _figure(objective: Objective, candidate: Candidate, rows: Mapping[str, Row]) -> Estimate | None:
    """What is known of an objective; None where this rung does not tell."""
    if objective.target is not None:
        return _of_row(objective, rows[objective.target]) if rows else None
    if objective.metric == "size":
        return Estimate(value=candidate.artifact.size_bytes, samples=1)
    figures = candidate.figures
    if figures is None:
        return None
    if objective.metric == "size.compressed":
        return Estimate(value=figures.compressed_bytes, samples=1)
    return Estimate(value=_score(candidate, objective.metric), samples=figures.samples)


def _of_row(objective: Objective, row: Row) -> Estimate:
    estimate = row.estimates.get(objective.metric)
    if estimate is None:
        why = row.unmeasured.get(objective.metric, "the target does not say why")
        raise TargetError(f"{objective.metric} on {row.target} is limited by a budget, and unmeasured: {why}")
    return _typical(objective.metric, row, estimate)


def _typical(metric: str, row: Row, estimate: Estimate) -> Estimate:
    """The middle one of what each process tells by itself.

    One process that a busy neighbour slows down throughout would decide a percentile of few processes' values together.
    The interval holds all processes and that of the estimate. An estimate stays as it is where it is no clock's, or
    where a process alone has too few values for it.
    """
    alone = [timings([process], estimate.provenance).get(metric) for process in row.processes]
    values = [answer.value for answer in alone if isinstance(answer, Estimate)]
    if not values or len(values) < len(alone):
        return estimate
    ends = [end for end in (estimate.low, estimate.high) if end is not None]
    interval = {"low": min(values + ends), "high": max(values + ends)}
    return estimate.model_copy(update={"value": median(values), **interval})


def _score(candidate: Candidate, metric: str) -> float:
    if candidate.score_metric != metric:
        scored = "nothing" if candidate.score_metric is None else candidate.score_metric
        raise DataError(
            f"a budget limits {metric}; validation data are scored by {scored}",
            hint="classes are scored by accuracy; other labels by the first metric of your own",
        )
    if candidate.figures is None or candidate.figures.score is None:
        raise DataError(f"a budget limits {metric}, and it cannot be measured on validation data")
    return candidate.figures.score
