"""Reading `edgecc.toml`: everything is checked before any work starts, and every fault is reported at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgecc.artifact import Format
from edgecc.budget import Budget
from edgecc.errors import Fault, ProjectError
from edgecc.files import is_file
from edgecc.metrics import METRICS, USER_PREFIX, Better, Metric, all_metrics, user_metric
from edgecc.project import Project, ProjectFolder
from edgecc.search_space import (
    FORMATS,
    OPEN_KEYS,
    OpenOption,
    OpenOptionError,
    OpenVariant,
    Sampled,
    SearchSection,
    open_tables,
)
from edgecc.section import KeyFaultError
from edgecc.variant import SUPPORTED_QUANTIZATION, Quantization

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
        faults += _faults_of(error.errors(), document)
    # The metrics' spelling, the targets' own keys and open variants are checked even where other keys are at fault.
    faults += _metric_faults(document)
    faults += target_faults(document, target_options)
    faults += _search_faults(document)
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


def _faults_of(
    problems: Iterable[Any], document: Mapping[str, Any], at: tuple[str, ...] = (), known: Sequence[str] | None = None
) -> list[Fault]:
    """Each fault once: where a value is none of several types, pydantic tells them one by one.

    Args:
        problems: pydantic's, of the table at `at`.
        document: the whole file.
        at: the keys that lead to the table.
        known: the keys it takes, where the project's schema does not tell.
    """
    found: dict[tuple[str, str], Fault] = {}
    for problem in problems:
        fault = fault_of({**problem, "loc": (*at, *problem["loc"])}, document, known)
        same = found.get((fault.key, fault.given))
        merged = fault if same is None else replace(same, expected=f"{same.expected} or {fault.expected}")
        found[fault.key, fault.given] = merged
    return list(found.values())


def fault_of(problem: Any, document: Mapping[str, Any], known: Sequence[str] | None = None) -> Fault:
    """Turn one of pydantic's problems into ours: where, expected, given, nearest right spelling."""
    location = _in_the_file(problem, document)
    key = spell(location)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1]) if known is None else known
        return Fault(key, f"one of {_listed(known)}", "an unknown key", nearest(str(location[-1]), known))
    if kind == "missing":
        return Fault(key, "a value: this key is required", "nothing")
    if kind == "union_tag_invalid":
        key += "." + context["discriminator"].strip("'")
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
        return Fault(key, "written [[budgets]]" if key == "budgets" else _TYPES[kind], _shown(problem["input"]))
    if kind == "string_pattern_mismatch":
        return Fault(key, _PATTERNS.get(context["pattern"], context["pattern"]), repr(problem["input"]))
    message = problem["msg"].removeprefix("Input should be ")
    return Fault(key, message, _shown(problem["input"]))


_TYPES = {
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "mapping_type": "a table",
    "too_short": "at least one",
    "model_attributes_type": "a table",
}
"""What pydantic calls by Python's names."""

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "a name of letters, digits, `.`, `_` and `-`",
    r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$": '"module:function"',
}


def _in_the_file(problem: Any, document: Mapping[str, Any]) -> list[Any]:
    """The problem's location, without the parts that the file does not have: pydantic inserts a union's members."""
    location = []
    place: Any = document
    for index, part in enumerate(problem["loc"]):
        if part in (place if isinstance(place, Mapping) else range(len(place)) if isinstance(place, list) else ()):
            place = place[part]
        elif problem["type"] != "missing" or index < len(problem["loc"]) - 1:
            continue
        location.append(part)
    return location


@cache
def _project_schema() -> dict[str, Any]:
    return Project.model_json_schema()


def _known_keys(location: Iterable[Any]) -> list[str]:
    """The keys a table takes, found by walking the schema along pydantic's path, tags of unions included."""
    schema = _project_schema()
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
            faults += _faults_of(error.errors(), document, ("targets", name), ["kind", *options.model_fields])
    return faults


def _search_faults(document: Mapping[str, Any]) -> list[Fault]:
    search = document.get("search")
    variants = search.get("variants") if isinstance(search, dict) else None
    tables = variants.items() if isinstance(variants, dict) else ()
    return [fault for name, table in tables if isinstance(table, dict) for fault in _open_faults(name, table)]


