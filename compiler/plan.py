"""From a project to its plan: which stages there are, and which follow which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.pipeline.stage import Stage
from edgecc.compiler.stages import KINDS
from edgecc.errors import DataError, ModelError
from edgecc.files import is_file, sha256_of_file
from edgecc.project import Project, ProjectFolder
from edgecc.training import ModelSection
from edgecc.variant import DistillSection, VariantSection


@dataclass(frozen=True)
class Emission:
    """One artifact to be: the stage that writes it, those that look at it, and what its steps are compared by."""

    variant: str
    """A variant of the project, or what one of its steps is compared with."""
    format: Format
    recipe: Mapping[str, Any]
    artifact: Stage
    verify: Stage
    lint: Stage
    evaluate: Stage


@dataclass(frozen=True)
class Comparison:
    """One compression step of one artifact."""

    kind: str
    before: Emission
    after: Emission
    compare: Stage


@dataclass(frozen=True)
class Plan:
    """The stages of a project. Prefixes that variants share are the same stage, computed once."""

    data: Stage
    tune: Stage | None
    emissions: tuple[Emission, ...]
    comparisons: Mapping[tuple[str, Format], tuple[Comparison, ...]]
    """The steps of each artifact, by variant and format."""

    def last_stages(self, emission: Emission) -> list[Stage]:
        """What must be finished before an artifact may be used."""
        steps = self.comparisons.get((emission.variant, emission.format), ())
        return [emission.verify, emission.lint, *(step.compare for step in steps)]

    def stages(self) -> list[Stage]:
        """Every stage, each after its predecessors."""
        ordered: dict[str, Stage] = {}
        for last in [self.data, *(stage for emission in self.emissions for stage in self.last_stages(emission))]:
            _add(last, ordered)
        return list(ordered.values())


def _add(stage: Stage, ordered: dict[str, Stage]) -> None:
    for predecessor in stage.inputs.values():
        _add(predecessor, ordered)
    ordered.setdefault(stage.name, stage)


def make_plan(folder: ProjectFolder, emitted: Iterable[tuple[str, Format]]) -> Plan:
    """Lay out the stages for these (variant, format) pairs, and for what their steps are compared with.

    Raises:
        DataError: a file in `[data] files` or `[model] files` is missing.
        ModelError: `[model] path` or a teacher is missing.
    """
    planner = _Planner(folder)
    wanted = list(emitted)
    project = folder.project
    emissions = {pair: planner.emission(*pair) for pair in project.with_steps(wanted)}
    comparisons = {
        (variant, format): tuple(
            planner.comparison(step.kind, emissions[step.before, format], emissions[step.after, format])
            for step in project.steps_of(variant, format)
        )
        for variant, format in wanted
    }
    return Plan(planner.data, planner.tune, tuple(emissions.values()), comparisons)


@dataclass(frozen=True)
class _Trained:
    """A stage that gives `model.keras`, and where its custom layers are found."""

    name: str
    """Of the variant that first had it."""
    stage: Stage
    model: dict[str, Any]


class _Planner:
    """Makes the stages of one project, each once."""

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder
        self.project: Project = folder.project
        self._stages: dict[str, Stage] = {}

    @cached_property
    def data(self) -> Stage:
        files = _digests(self.folder, "data.files", self.project.data.files)
        return self._stage("data", {"data": self.project.data.model_dump(mode="json"), "files": files})

    @cached_property
    def tune(self) -> Stage | None:
        if self.project.tune is None or self.project.model.path:
            return None
        # A trial has its own number of epochs: longer training must not repeat the search.
        train = self.project.train.model_dump(mode="json", exclude={"epochs", "tensorboard", "early_stopping"})
        tune = self.project.tune.model_dump(mode="json")
        options = {"model": self._model, "model_files": self._model_files, "tune": tune, "train": train}
        return self._stage("tune", options, data=self.data)

    @cached_property
    def base(self) -> _Trained:
        stage = self._load("load", self.project.model, "model.path") if self.project.model.path else self._train()
        return _Trained("base", stage, self._model)

    def _train(self) -> Stage:
        train = self.project.train.model_dump(mode="json")
        options = {"model": self._model, "model_files": self._model_files, "train": train}
        return self._stage("train", options, data=self.data, tune=self.tune)

    def _load(self, name: str, section: ModelSection, key: str) -> Stage:
        path = self.folder.root / str(section.path)
        if not is_file(path):
            raise ModelError(f"{self.folder.file}: {key}: expected a .keras or .h5 file; there is no {path}")
        options = {"model": section.model_dump(mode="json"), "sha256": sha256_of_file(path)}
        return self._stage("load", options, name=name, data=self.data)

    @property
    def _model(self) -> dict[str, Any]:
        return self.project.model.model_dump(mode="json")

    @cached_property
    def _model_files(self) -> dict[str, str]:
        return _digests(self.folder, "model.files", self.project.model.files)

    def emission(self, name: str, format: Format) -> Emission:
        """The stages of one artifact: of a variant, or of what a step is compared with."""
        section, count = self.project.section_of(name)
        recipe = section.recipe(count)
        trained = self._trained(name, section, recipe)
        artifact = self._artifact(name, format, trained, recipe["quantize"])
        verify = self._verify(name, format, trained, artifact, recipe["quantize"])
        lint = self._lint(name, format, artifact, recipe["quantize"])
        score = {key: metric.model_dump(mode="json") for key, metric in self.project.metrics.items()}
        evaluate = self._stage(
            "evaluate", {"format": str(format), "score": score}, name=f"evaluate/{name}/{format}",
            artifact=artifact, data=self.data,
        )  # fmt: skip
        return Emission(name, format, recipe, artifact, verify, lint, evaluate)

    def comparison(self, kind: str, before: Emission, after: Emission) -> Comparison:
        """What a step bought."""
        name = f"compare/{kind}/{before.variant}/{after.variant}/{after.format}"
        compare = self._stage("compare", {}, name=name, before=before.evaluate, after=after.evaluate)
        return Comparison(kind, before, after, compare)

    def _trained(self, name: str, section: VariantSection, recipe: Mapping[str, Any]) -> _Trained:
        trained = self.base
        if recipe["distill"] is not None and section.distill is not None:
            trained = self._distilled(name, section.distill)
        if recipe["prune"] is not None and section.prune is not None:
            options = {
                "model": trained.model,
                "train": self.project.train.model_dump(mode="json"),
                "prune": recipe["prune"],
            }
            kind = f"prune_{section.prune.method}"
            stage = self._stage(kind, options, name=f"prune/{name}", model=trained.stage, data=self.data)
            trained = _Trained(name, stage, trained.model)
        return trained

    def _distilled(self, name: str, section: DistillSection) -> _Trained:
        model = ModelSection(
            builder=section.student, hp=section.hp, allow_code=self.project.model.allow_code,
            files=self.project.model.files,
        ).model_dump(mode="json")  # fmt: skip
        own = {key: getattr(section, key) for key in ("epochs", "batch_size", "learning_rate")}
        train = self.project.train.model_copy(update={key: value for key, value in own.items() if value is not None})
        options = {
            "model": model,
            "model_files": self._model_files,
            "train": train.model_dump(mode="json", exclude={"tensorboard", "early_stopping"}),
            "distill": section.model_dump(mode="json"),
        }
        teacher = None if section.alpha == 1 else self._teach(name, section)
        stage = self._stage("distill", options, name=f"distill/{name}", data=self.data, teacher=teacher)
        return _Trained(name, stage, model)

    def _teach(self, name: str, section: DistillSection) -> Stage:
        teacher = self.base if section.teacher is None else self._teacher_file(name, section.teacher)
        options = {"model": teacher.model, "augment": section.augment, "views": section.views}
        return self._stage("teach", options, name=f"teach/{name}", model=teacher.stage, data=self.data)

    def _teacher_file(self, name: str, path: str) -> _Trained:
        section = ModelSection(path=path, allow_code=self.project.model.allow_code)
        stage = self._load(f"load/{name}", section, f"variants.{name.partition('@')[0]}.distill.teacher")
        return _Trained(name, stage, section.model_dump(mode="json"))

    def _artifact(self, name: str, format: Format, trained: _Trained, quantize: Any) -> Stage:
        batch = {"dynamic_batch": self.project.emit.dynamic_batch} if format is Format.ONNX else {}
        emit = self._stage(
            f"emit_{format}", {"model": trained.model, **batch}, name=f"emit/{name}/{format}", model=trained.stage
        )
        if quantize is None:
            return emit
        score = {key: metric.model_dump(mode="json") for key, metric in self.project.metrics.items()}
        options = {"format": str(format), "quantize": quantize, "variant": name, "score": score}
        return self._stage(
            f"quantize_{format}", options, name=f"quantize/{name}/{format}", artifact=emit, calibration=self.data,
            validation=self.data if quantize["max_drop"] is not None else None,
        )  # fmt: skip

    def _verify(self, name: str, format: Format, trained: _Trained, artifact: Stage, quantize: Any) -> Stage:
        limits = self.project.verify
        reference = self._stage(
            "reference", {"model": trained.model, "samples": limits.samples}, name=f"reference/{trained.name}",
            model=trained.stage, data=self.data,
        )  # fmt: skip
        options = {
            "format": str(format),
            "quantize": None if quantize is None else quantize["scheme"],
            "min_agreement": limits.min_agreement_float if quantize is None else limits.min_agreement_quantized,
            "variant": name,
        }
        return self._stage("verify", options, name=f"verify/{name}/{format}", artifact=artifact, reference=reference)

    def _lint(self, name: str, format: Format, artifact: Stage, quantize: Any) -> Stage:
        options = {"format": str(format), "scheme": "float32" if quantize is None else quantize["scheme"]}
        kept = None if quantize is None else artifact
        return self._stage("lint", options, name=f"lint/{name}/{format}", artifact=artifact, kept=kept)

    def _stage(
        self, kind: str, options: Mapping[str, Any], *, name: str | None = None, **inputs: Stage | None
    ) -> Stage:
        """The stage that does this, whichever variant it was made for first."""
        given = {role: stage for role, stage in inputs.items() if stage is not None}
        stage = Stage(name or kind, KINDS[kind], options, given, self.project.seed)
        same = (each for each in self._stages.values() if _does(each) == _does(stage))
        return self._stages.setdefault(stage.name, next(same, stage))


def _does(stage: Stage) -> tuple[Any, ...]:
    """All but the name."""
    return stage.kind, stage.options, stage.inputs


def _digests(folder: ProjectFolder, key: str, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in names:
        path = folder.root / name
        if not is_file(path):
            raise DataError(f"{folder.file}: {key}: expected a file; there is no {path}")
        digests[name] = sha256_of_file(path)
    return digests
