"""A variant as text to paste into a project file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgecc.errors import MissingExtraError

_ARRAY = re.compile(r"\[\n((?: {4}[^\n]*,\n)+)\]")
"""An array of plain values as tomli_w breaks it up: no string of its holds a line break as it is."""
_WIDEST = 80


def variant_toml(name: str, table: Mapping[str, Any]) -> str:
    """`[variants.NAME]` and the tables below it. Values that are None are left out.

    Raises:
        MissingExtraError: tomli_w is not installed.
    """
    text = _tomli_w().dumps({"variants": {name: _without_nones(table)}})
    return _ARRAY.sub(_on_one_line, text)


def _without_nones(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nones(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def _on_one_line(array: re.Match[str]) -> str:
    items = [line.strip().removesuffix(",") for line in array[1].splitlines()]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= _WIDEST else array[0]


def _tomli_w() -> Any:
    try:
        import tomli_w
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="the search", library="tomli_w", extra="search") from error
    return tomli_w
