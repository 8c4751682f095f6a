"""Reading `edgecc.toml`: everything is checked before any work starts, and every fault is reported at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgecc.budget import Budget
from edgecc.errors import Fault, ProjectError
from edgecc.files import is_file
from edgecc.metrics import METRICS, Better, Metric, all_metrics
from edgecc.project import Project, ProjectFolder
from edgecc.section import KeyFaultError
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
        faults += [fault_of(problem, document) for problem in error.errors()]
    # The metrics' spelling and the targets' own keys are checked even where other keys are at fault.
    faults += _metric_faults(document)
    faults += target_faults(document, target_options)
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


def fault_of(problem: Any, document: Mapping[str, Any]) -> Fault:
    """Turn one of pydantic's problems into ours: where, expected, given, nearest right spelling."""
    # pydantic inserts the tag of a discriminated union into the path; the file has no such key.
    location = [part for part in problem["loc"] if not _is_union_tag(part, problem["loc"], document)]
    key = spell(location)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1])
        return Fault(key, f"one of {_listed(known)}", "an unknown key", nearest(str(location[-1]), known))
    if kind == "missing":
        return Fault(key, "a value: this key is required", "nothing")
    if kind in {"enum", "literal_error", "union_tag_invalid"}:
        expected = context.get("expected") or context.get("expected_tags", "")
        choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
        given = context.get("tag", problem["input"])
        return Fault(key, f"one of {_listed(choices)}", repr(given), nearest(str(given), choices))
    if kind == "value_error" and isinstance(context["error"], KeyFaultError):
        error = context["error"]
        return Fault(f"{key}.{error.key}", str(error), repr(error.given))
    if kind == "value_error":
        return Fault(key, str(context["error"]), _shown(problem["input"]))
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return Fault(key, f"a table with a `{tag}`", _shown(problem["input"]))
    if kind in _TYPES:
        return Fault(key, _TYPES[kind], _shown(problem["input"]))
    if kind == "string_pattern_mismatch":
        return Fault(key, _PATTERNS.get(context["pattern"], context["pattern"]), repr(problem["input"]))
    message = problem["msg"].removeprefix("Input should be ")
    return Fault(key, message, _shown(problem["input"]))


_TYPES = {
    "tuple_type": "a list; budgets are written [[budgets]]",
    "dict_type": "a table",
    "model_type": "a table",
    "mapping_type": "a table",
    "too_short": "at least one",
    "model_attributes_type": "a table",
}
"""What pydantic calls by Python's names."""

_TAGS = ("schedule", "method")
"""Keys whose value says which other keys there are."""

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "a name of letters, digits, `.`, `_` and `-`",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": '"module:function"',
}


def _is_union_tag(part: Any, location: tuple[Any, ...], document: Mapping[str, Any]) -> bool:
    index = location.index(part)
    parent: Any = document
    for step in location[:index]:
        parent = parent.get(step) if isinstance(parent, Mapping) else None
    return isinstance(parent, Mapping) and part in [parent.get(tag) for tag in _TAGS]


def _known_keys(location: Iterable[Any]) -> list[str]:
    """The keys a table takes, found by walking the schema along pydantic's path, tags of unions included."""
    schema = Project.model_json_schema()
    node: Any = schema
    for part in location:
        node = _resolve(node, schema)
        branches = [_resolve(branch, schema) for branch in node.get("anyOf", [node])]
        node = next((found for branch in branches if (found := _child(branch, part)) is not None), {})
    branches = [_resolve(branch, schema) for branch in _resolve(node, schema).get("anyOf", [_resolve(node, schema)])]
    return sorted({key for branch in branches for key in branch.get("properties", {})})


def _child(node: Mapping[str, Any], part: Any) -> Any:
    if isinstance(part, int):
        return node.get("items")
    if part in (tagged := node.get("discriminator", {}).get("mapping", {})):
        return {"$ref": tagged[part]}
    properties = node.get("properties", {})
    if part in properties:
        return properties[part]
    patterned = list(node.get("patternProperties", {}).values())
    return patterned[0] if patterned else node.get("additionalProperties") or None


