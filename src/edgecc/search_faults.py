"""What is wrong with a `[search]` before anything is searched: values that no choice of the others would cure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgecc.artifact import Format
from edgecc.errors import Fault
from edgecc.faults import faults_of, in_the_file, listed, nearest, spell, unsupported_fault
from edgecc.metrics import USER_PREFIX, user_metric
from edgecc.project import Project
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
from edgecc.variant import SUPPORTED_QUANTIZATION, Quantization


def search_faults(document: Mapping[str, Any]) -> list[Fault]:
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
            faults += faults_of(error.error.errors(), document, at, list(error.expected.model_fields))
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
    meant = {spell(in_the_file(problem, sampled.table)): _meant_open(problem) for problem in problems}
    for fault in faults_of(problems, document, at):
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


def search_format_faults(search: SearchSection, emitted: Sequence[Format]) -> Iterator[Fault]:
    """Open variants that cannot be emitted in any format, whatever is chosen."""
    for variant in search.open_variants(emitted):
        tables = [sampled.table for sampled in variant.sampled()]
        formats = list(dict.fromkeys(Format(format) for table in tables for format in table[FORMATS]))
        schemes = list(dict.fromkeys(_scheme(table) for table in tables))
        supported = {scheme for format in formats for scheme in (None, *SUPPORTED_QUANTIZATION[format])}
        if supported.isdisjoint(schemes):
            known = [scheme for scheme in schemes if scheme is not None]
            yield unsupported_fault(f"search.variants.{variant.name}", known, formats)


def _scheme(table: Mapping[str, Any]) -> Quantization | None:
    # Of this step alone: others may not fit together yet.
    quantize = table.get("quantize")
    scheme = quantize["scheme"] if isinstance(quantize, Mapping) else quantize
    return None if scheme is None else Quantization(scheme)


_ANSWERS = frozenset({"accuracy", "agreement.top1"})
"""Metrics of how good the answers are, rather than of what they cost."""


def search_budget_faults(project: Project) -> Iterator[Fault]:
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
        given = f"budgets on {listed(dict.fromkeys(counted))}" if counted else "none"
        if len(counted) < len(project.budgets):
            given += '; those with `variant`, `max_regression` or severity "warn" do not count'
        yield Fault("search", _SEARCHABLE, given)


_SEARCHABLE = (
    "at least one budget on accuracy or on the first metric of your own, and one on a cost such as size or latency"
)
