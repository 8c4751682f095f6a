"""From a project to its plan: which stages there are, and which follow which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.pipeline.stage import Stage
from edgecc.compiler.stages import KINDS
from edgecc.errors import DataError, ModelError
from edgecc.files import is_file, sha256_of_file
from edgecc.project import Project, ProjectFolder


@dataclass(frozen=True)
class Emission:
    """One artifact to be: the stage that writes it, and the one that compares it with its Keras model."""

    variant: str
    format: Format
    emit: Stage
    verify: Stage


@dataclass(frozen=True)
class Plan:
    """The stages of a project. Prefixes that variants share are the same stage, computed once."""

    data: Stage
    tune: Stage | None
    base: Stage
    emissions: tuple[Emission, ...]

    def stages(self) -> list[Stage]:
        """Every stage, each after its predecessors."""
        ordered: dict[str, Stage] = {}
        for last in [self.data, *(emission.verify for emission in self.emissions)]:
            _add(last, ordered)
        return list(ordered.values())


def _add(stage: Stage, ordered: dict[str, Stage]) -> None:
    for predecessor in stage.inputs.values():
        _add(predecessor, ordered)
    ordered.setdefault(stage.name, stage)


def make_plan(folder: ProjectFolder, emitted: Iterable[tuple[str, Format]]) -> Plan:
    """Lay out the stages for these (variant, format) pairs.

    Raises:
        DataError: a file in `[data] files` or `[model] files` is missing.
        ModelError: `[model] path` is missing.
    """
    project = folder.project
    files = _digests(folder, "data.files", project.data.files)
    data = _stage(project, "data", {"data": project.data.model_dump(mode="json"), "files": files})
    model_files = _digests(folder, "model.files", project.model.files)
    tune = _tune(project, data, model_files)
    base = _load(folder, data) if project.model.path else _train(project, data, tune, model_files)
    reference = _stage(
        project, "reference", {"model": _model_options(project), "samples": project.verify.samples},
        model=base, data=data,
    )  # fmt: skip
    emissions = tuple(_emission(project, variant, format, base, data, reference) for variant, format in emitted)
    return Plan(data, tune, base, emissions)


def _tune(project: Project, data: Stage, model_files: Mapping[str, str]) -> Stage | None:
    if project.tune is None or project.model.path:
        return None
    # A trial has its own number of epochs: longer training must not repeat the search.
    train = project.train.model_dump(mode="json", exclude={"epochs", "tensorboard", "early_stopping"})
    tune = project.tune.model_dump(mode="json")
    options = {"model": _model_options(project), "model_files": model_files, "tune": tune, "train": train}
    return _stage(project, "tune", options, data=data)


def _train(project: Project, data: Stage, tune: Stage | None, model_files: Mapping[str, str]) -> Stage:
    train = project.train.model_dump(mode="json")
    options = {"model": _model_options(project), "model_files": model_files, "train": train}
    return _stage(project, "train", options, data=data, tune=tune)


def _load(folder: ProjectFolder, data: Stage) -> Stage:
    path = folder.root / str(folder.project.model.path)
    if not is_file(path):
        raise ModelError(f"{folder.file}: model.path: expected a .keras file; there is no {path}")
    options = {"model": _model_options(folder.project), "sha256": sha256_of_file(path)}
    return _stage(folder.project, "load", options, data=data)


def _emission(project: Project, variant: str, format: Format, base: Stage, data: Stage, reference: Stage) -> Emission:
    quantize = project.variants[variant].quantize
    emit = _stage(
        project, f"emit_{format}", {"model": _model_options(project), "quantize": quantize and str(quantize)},
        name=f"emit/{variant}/{format}", model=base, data=data if quantize else None,
    )  # fmt: skip
    limits = project.verify
    options = {
        "format": str(format),
        "quantize": quantize and str(quantize),
        "min_agreement": limits.min_agreement_int8 if quantize else limits.min_agreement_float,
        "variant": variant,
    }
    verify = _stage(
        project, "verify", options, name=f"verify/{variant}/{format}", artifact=emit, reference=reference
    )  # fmt: skip
    return Emission(variant, format, emit, verify)


def _stage(
    project: Project,
    kind: str,
    options: Mapping[str, Any],
    *,
    name: str | None = None,
    **inputs: Stage | None,
) -> Stage:
    given = {role: stage for role, stage in inputs.items() if stage is not None}
    return Stage(name or kind, KINDS[kind], options, given, project.seed)


def _model_options(project: Project) -> dict[str, Any]:
    return project.model.model_dump(mode="json")


def _digests(folder: ProjectFolder, key: str, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in names:
        path = folder.root / name
        if not is_file(path):
            raise DataError(f"{folder.file}: {key}: expected a file; there is no {path}")
        digests[name] = sha256_of_file(path)
    return digests
