"""Runs a plan: each stage once, from the cache where nothing it depends on has changed."""

from __future__ import annotations

import importlib
import platform
import time
from collections.abc import Mapping
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path

from edgecc import project_code
from edgecc.artifact import ArtifactRunner, StageRecord
from edgecc.compiler.pipeline.cache import Cache, Entry, Finished, digests
from edgecc.compiler.pipeline.captured import output_to
from edgecc.compiler.pipeline.stage import Metrics, Stage, StageContext, StageFunction
from edgecc.errors import EdgeccError
from edgecc.files import sha256_of_json, writing_to
from edgecc.progress import Progress


class Pipeline:
    """The stages of one project, run on demand."""

    def __init__(self, *, project_dir: Path, state_dir: Path, progress: Progress, run_artifact: ArtifactRunner) -> None:
        self._project_dir = project_dir
        self._state_dir = state_dir
        self._progress = progress
        self._run_artifact = run_artifact
        self._cache = Cache(state_dir / "cache", project_dir)
        self._finished: dict[str, Finished] = {}
        self._failed: dict[str, EdgeccError] = {}
        self._versions = {"python": platform.python_version()} | library_versions(("edgecc",))
        self.ran: list[str] = []
        """Names of the stages that really ran, in order."""

    def result(self, stage: Stage) -> Finished:
        """The stage's outputs, with all its predecessors' made first.

        Raises:
            EdgeccError: a stage could not do its work; what was finished before stays finished. Asked again, it does
                not try again, and neither does a stage that needs it.
        """
        if stage.name in self._failed:
            raise self._failed[stage.name]
        if stage.name not in self._finished:
            try:
                inputs = {role: self.result(predecessor) for role, predecessor in stage.inputs.items()}
                self._finished[stage.name] = self._find_or_run(stage, inputs)
            except EdgeccError as error:
                self._failed[stage.name] = error
                raise
        return self._finished[stage.name]

    def is_finished(self, stage: Stage) -> bool:
        """Whether the stage's outputs are there by now."""
        return stage.name in self._finished

    @cached_property
    def _code(self) -> dict[str, str]:
        """The project's code when the first stage ran."""
        return project_code.snapshot(self._project_dir)

    def _find_or_run(self, stage: Stage, inputs: Mapping[str, Finished]) -> Finished:
        input_digests = {
            f"{role}/{file}": inputs[role].record.outputs[file]
            for role, read in stage.kind.reads.items()
            if role in inputs
            for file in read.files
        }
        versions = self._versions | library_versions(stage.kind.libraries)
        key = _key(stage, input_digests, versions)
        with self._cache.locked(key, self._progress):
            found = self._cache.find(key)
            if found is not None:
                return found
            return self._run(stage, key, inputs, input_digests, versions)

    def _run(
        self,
        stage: Stage,
        key: str,
        inputs: Mapping[str, Finished],
        input_digests: Mapping[str, str],
        versions: Mapping[str, str],
    ) -> Finished:
        # Unfinished work goes on only with the very code it was begun with.
        work = self._cache.work_dir(key) / sha256_of_json(self._code)[:16]
        work.mkdir(exist_ok=True)
        context = StageContext(
            options=stage.options,
            inputs={
                role: {file: inputs[role].files / file for file in stage.kind.reads[role].files} for role in inputs
            },
            output_dir=self._cache.new_output_dir(key),
            work_dir=work,
            log_dir=self._state_dir / "log",
            project_dir=self._project_dir,
            seed=stage.seed,
            progress=self._progress,
            run_artifact=self._run_artifact,
        )
        start = time.perf_counter()
        with project_code.importable(self._project_dir) as code:
            with output_to(self._log(stage)), writing_to(self._state_dir):
                metrics = _called(stage, context)
            modules = code.imported(self._code)
        record = StageRecord(
            name=stage.name,
            options=stage.options,
            inputs=input_digests,
            outputs=digests(context.output_dir),
            duration_s=time.perf_counter() - start,
            metrics=metrics,
        )
        finished = self._cache.keep(key, Entry(record=record, modules=modules, tool_versions=versions))
        self._cache.drop_work(key)
        self.ran.append(stage.name)
        return finished

    def _log(self, stage: Stage) -> Path:
        return self._state_dir / "log" / f"{stage.name.replace('/', '-')}.log"


def _called(stage: Stage, context: StageContext) -> Metrics:
    try:
        return _function(stage)(context)
    except EdgeccError as error:
        error.stage = stage.name
        raise


def _function(stage: Stage) -> StageFunction:
    module, name = stage.kind.function.split(":")
    function: StageFunction = getattr(importlib.import_module(module), name)
    return function


def _key(stage: Stage, input_digests: Mapping[str, str], versions: Mapping[str, str]) -> str:
    return stage.kind.name + "-" + sha256_of_json(
        {
            "kind": stage.kind.name,
            "version": stage.kind.version,
            "options": stage.options,
            "inputs": input_digests,
            "seed": stage.seed,
            "libraries": versions,
        }
    )[:32]  # fmt: skip


def library_versions(distributions: tuple[str, ...]) -> dict[str, str]:
    """Installed versions; `absent` where there is none."""
    return {name: _version(name) for name in distributions}


@cache
def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