def _resolve(node: Any, schema: Mapping[str, Any]) -> Any:
    while isinstance(node, Mapping) and "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def _metric_faults(document: Mapping[str, Any]) -> list[Fault]:
    budgets = document.get("budgets", [])
    known = all_metrics(_users_metrics(document))
    faults = []
    for index, budget in enumerate(budgets if isinstance(budgets, list) else []):
        name = budget.get("metric") if isinstance(budget, dict) else None
        key = f"budgets[{index}]"
        if isinstance(name, str) and name not in known:
            faults.append(Fault(f"{key}.metric", f"one of {_listed(known)}", repr(name), nearest(name, known)))
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
    return [Fault(f"{key}.{wrong}", expected, _shown(budget[wrong]))]


def target_faults(document: Mapping[str, Any], target_options: Mapping[str, type[BaseModel]]) -> list[Fault]:
    targets = document.get("targets", {})
    faults: list[Fault] = []
    for name, table in targets.items() if isinstance(targets, dict) else []:
        if not isinstance(table, dict) or not isinstance(kind := table.get("kind"), str):
            continue  # pydantic has said so
        if kind not in target_options:
            known = list(target_options)
            key = f"targets.{name}.kind"
            faults.append(Fault(key, f"one of {_listed(known)}", repr(kind), nearest(kind, known)))
            continue
        options = target_options[kind]
        try:
            options.model_validate({key: value for key, value in table.items() if key != "kind"})
        except ValidationError as error:
            faults += [_option_fault(problem, name, options) for problem in error.errors()]
    return faults


def _option_fault(problem: Any, target: str, options: type[BaseModel]) -> Fault:
    key = spell(["targets", target, *problem["loc"]])
    if problem["type"] == "extra_forbidden":
        known = ["kind", *options.model_fields]
        return Fault(key, f"one of {_listed(known)}", "an unknown key", nearest(str(problem["loc"][-1]), known))
    if problem["type"] == "value_error":
        return Fault(key, str(problem["ctx"]["error"]), _shown(problem["input"]))
    return Fault(key, problem["msg"].removeprefix("Input should be "), _shown(problem["input"]))


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
    if found:
        return found
    return [fault for index, budget in enumerate(project.budgets) for fault in _empty_budget(project, index, budget)]


def _unknown(key: str, name: str | None, known: Iterable[str]) -> Fault | None:
    known = list(known)
    if name is None or name in known:
        return None
    return Fault(key, f"one of {_listed(known)}", repr(name), nearest(name, known))


def _format_faults(project: Project) -> list[Fault]:
    faults = []
    for variant, format in project.emitted():
        section = project.variants[variant].quantize
        quantization = None if section is None else section.scheme
        if quantization is not None and quantization not in SUPPORTED_QUANTIZATION[format]:
            able = [str(other) for other in SUPPORTED_QUANTIZATION if quantization in SUPPORTED_QUANTIZATION[other]]
            faults.append(
                Fault(
                    f"variants.{variant}.quantize",
                    f"a format that can be {quantization}: {_listed(able)} (set variants.{variant}.formats)",
                    f"{format}",
                )
            )
    return faults


def _empty_budget(project: Project, index: int, budget: Budget) -> list[Fault]:
    """A budget that judges nothing at all would pass for ever: an error."""
    variants = project.shipped if budget.variant is None else (budget.variant,)
    formats = {format for variant in variants for format in project.formats_of(variant)}
    key = f"budgets[{index}]"
    faults = []
    if not variants:
        faults.append(Fault(key, "a budget that judges something", "no variant ships"))
    elif budget.max_drop is not None and set(variants) == {budget.reference}:
        faults.append(Fault(key, f"a variant to compare with {budget.reference}", "that variant alone"))
    elif budget.format is not None and budget.format not in formats:
        shown = _listed(sorted(formats))
        faults.append(
            Fault(f"{key}.format", f"one that {_listed(variants)} is emitted in: {shown}", str(budget.format))
        )
    if project.all_metrics[budget.metric].on_target and not project.targets:
        faults.append(Fault(key, f"a target to measure {budget.metric} on", "a project without [targets]"))
    return faults


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known spelling that is closest to what was given, if any is close."""
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)), None)


def spell(location: Iterable[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table with " + _listed(value) if value else "an empty table"
    return repr(value)
