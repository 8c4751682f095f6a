"""Reading `edgecc.toml`: everything is checked before any work starts, and every fault is reported at once."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgecc.artifact import Format
from edgecc.budget import Budget
from edgecc.errors import Fault, ProjectError
from edgecc.faults import faults_of, listed, nearest, shown, unsupported_fault
from edgecc.files import is_file
from edgecc.metrics import METRICS, Better, Metric, all_metrics
from edgecc.project import Project, ProjectFolder
from edgecc.search_faults import search_budget_faults, search_faults, search_format_faults
from edgecc.variant import SUPPORTED_QUANTIZATION

FILE_NAME = "edgecc.toml"


def load_project(path: Path, target_options: Mapping[str, type[BaseModel]]) -> ProjectFolder:
    """Read and check a project.

    Args:
        path: the project's folder, or its file.
        target_options: for each kind of target, the keys it takes.

    Raises:
        ProjectError: the file is missing, is not TOML, or has faults; holds all of them.
    """
    file = path if is_file(path) or path.suffix == ".toml" else path / FILE_NAME
    document = read_toml(file)
    faults: list[Fault] = []
    project: Project | None = None
    try:
        project = Project.model_validate(document)
    except ValidationError as error:
        faults += faults_of(error.errors(), document)
    # The metrics' spelling, the targets' own keys and open variants are checked even where other keys are at fault.
    faults += _metric_faults(document)
    faults += target_faults(document, target_options)
    faults += search_faults(document)
    if project is not None and not faults:
        faults += _reference_faults(project)
    if project is None or faults:
        raise ProjectError(str(file), faults)
    return ProjectFolder(root=file.parent.resolve(), file=file.resolve(), project=project)


def read_toml(file: Path) -> dict[str, Any]:
    if not is_file(file):
        fault = Fault(file.name[:80], "a project file", "no such file")
        raise ProjectError(str(file), [fault], hint="`edgecc init` writes a project to start from")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(str(file), [Fault(file.name, "a text file that can be read", str(error))]) from error
    except (ValueError, RecursionError) as error:
        raise ProjectError(str(file), [Fault(file.name, "valid TOML", str(error))]) from error


def _metric_faults(document: Mapping[str, Any]) -> list[Fault]:
    budgets = document.get("budgets", [])
    known = all_metrics(_users_metrics(document))
    faults = []
    for index, budget in enumerate(budgets if isinstance(budgets, list) else []):
        name = budget.get("metric") if isinstance(budget, dict) else None
        key = f"budgets[{index}]"
        if isinstance(name, str) and name not in known:
            faults.append(Fault(f"{key}.metric", f"one of {listed(known)}", repr(name), nearest(name, known)))
        elif isinstance(name, str) and name not in METRICS:
            faults += _direction_faults(key, budget, known[name])
    return faults


def _users_metrics(document: Mapping[str, Any]) -> dict[str, Better]:
    """The directions of `[metrics]`, whatever else may be wrong there."""
    tables = document.get("metrics", {})
    tables = tables if isinstance(tables, dict) else {}
    lower = {name for name, table in tables.items() if isinstance(table, dict) and table.get("better") == "lower"}
    return {name: "lower" if name in lower else "higher" for name in tables}


def _direction_faults(key: str, budget: Mapping[str, Any], metric: Metric) -> list[Fault]:
    """A limit on the good side of a metric of the user's own; pydantic knows the other metrics' directions."""
    right, wrong = ("max", "min") if metric.better == "lower" else ("min", "max")
    if wrong not in budget:
        return []
    expected = f"`{right}` or `max_drop`: of {metric.name} more is {'worse' if metric.better == 'lower' else 'better'}"
    return [Fault(f"{key}.{wrong}", expected, shown(budget[wrong]))]


def target_faults(document: Mapping[str, Any], target_options: Mapping[str, type[BaseModel]]) -> list[Fault]:
    targets = document.get("targets", {})
    faults: list[Fault] = []
    for name, table in targets.items() if isinstance(targets, dict) else []:
        if not isinstance(table, dict) or not isinstance(kind := table.get("kind"), str):
            continue  # pydantic has said so
        if kind not in target_options:
            known = list(target_options)
            key = f"targets.{name}.kind"
            faults.append(Fault(key, f"one of {listed(known)}", repr(kind), nearest(kind, known)))
            continue
        options = target_options[kind]
        try:
            options.model_validate({key: value for key, value in table.items() if key != "kind"})
        except ValidationError as error:
            faults += faults_of(error.errors(), document, ("targets", name), ["kind", *options.model_fields])
    return faults


def _reference_faults(project: Project) -> list[Fault]:
    """Names that point at nothing, and budgets that would judge nothing."""
    faults = [_unknown(f"ship[{i}]", name, project.variants) for i, name in enumerate(project.ship or ())]
    for index, budget in enumerate(project.budgets):
        key = f"budgets[{index}]"
        faults += [
            _unknown(f"{key}.variant", budget.variant, project.variants),
            _unknown(f"{key}.target", budget.target, project.targets),
            _unknown(f"{key}.against", None if budget.max_drop is None else budget.reference, project.variants),
        ]
    found = [fault for fault in faults if fault is not None]
    found += _format_faults(project)
    if project.search is not None:
        found += search_format_faults(project.search, project.emit.formats)
        found += search_budget_faults(project)
    if found:
        return found
    return [fault for index, budget in enumerate(project.budgets) for fault in _empty_budget(project, index, budget)]


def _unknown(key: str, name: str | None, known: Iterable[str]) -> Fault | None:
    known = list(known)
    if name is None or name in known:
        return None
    return Fault(key, f"one of {listed(known)}", repr(name), nearest(name, known))


def _format_faults(project: Project) -> list[Fault]:
    faults = []
    for variant, format in project.emitted():
        section = project.variants[variant].quantize
        if section is not None and section.scheme not in SUPPORTED_QUANTIZATION[format]:
            faults.append(unsupported_fault(f"variants.{variant}", [section.scheme], [format]))
    formats = {format for _, format in project.emitted()}
    if project.emit.dynamic_batch and project.search is None and Format.ONNX not in formats:
        faults.append(Fault("emit.dynamic_batch", "a variant in onnx, which alone it changes", "none"))
    return faults


def _empty_budget(project: Project, index: int, budget: Budget) -> list[Fault]:
    """A budget that judges nothing at all would pass for ever: an error."""
    variants = project.shipped if budget.variant is None else (budget.variant,)
    formats = {format for variant in variants for format in project.formats_of(variant)}
    key = f"budgets[{index}]"
    faults = []
    if not variants:
        faults.append(Fault(key, "a budget that judges something", "no variant ships"))
    elif budget.max_drop is not None and set(variants) == {budget.reference} and project.search is None:
        faults.append(Fault(key, f"a variant to compare with {budget.reference}", "that variant alone"))
    elif budget.format is not None and budget.format not in formats:
        shown = listed(sorted(formats))
        faults.append(Fault(f"{key}.format", f"one that {listed(variants)} is emitted in: {shown}", str(budget.format)))
    if project.all_metrics[budget.metric].on_target and not project.targets:
        faults.append(Fault(key, f"a target to measure {budget.metric} on", "a project without [targets]"))
    return faults
