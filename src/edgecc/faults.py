"""What is wrong with a file, from what pydantic says of it: where, what was expected, what came, what was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from edgecc.artifact import Format
from edgecc.errors import Fault
from edgecc.project import Project
from edgecc.section import KeyFaultError
from edgecc.variant import SUPPORTED_QUANTIZATION, Quantization


def faults_of(
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
    location = in_the_file(problem, document)
    key = spell(location)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(problem["loc"][:-1]) if known is None else known
        return Fault(key, f"one of {listed(known)}", "an unknown key", nearest(str(location[-1]), known))
    if kind == "missing":
        return Fault(key, "a value: this key is required", "nothing")
    if kind == "union_tag_invalid":
        key += "." + context["discriminator"].strip("'")
    if kind in {"enum", "literal_error", "union_tag_invalid"}:
        expected = context.get("expected") or context.get("expected_tags", "")
        choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
        given = context.get("tag", problem["input"])
        return Fault(key, f"one of {listed(choices)}", repr(given), nearest(str(given), choices))
    if kind == "value_error" and isinstance(context["error"], KeyFaultError):
        error = context["error"]
        return Fault(f"{key}.{error.key}", str(error), repr(error.given))
    if kind == "value_error":
        return Fault(key, str(context["error"]), shown(problem["input"]))
    if kind == "union_tag_not_found":
        tag = context["discriminator"].strip("'")
        return Fault(key, f"a table with a `{tag}`", shown(problem["input"]))
    if kind in _TYPES:
        return Fault(key, "written [[budgets]]" if key == "budgets" else _TYPES[kind], shown(problem["input"]))
    if kind == "string_pattern_mismatch":
        return Fault(key, _PATTERNS.get(context["pattern"], context["pattern"]), repr(problem["input"]))
    message = problem["msg"].removeprefix("Input should be ")
    return Fault(key, message, shown(problem["input"]))


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


def in_the_file(problem: Any, document: Mapping[str, Any]) -> list[Any]:
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


def unsupported_fault(key: str, schemes: Sequence[Quantization], formats: Sequence[Format]) -> Fault:
    able = [format for format, supported in SUPPORTED_QUANTIZATION.items() if not supported.isdisjoint(schemes)]
    expected = f"a format that can be {' or '.join(schemes)}: {listed(able)} (set {key}.formats)"
    return Fault(f"{key}.quantize", expected, " and ".join(formats))


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known spelling that is closest to what was given, if any is close."""
    return next(iter(difflib.get_close_matches(given, list(known), n=1, cutoff=0.6)), None)


def spell(location: Iterable[Any]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "the file"


def listed(names: Iterable[Any]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a table with " + listed(value) if value else "an empty table"
    return repr(value)