def _open_faults(name: str, table: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with an open variant whatever is chosen; which values do not fit together, the search finds out."""
    document = {"search": {"variants": {name: table}}}
    options: list[OpenOption] = []
    faults: list[Fault] = []
    unread: list[str] = []
    for path, value in open_tables(table):
        at = ("search", "variants", name, *path)
        try:
            options.append(OpenOption.read(path, value))
        except OpenOptionError as error:
            faults += _faults_of(error.error.errors(), document, at, list(error.expected.model_fields))
            unread.append(spell(at))
        else:
            faults += _mixed_format_faults(options[-1], spell(at))
    variant = OpenVariant(name, table, tuple(options))
    found = [fault for misfit in variant.misfits() for fault in _misfit_faults(variant, *misfit)]
    faults += [fault for fault in found if all(_below(place, fault.key) is None for place in unread)]
    return list(dict.fromkeys(faults))


def _mixed_format_faults(option: OpenOption, key: str) -> Iterator[Fault]:
    for index, formats in enumerate(option.values.samples if option.path == (FORMATS,) else ()):
        if isinstance(formats, list) and len(formats) > 1:
            yield Fault(f"{key}.choice[{index}]", "one format: a recipe is emitted in one", repr(formats))


def _misfit_faults(variant: OpenVariant, sampled: Sampled, problems: Sequence[Any]) -> Iterator[Fault]:
    at, document = ("variants", variant.name), {"variants": {variant.name: sampled.table}}
    meant = {spell(_in_the_file(problem, sampled.table)): _meant_open(problem) for problem in problems}
    for fault in _faults_of(problems, document, at):
        key = fault.key.removeprefix(f"{spell(at)}.")
        written = _as_written(key, variant.options, sampled)
        yield replace(fault, key=f"search.{spell(at)}.{written}", suggestion=fault.suggestion or meant.get(key))


def _meant_open(problem: Any) -> str | None:
    """The key that would leave an option open, where one nearly like it stands that nobody knows."""
    if problem["type"] == "extra_forbidden":
        keys = [problem["loc"][-1]]
    else:
        is_misplaced = isinstance(problem["input"], Mapping) and problem["type"] not in {"missing", "value_error"}
        keys = [key for key in problem["input"] if key not in OPEN_KEYS] if is_misplaced else []
    return next((found for key in keys if (found := nearest(key, OPEN_KEYS)) is not None), None)


def _as_written(key: str, options: Iterable[OpenOption], sampled: Sampled) -> str:
    """The key with the place in the choice that it was taken from: `prune.choice[1].sparsity`."""
    for option in options:
        if below := _below(option.name, key):
            return f"{option.name}.choice[{sampled.numbers[option.name]}]{below}"
    return key


def _below(place: str, key: str) -> str | None:
    """What follows in a key that is at this place or below it; None for any other."""
    rest = key.removeprefix(place)
    return rest if key.startswith(place) and rest[:1] in ("", ".", "[") else None


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
        found += _search_format_faults(project.search, project.emit.formats)
        found += _search_budget_faults(project)
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
        if section is not None and section.scheme not in SUPPORTED_QUANTIZATION[format]:
            faults.append(_unsupported_fault(f"variants.{variant}", [section.scheme], [format]))
    return faults


def _search_format_faults(search: SearchSection, emitted: Sequence[Format]) -> Iterator[Fault]:
    """Open variants that cannot be emitted in any format, whatever is chosen."""
    for variant in search.open_variants(emitted):
        tables = [sampled.table for sampled in variant.sampled()]
        formats = list(dict.fromkeys(Format(format) for table in tables for format in table[FORMATS]))
        schemes = list(dict.fromkeys(_scheme(table) for table in tables))
        supported = {scheme for format in formats for scheme in (None, *SUPPORTED_QUANTIZATION[format])}
        if supported.isdisjoint(schemes):
            known = [scheme for scheme in schemes if scheme is not None]
            yield _unsupported_fault(f"search.variants.{variant.name}", known, formats)


def _scheme(table: Mapping[str, Any]) -> Quantization | None:
    # Of this step alone: others may not fit together yet.
    quantize = table.get("quantize")
    scheme = quantize["scheme"] if isinstance(quantize, Mapping) else quantize
    return None if scheme is None else Quantization(scheme)


def _unsupported_fault(key: str, schemes: Sequence[Quantization], formats: Sequence[Format]) -> Fault:
    able = [format for format, supported in SUPPORTED_QUANTIZATION.items() if not supported.isdisjoint(schemes)]
    expected = f"a format that can be {' or '.join(schemes)}: {_listed(able)} (set {key}.formats)"
    return Fault(f"{key}.quantize", expected, " and ".join(formats))


_ANSWERS = frozenset({"accuracy", "agreement.top1"})
"""Metrics of how good the answers are, rather than of what they cost."""


def _search_budget_faults(project: Project) -> Iterator[Fault]:
    """A search without a score to keep or without a cost to cut has nothing to weigh."""
    # Of the user's own metrics, the first alone is scored on validation data.
    scores = {"accuracy", *(user_metric(name) for name in list(project.metrics)[:1])}
    counted = [
        budget.metric
        for budget in project.budgets
        if budget.variant is None and budget.max_regression is None and budget.severity == "error"
    ]
    costs = [metric for metric in counted if metric not in _ANSWERS and not metric.startswith(USER_PREFIX)]
    if not costs or scores.isdisjoint(counted):
        given = f"budgets on {_listed(dict.fromkeys(counted))}" if counted else "none"
        if len(counted) < len(project.budgets):
            given += '; those with `variant`, `max_regression` or severity "warn" do not count'
        yield Fault("search", _SEARCHABLE, given)


_SEARCHABLE = (
    "at least one budget on accuracy or on the first metric of your own, and one on a cost such as size or latency"
)


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
