"""Quantities as people write them ("2 ms", "350 kB", "1 pp", "97 %"), and as tables show them.

Everything is kept in base units (seconds, bytes, fractions); text is read and written at the edges, here.
1 kB is 1,000 bytes; 1 KiB is 1,024.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema


class Unit(StrEnum):
    """The base unit in which a metric's values are kept."""

    SECONDS = "s"
    BYTES = "B"
    FRACTION = "fraction"
    PER_SECOND = "1/s"
    COUNT = "count"
    NUMBER = "1"
    """A plain number, of a metric of the user's own."""


_SUFFIXES: dict[Unit, dict[str, float]] = {
    Unit.SECONDS: {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0},
    Unit.BYTES: {
        "B": 1, "kB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000,
        "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
    },
    Unit.FRACTION: {"%": 0.01},
    Unit.PER_SECOND: {"/s": 1.0},
    Unit.COUNT: {"": 1, "k": 1e3, "M": 1e6, "G": 1e9},
    Unit.NUMBER: {"%": 0.01},
}  # fmt: skip
_POINTS = {"pp": 0.01}

EXAMPLES = {
    Unit.SECONDS: '"2 ms" (ns, us, ms, s, min)',
    Unit.BYTES: '"350 kB" (B, kB, MB, GB, KiB, MiB, GiB)',
    Unit.FRACTION: '"97 %"',
    Unit.PER_SECOND: '"100 /s"',
    Unit.COUNT: '"2.5 M" (k, M, G)',
    Unit.NUMBER: '0.95 or "95 %"',
}
POINTS_EXAMPLE = '"1 pp" (percentage points)'
_DIFFERENCE_EXAMPLE = '0.01 or "1 pp"'

_QUANTITY = re.compile(r"\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+)\s*(\S*)\s*")


def parse(text: object, unit: Unit) -> float:
    """Read a quantity such as "2 ms" into its base unit.

    Raises:
        ValueError: no number, no unit, a unit of another kind, or a value that is not finite; says what was expected.
    """
    if unit is Unit.NUMBER and isinstance(text, int | float):
        return _finite(float(text), EXAMPLES[unit])
    value = _parse(text, _SUFFIXES[unit], EXAMPLES[unit])
    if unit is Unit.FRACTION and value > 1:
        raise ValueError("at most 100 %")
    return value


def parse_points(text: object) -> float:
    """Read a difference between two fractions, such as "1 pp", into a fraction (0.01)."""
    return _parse(text, _POINTS, POINTS_EXAMPLE)


def parse_difference(value: object) -> float:
    """Read a difference between two plain numbers: 0.01, or "1 pp" where they are fractions."""
    number = float(value) if isinstance(value, int | float) else _parse(value, _POINTS, _DIFFERENCE_EXAMPLE)
    if number < 0:
        raise ValueError("0 or more")
    return _finite(number, _DIFFERENCE_EXAMPLE)


def _parse(text: object, suffixes: dict[str, float], example: str) -> float:
    match = _QUANTITY.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[2] not in suffixes:
        raise ValueError(f"a quantity like {example}")
    # In decimal, so that "0.7 pp" is the float nearest to 0.007, as 7 of 1,000 samples are: limits are inclusive.
    value = float(Decimal(repr(float(match[1]))) * Decimal(repr(suffixes[match[2]])))
    return _finite(value, example)


def _finite(value: float, example: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"a finite quantity like {example}")
    return value


def format_value(value: float, unit: Unit, extra_digits: int = 0) -> str:
    """Write a value as a person reads it: three significant digits and the unit that fits its size.

    `extra_digits` more are shown where two values must be told apart.
    """
    if not math.isfinite(value):
        return str(value)
    match unit:
        case Unit.SECONDS:
            return _scaled(value, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)), extra_digits)
        case Unit.BYTES:
            return format_bytes(value, extra_digits)
        case Unit.FRACTION:
            return f"{100 * value:.{2 + extra_digits}f} %"
        case Unit.PER_SECOND:
            return f"{value:,.{extra_digits}f} /s"
        case Unit.COUNT:
            return _scaled(value, (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0)), extra_digits).rstrip()
        case Unit.NUMBER:
            return f"{value:,.{extra_digits}f}" if abs(value) >= 10_000 else f"{value:.{4 + extra_digits}g}"


def format_bytes(value: float, extra_digits: int = 0) -> str:
    return _scaled(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)), extra_digits)


def format_points(value: float, extra_digits: int = 0) -> str:
    """Write a difference of two fractions in percentage points."""
    return f"{100 * value:+.{2 + extra_digits}f} pp"


def _scaled(value: float, steps: tuple[tuple[str, float], ...], extra_digits: int) -> str:
    for suffix, scale in steps:
        # The 0.9995 keeps 999.96 µs from being shown as "1e+03 µs".
        if abs(value) >= 0.9995 * scale:
            return f"{_three_digits(value / scale, extra_digits)} {suffix}"
    suffix, scale = steps[-1]
    return f"{_three_digits(value / scale, extra_digits)} {suffix}"


def _three_digits(value: float, extra_digits: int) -> str:
    digits_before_point = len(str(int(abs(float(f"{value:.3g}")))))  # of what is shown: 99.96 is 100
    return f"{value:.{max(0, 3 - digits_before_point) + extra_digits}f}"


def _quantity_type(unit: Unit) -> Any:
    def validate(value: object) -> float:
        number = parse(value, unit)
        if number <= 0:
            raise ValueError(f"more than nothing, like {EXAMPLES[unit]}")
        return number

    schema = {"type": "string", "examples": [EXAMPLES[unit].split('"')[1]]}
    return Annotated[float, BeforeValidator(validate), WithJsonSchema(schema)]


Duration = _quantity_type(Unit.SECONDS)
ByteSize = _quantity_type(Unit.BYTES)
Percentage = _quantity_type(Unit.FRACTION)
