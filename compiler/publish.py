"""What leaves the cache for the build folder: verified artifacts with their manifests, and the evaluation set."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import (
    Artifact,
    Figures,
    Format,
    Manifest,
    StepRecord,
    TensorSpec,
    manifest_path,
    write_manifest,
)
from edgecc.compiler.backend.lint.finding import Finding
from edgecc.compiler.pipeline.pipeline import Pipeline
from edgecc.compiler.pipeline.stage import Stage
from edgecc.compiler.plan import Comparison, Emission, Plan
from edgecc.files import sha256_of_file, writing_to
from edgecc.project import ProjectFolder


@dataclass(frozen=True)
class Compiled:
    """One artifact in the project's build folder."""

    variant: str
    format: Format
    path: Path
    manifest: Manifest
    findings: tuple[Finding, ...]
    """What lint has to say of it."""


@dataclass(frozen=True)
class Publisher:
    """Publishes what a finished pipeline holds."""

    folder: ProjectFolder
    plan: Plan
    pipeline: Pipeline

    def publish(self) -> tuple[Compiled, ...]:
        """Bring the build folder up to date with whatever is finished.

        Raises:
            OutputError: it cannot be written to.
        """
        if self.pipeline.is_finished(self.plan.data):
            self._publish_output(self.plan.data, "evaluation.npz", self.folder.evaluation)
        if self.plan.tune is None:
            with writing_to(self.folder.build):
                self.folder.trials.unlink(missing_ok=True)
        elif self.pipeline.is_finished(self.plan.tune):
            self._publish_output(self.plan.tune, "trials.json", self.folder.trials)
        commit = git_commit(self.folder.root)
        finished = [each for each in self.plan.emissions if self._is_finished(each)]
        return tuple(self._publish_artifact(emission, commit) for emission in finished)

    def _is_finished(self, emission: Emission) -> bool:
        return all(map(self.pipeline.is_finished, self.plan.last_stages(emission)))

    def _publish_artifact(self, emission: Emission, commit: str | None) -> Compiled:
        path = self.folder.artifact(emission.variant, emission.format)
        manifest = self._manifest(emission, path.name, commit)
        if not _is_current(path, manifest.artifact.sha256):
            with writing_to(path.parent):
                manifest_path(path).unlink(missing_ok=True)  # never the old manifest beside the new artifact
            self._publish_output(emission.artifact, "artifact", path)
        write_manifest(path, manifest)
        found = self.pipeline.result(emission.lint).record.metrics["findings"]
        findings = tuple(Finding.model_validate(each) for each in found)
        return Compiled(emission.variant, emission.format, path, manifest, findings)

    def _manifest(self, emission: Emission, name: str, commit: str | None) -> Manifest:
        chain = [self.pipeline.result(stage) for stage in _chain(emission.verify)]
        emitted, verified = self.pipeline.result(emission.artifact), self.pipeline.result(emission.verify)
        artifact = Artifact(
            path=name,
            format=emission.format,
            sha256=emitted.record.outputs["artifact"],
            size_bytes=(emitted.files / "artifact").stat().st_size,
        )
        return Manifest(
            project=self.folder.project.name,
            variant=emission.variant,
            artifact=artifact,
            inputs=tuple(TensorSpec.model_validate(spec) for spec in verified.record.metrics["inputs"]),
            outputs=tuple(TensorSpec.model_validate(spec) for spec in verified.record.metrics["outputs"]),
            recipe=emission.recipe,
            stages=tuple(finished.record for finished in chain),
            steps=tuple(map(self._step, self.plan.comparisons.get((emission.variant, emission.format), ()))),
            evaluation_sha256=self.pipeline.result(self.plan.data).record.outputs["evaluation.npz"],
            seed=self.folder.project.seed,
            tool_versions={name: v for finished in chain for name, v in finished.entry.tool_versions.items()},
            git_commit=commit,
        )

    def _step(self, comparison: Comparison) -> StepRecord:
        return StepRecord(
            kind=comparison.kind,
            before_variant=comparison.before.variant,
            before=self._figures(comparison.before),
            after=self._figures(comparison.after),
            **self.pipeline.result(comparison.compare).record.metrics,
        )

    def _figures(self, emission: Emission) -> Figures:
        return Figures.model_validate(self.pipeline.result(emission.evaluate).record.metrics)

    def _publish_output(self, stage: Stage, name: str, destination: Path) -> None:
        """Copy aside and rename in. What is published is a copy, so that nothing done to it harms the cache."""
        finished = self.pipeline.result(stage)
        if _is_current(destination, finished.record.outputs[name]):
            return
        with writing_to(destination.parent):
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=destination.parent, prefix=f".{name}.", delete=False) as file:
                temporary = Path(file.name)
            try:
                shutil.copyfile(finished.files / name, temporary)
                temporary.chmod(0o644)
                temporary.replace(destination)
            finally:
                temporary.unlink(missing_ok=True)


def _chain(stage: Stage) -> list[Stage]:
    """The stage with everything before it, each once, in order."""
    ordered: dict[str, Stage] = {}
    for predecessor in stage.inputs.values():
        ordered.update({earlier.name: earlier for earlier in _chain(predecessor)})
    ordered[stage.name] = stage
    return list(ordered.values())


def _is_current(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of_file(path) == sha256


def git_commit(folder: Path) -> str | None:
    """The commit checked out around a folder, with `-dirty` where tracked files differ; None without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
