"""Open options: which values they have, how a variant is closed, and what is wrong with it whatever is chosen."""

from __future__ import annotations

import copy
import math
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgecc.artifact import Format
from edgecc.project import Project
from edgecc.search_space import Choice, OpenOptionError, OpenVariant, Range, SearchSection, open_options

ROOT = Path(__file__).parents[2]
WHOLE = st.integers(-1000, 1000)
DECIMAL = st.decimals(-1000, 1000, places=3).map(float)
STEP = st.decimals("0.001", "10", places=3).map(float)
SCALAR = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
KEY = st.text(st.characters(categories=["L"]), min_size=1, max_size=5).filter(
    lambda key: key not in {"choice", "low", "high"}
)
OPEN_CHOICE = st.lists(SCALAR, min_size=1, unique_by=repr).map(lambda values: {"choice": values})
OPEN_RANGE = st.tuples(WHOLE, st.integers(1, 9)).map(lambda pair: {"low": pair[0], "high": sum(pair)})
TABLES = st.recursive(
    st.dictionaries(KEY, SCALAR | OPEN_CHOICE | OPEN_RANGE, max_size=4),
    lambda tables: st.dictionaries(KEY, SCALAR | OPEN_CHOICE | OPEN_RANGE | tables, max_size=4),
    max_leaves=6,
)
PRUNED: dict[str, Any] = {"method": "magnitude", "sparsity": 0.5}


def opened(**table: Any) -> OpenVariant:
    return OpenVariant("small", table, tuple(open_options(table)))


