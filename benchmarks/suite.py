"""Measures a suite row by row: each is on disk as soon as it is measured, and what is there is not measured again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgecc.artifact import Record
from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan, plan_file
from edgecc.benchmarks.results_store import load
from edgecc.benchmarks.suite_file import SuiteArtifact, SuiteFolder, SuiteSettings
from edgecc.errors import ArtifactError, DataError, TargetError
from edgecc.files import sha256_of_file, sha256_of_json, write_atomically
from edgecc.progress import Progress, Silent, Task
from edgecc.project import TargetSpec
from edgecc.results import MOMENTARY, Environment, Results
from edgecc.targets.target import Target

OpenTarget = Callable[[str, TargetSpec], Target]
_KEY_DIGITS = 12


class SuiteRow(Record):
    """One artifact on one target with one of the settings."""

    artifact: str
    target: str
    settings: str
    kept: bool = False
    """It was measured before, and nothing has changed since."""
    cause: str | None = None
    """Why there are no numbers; None where there are some."""
    file: str | None = None
    """Where its results lie; None where it never came to measuring."""
    results: Results | None = None


class SuiteRun(Record):
    """All rows of a suite, in the order of its file: by target, then by settings, then by artifact."""

    schema_version: Literal[1] = 1
    suite: str
    rows: tuple[SuiteRow, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every row has numbers."""
        return all(row.cause is None for row in self.rows)


def run_suite(
    folder: SuiteFolder, open_target: OpenTarget, *, again: bool = False, progress: Progress | None = None
) -> SuiteRun:
    """Measure what is not measured yet. A row that fails has its cause, and the others go on.

    A row is kept where its results are on disk and hold numbers, and artifact, evaluation set, shapes, settings, the
    target's kind and options, and its environment are what they were. So a suite that was killed goes on from there.

    Args:
        folder: the suite.
        open_target: gives a target by its name and keys.
        again: measure everything anew.
        progress: where to report; silent without it.

    Raises:
        OutputError: the folder of the results cannot be written to.
    """
    suite, progress = folder.suite, progress or Silent()
    rows: list[SuiteRow] = []
    with progress.task(f"suite {suite.name}", len(suite.artifacts) * len(suite.targets) * len(suite.settings)) as task:
        for target in suite.targets:
            for settings in suite.settings:
                runner = _Runner(folder, target, settings, again=again, progress=progress, task=task)
                rows += runner.rows(open_target)
    return SuiteRun(suite=suite.name, rows=tuple(rows))


@dataclass(frozen=True)
class _Runner:
    """All artifacts on one target with one of the settings."""

    folder: SuiteFolder
    target_name: str
    settings_name: str
    again: bool
    progress: Progress
    task: Task

    @property
    def settings(self) -> SuiteSettings:
        return self.folder.suite.settings[self.settings_name]

    @property
    def spec(self) -> TargetSpec:
        return self.settings.applied_to(self.folder.suite.targets[self.target_name])

    def rows(self, open_target: OpenTarget) -> list[SuiteRow]:
        rows: list[SuiteRow] = []
        artifacts = self.folder.suite.artifacts
        try:
            with open_target(self.target_name, self.spec) as target:
                environment = target.probe()
                for artifact in artifacts:
                    self.task.describe(f"{artifact.label} on {self.target_name} with {self.settings_name}")
                    rows.append(self._row(artifact, target, environment))
                    self.task.advance()
        except TargetError as error:
            lost = [self._named(artifact, cause=error.message) for artifact in artifacts[len(rows) :]]
            self.progress.note(f"{self.target_name} was lost: {error.message}")
            self.task.advance(len(lost))
            rows += lost
        return rows

    def _row(self, artifact: SuiteArtifact, target: Target, environment: Environment) -> SuiteRow:
        try:
            plan = self._plan(artifact)
            file = self.folder.results / self._file_name(artifact, plan, environment)
            if not self.again and (results := _numbers_in(file, plan)) is not None:
                return self._named(artifact, kept=True, file=str(file), results=results)
            results = measure(plan, [target], self.progress)
        except (ArtifactError, DataError, OSError) as error:
            return self._named(artifact, cause=str(error))
        write_atomically(file, results.model_dump_json(indent=1) + "\n")
        failure = results.rows[0].failure
        cause = None if failure is None else f"{failure.kind.replace('_', ' ')}: {failure.message}"
        return self._named(artifact, cause=cause, file=str(file), results=results)

    def _plan(self, artifact: SuiteArtifact) -> BenchPlan:
        path = self.folder.resolve(artifact.path)
        evaluation = None if artifact.evaluation is None else self.folder.resolve(artifact.evaluation)
        plan = plan_file(path, self.settings.bench, evaluation=evaluation, shapes=artifact.shapes)
        return dataclasses.replace(
            plan,
            project=self.folder.suite.name,
            subjects=tuple(dataclasses.replace(subject, variant=artifact.label) for subject in plan.subjects),
            target_options={self.target_name: self.spec.options},
        )

    def _file_name(self, artifact: SuiteArtifact, plan: BenchPlan, environment: Environment) -> str:
        """The row's names, and a digest of all that its numbers depend on."""
        depends_on = {
            "artifact": plan.subjects[0].artifact.sha256,
            "evaluation": None if plan.evaluation is None else sha256_of_file(plan.evaluation),
            "shapes": artifact.shapes,
            "settings": self.settings.model_dump(include={"processes", "inferences"}),
            "target": self.spec.model_dump(),
            "environment": environment.model_dump(exclude=set(MOMENTARY)),
        }
        names = (artifact.label, self.target_name, self.settings_name)
        # No name has an @, so that two rows never share a file.
        return "@".join((*names, sha256_of_json(depends_on)[:_KEY_DIGITS])) + ".json"

    def _named(self, artifact: SuiteArtifact, **values: Any) -> SuiteRow:
        return SuiteRow(artifact=artifact.label, target=self.target_name, settings=self.settings_name, **values)


def _numbers_in(file: Path, plan: BenchPlan) -> Results | None:
    """Results that were measured before; None where there are none, or they failed, or the file is damaged."""
    try:
        results = load(file)
    except ArtifactError:
        return None
    subject = plan.subjects[0]
    are_its_own = [(row.variant, row.artifact.sha256, row.failure) for row in results.rows] == [
        (subject.variant, subject.artifact.sha256, None)
    ]
    return results if are_its_own else None
