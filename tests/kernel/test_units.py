"""Quantities: read as people write them, written as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.units import Unit, format_bytes, format_points, format_value, parse, parse_points


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("2 ms", Unit.SECONDS, 0.002),
        ("2ms", Unit.SECONDS, 0.002),
        (" 1.5 µs ", Unit.SECONDS, 1.5e-6),
        ("3 us", Unit.SECONDS, 3e-6),
        ("350 kB", Unit.BYTES, 350_000),
        ("1 KiB", Unit.BYTES, 1024),
        ("97 %", Unit.FRACTION, 0.97),
        ("100 /s", Unit.PER_SECOND, 100),
        ("2.5 M", Unit.COUNT, 2_500_000),
        ("350k", Unit.COUNT, 350_000),
        ("1 G", Unit.COUNT, 1e9),
        ("12_000", Unit.COUNT, 12_000),
        (".5 s", Unit.SECONDS, 0.5),
    ],
)
def test_reads_quantities(text: str, unit: Unit, value: float) -> None:
    assert parse(text, unit) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("2", Unit.SECONDS),
        (2, Unit.SECONDS),
        ("2 kB", Unit.SECONDS),
        ("2 KB", Unit.BYTES),
        ("-2 ms", Unit.SECONDS),
        ("ms", Unit.SECONDS),
        ("1 pp", Unit.FRACTION),
        ("1e999 s", Unit.SECONDS),
        ("", Unit.BYTES),
        ("1.2.3 s", Unit.SECONDS),
        ("2 MB", Unit.COUNT),
        ("2 m", Unit.COUNT),
    ],
)
def test_refuses_what_is_not_a_quantity_of_that_unit(text: object, unit: Unit) -> None:
    with pytest.raises(ValueError, match="quantity like"):
        parse(text, unit)


def test_points_are_not_percent() -> None:
    assert parse_points("1 pp") == pytest.approx(0.01)
    with pytest.raises(ValueError, match="percentage points"):
        parse_points("1 %")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0021, Unit.SECONDS, "2.10 ms"),
        (999.6e-6, Unit.SECONDS, "1.00 ms"),
        (10.5e-6, Unit.SECONDS, "10.5 µs"),
        (123.0, Unit.SECONDS, "123 s"),
        (350_400, Unit.BYTES, "350 kB"),
        (12, Unit.BYTES, "12.0 B"),
        (0.98765, Unit.FRACTION, "98.77 %"),
        (1_133_918, Unit.COUNT, "1.13 M"),
        (28_516, Unit.COUNT, "28.5 k"),
        (16.5e9, Unit.COUNT, "16.5 G"),
        (12, Unit.COUNT, "12.0"),
        (math.nan, Unit.SECONDS, "nan"),
    ],
)
def test_writes_three_digits(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


def test_points_carry_their_sign() -> None:
    assert format_points(0.004) == "+0.40 pp"
    assert format_points(-0.004) == "-0.40 pp"


@given(st.floats(min_value=1e-9, max_value=1e4))
def test_writing_and_reading_back_keeps_three_digits(value: float) -> None:
    assert parse(format_value(value, Unit.SECONDS), Unit.SECONDS) == pytest.approx(value, rel=6e-3)


@given(st.integers(min_value=1, max_value=10**12))
def test_bytes_are_never_shown_as_a_thousand_of_a_smaller_unit(value: int) -> None:
    number, unit = format_bytes(value).split()
    assert float(number) < 1000 or unit == "GB"


@pytest.mark.parametrize(("written", "value"), [(0.95, 0.95), (-3, -3.0), ("95 %", 0.95)])
def test_a_plain_number_is_a_number_or_a_percentage(written: object, value: float) -> None:
    assert parse(written, Unit.NUMBER) == value


@pytest.mark.parametrize("written", [float("nan"), float("inf"), "0.95", "2 ms"])
def test_what_is_no_plain_number(written: object) -> None:
    with pytest.raises(ValueError, match=r'0\.95 or "95 %"'):
        parse(written, Unit.NUMBER)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.97314, "0.9731"), (1, "1"), (1234.56, "1235"), (-12345.6, "-12,346"), (1e-7, "1e-07")]
)
def test_plain_numbers_are_shown_with_four_digits(value: float, shown: str) -> None:
    assert format_value(value, Unit.NUMBER) == shown