def at(table: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        table = table[key]
    return table


def check_countable(values: Range) -> None:
    every = values.every()
    assert values.count == len(every) >= 2
    assert list(every) == sorted(set(every))
    assert values.low == every[0]
    assert every[-1] <= values.high
    assert values.samples == (every[0], every[-1])


@given(low=WHOLE, length=st.integers(1, 300), step=st.none() | st.integers(1, 300), log=st.booleans())
def test_ranges_of_whole_numbers(low: int, length: int, step: int | None, log: bool) -> None:
    if log:
        low, step = abs(low) + 1, None
    values = Range(low=low, high=low + length, step=None if step is None else min(step, length), log=log)
    assert values.is_whole
    check_countable(values)
    assert all(type(value) is int for value in values.every())
    assert values.high - values.every()[-1] < (values.step or 1)


@given(low=DECIMAL, steps=st.integers(1, 200), step=STEP, short=st.booleans())
def test_ranges_of_steps_hold_the_numbers_as_people_write_them(
    low: float, steps: int, step: float, short: bool
) -> None:
    exact_low, exact_step = Fraction(str(low)), Fraction(str(step))
    high = float(exact_low + (steps + Fraction(short, 2)) * exact_step)
    values = Range(low=low, high=high, step=step)
    check_countable(values)
    assert values.every() == tuple(float(exact_low + index * exact_step) for index in range(steps + 1))


def test_three_steps_of_a_tenth_are_three_tenths() -> None:
    assert Range(low=0.1, high=0.5, step=0.1).every() == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert Range(low=1, high=2, step=0.5).every() == (1.0, 1.5, 2.0)
    assert Range(low=8, high=64, step=24).every() == (8, 32, 56)


@given(low=DECIMAL, high=DECIMAL)
def test_numbers_without_a_step_cannot_be_counted(low: float, high: float) -> None:
    if high <= low:
        low, high = high, low + 1001
    values = Range(low=low, high=high)
    assert values.count == math.inf
    assert values.samples == (low, high)
    with pytest.raises(OverflowError):
        values.every()


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"low": 4, "high": 2}, "high", "more than `low` = 4"),
        ({"low": 4, "high": 4}, "high", "more than `low` = 4"),
        ({"low": 1, "high": 4, "step": 0}, "step", "more than 0"),
        ({"low": 1, "high": 4, "step": 4}, "step", "between `low` and `high`"),
        ({"low": 1, "high": 4, "step": 1, "log": True}, "step", "none beside `log`"),
        ({"low": 0, "high": 4, "log": True}, "low", "more than 0 with `log`"),
    ],
)
def test_ranges_whose_keys_do_not_fit_together(table: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        Range.model_validate(table)
    (problem,) = caught.value.errors()
    assert problem["ctx"]["error"].key == key


@pytest.mark.parametrize("low", [True, "1", math.nan, -math.inf, -(10**400), [1], None])
def test_what_is_no_finite_number_bounds_no_range(low: Any) -> None:
    with pytest.raises(ValidationError, match="number"):
        Range.model_validate({"low": low, "high": 2})


@pytest.mark.parametrize("log", [1, "yes"])
def test_log_is_yes_or_no(log: Any) -> None:
    with pytest.raises(ValidationError, match="boolean"):
        Range.model_validate({"low": 1, "high": 2, "log": log})


def test_choices_are_of_any_kind() -> None:
    values = [1, 1.0, True, "1", [1], [1, 2], {"method": "channel"}]
    choice = Choice.model_validate({"choice": values})
    assert [*map(repr, choice.every())] == [*map(repr, values)]
    assert choice.samples == choice.every()
    assert choice.count == 7


@pytest.mark.parametrize("values", [[], [1, 2, 1], [[1], [1]], "abc", {"a": 1}, 3])
def test_choices_that_leave_nothing_to_choose(values: Any) -> None:
    with pytest.raises(ValidationError):
        Choice.model_validate({"choice": values})


@given(TABLES, st.data())
def test_closing_puts_the_values_in_their_places_and_leaves_the_table(
    table: dict[str, Any], data: st.DataObject
) -> None:
    before = copy.deepcopy(table)
    variant = opened(**table)
    values = {option.name: data.draw(st.sampled_from(option.values.every())) for option in variant.options}
    closed = variant.closed_table(values)
    assert variant.table == table == before
    assert [at(closed, option.path) for option in variant.options] == list(values.values())
    for option in variant.options:
        at(closed, option.path[:-1])[option.path[-1]] = at(table, option.path)
    assert closed == table
    assert variant.count == math.prod(option.values.count for option in variant.options)


@given(TABLES)
def test_every_open_option_is_found_once(table: dict[str, Any]) -> None:
    def count(value: Any) -> int:
        if not isinstance(value, dict):
            return 0
        return 1 if {"choice", "low"} & value.keys() else sum(map(count, value.values()))

    options = list(open_options(table))
    assert len(options) == len({option.path for option in options}) == count(table)


@pytest.mark.dev
def test_editors_are_told_what_stands_in_an_open_variant() -> None:
    import jsonschema

    schema = Project.model_json_schema()
    project = tomllib.loads((ROOT / "examples/digits-search/edgecc.toml").read_text())
    jsonschema.validate(project, schema)
    for table in ({"quantise": "int8"}, 3):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(project | {"search": {"variants": {"small": table}}}, schema)


def test_options_have_the_names_of_their_keys() -> None:
    variant = opened(
        quantize={"choice": ["int8", "float16"]},
        distill={"student": "models:student", "hp": {"width": {"low": 8, "high": 9}, "depth": 2}},
    )
    assert [option.name for option in variant.options] == ["quantize", "distill.hp.width"]
    assert variant.count == 4
    section = variant.closed({"quantize": "float16", "distill.hp.width": 9})
    assert section.recipe()["distill"]["hp"] == {"width": 9, "depth": 2}
    assert section.quantize is not None
    assert section.quantize.scheme == "float16"
    with pytest.raises(ValidationError):
        variant.closed({"quantize": "float17", "distill.hp.width": 9})


def test_an_option_that_cannot_be_read_says_where() -> None:
    with pytest.raises(OpenOptionError) as caught:
        list(open_options({"distill": {"alpha": {"low": 1}}}))
    assert caught.value.path == ("distill", "alpha")
    assert caught.value.expected is Range


@pytest.mark.parametrize(
    ("own", "project", "each"),
    [
        ({}, [Format.TFLITE], [["tflite"]]),
        ({}, [Format.TFLITE, Format.ONNX], [["tflite"], ["onnx"]]),
        ({"formats": ["onnx"]}, [Format.TFLITE], [["onnx"]]),
        ({"formats": ["onnx", "tflite"]}, [Format.TFLITE], [["onnx"], ["tflite"]]),
        ({"formats": {"choice": [["onnx"], ["tflite"]]}}, [Format.TFLITE], [["onnx"], ["tflite"]]),
    ],
)
def test_a_recipe_has_one_format(own: dict[str, Any], project: list[Format], each: list[list[str]]) -> None:
    (variant,) = SearchSection(variants={"small": own}).open_variants(project)
    assert [sampled.table["formats"] for sampled in variant.sampled()] == each
    assert variant.count == len(each)
    assert [option.name for option in variant.options] == ["formats"] * (len(each) > 1)


def test_a_list_of_no_formats_is_not_replaced_by_the_projects() -> None:
    (variant,) = SearchSection(variants={"small": {"formats": []}}).open_variants([Format.TFLITE])
    with pytest.raises(ValidationError, match="at least one"):
        variant.closed({})


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"prune": PRUNED | {"sparsity": {"choice": [0.5, 0.75]}, "m_by_n": {"choice": [[2, 4], [3, 4]]}}},
        {"prune": PRUNED | {"epochs": {"choice": [0, 5]}, "schedule": {"choice": ["polynomial_decay", "constant"]}}},
        {"prune": PRUNED | {"sparsity": {"low": 0.1, "high": 0.9}, "initial_sparsity": {"choice": [0.5, 0.0]}}},
        {"quantize": {"scheme": {"choice": ["int8", "float16"]}, "calibration": {"choice": ["mse", "min_max"]}}},
        # The first samples have two faults that hide each other.
        {
            "prune": PRUNED
            | {
                "sparsity": {"choice": [0.5, 0.9]},
                "initial_sparsity": {"choice": [0.6, 0.0]},
                "epochs": {"choice": [0, 5]},
                "schedule": {"choice": ["polynomial_decay", "constant"]},
            }
        },
    ],
)
def test_values_that_do_not_fit_together_are_left_to_the_search(table: dict[str, Any]) -> None:
    assert list(opened(**table).misfits()) == []


@pytest.mark.parametrize(
    ("table", "places"),
    [
        # No other epochs would make up for the schedule, and no other schedule is there to choose.
        ({"prune": PRUNED | {"epochs": {"choice": [0, 5]}}}, [("prune", "magnitude")]),
        # The first sample is at fault, the other option's samples are not.
        (
            {"distill": {"student": "m:s", "alpha": {"low": -1, "high": 0.5}, "views": {"choice": [1, 0]}}},
            [("distill", "alpha"), ("distill", "views")],
        ),
        # One method takes the key, the other does not.
        (
            {
                "prune": {
                    "method": {"choice": ["channel", "magnitude"]},
                    "sparsity": {"low": 0.1, "high": 0.9},
                    "iterations": {"choice": [1, 2]},
                }
            },
            [("prune", "magnitude", "iterations")],
        ),
        # With nothing open it is one recipe.
        ({"prune": PRUNED | {"sparsity": 2}}, [("prune", "magnitude", "sparsity")]),
    ],
)
def test_what_no_other_choice_would_cure_is_at_fault(table: dict[str, Any], places: list[tuple[str, ...]]) -> None:
    found = [problem["loc"] for _, problems in opened(**table).misfits() for problem in problems]
    assert list(dict.fromkeys(found)) == places
