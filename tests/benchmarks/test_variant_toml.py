"""A variant as text, and a budget as text: what is printed can be pasted, and means what it was made from."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.benchmarks.report.needed_budget import limit_that_is_met, needed_budget
from edgecc.benchmarks.report.variant_toml import variant_toml
from edgecc.errors import MissingExtraError
from edgecc.metrics import Better
from edgecc.search_outcome import Objective, SearchLimit
from edgecc.units import Unit, parse
from edgecc.variant import VariantSection

pytest.importorskip("tomli_w", reason="tomli_w is not installed: edgecc[search] brings it")

PROJECT = """\
version = 1
name = "demo"
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
"""
COSINE = {"schedule": "cosine", "initial": 4e-3}
STUDENT = {"student": "models:student", "hp": {"width": 16, "wide": True, "kind": 'a "b"\n[c]'}, "alpha": 0.0}


@pytest.mark.parametrize("name", ["small", "small-0a1b2c", "v1.2"])
@pytest.mark.parametrize(
    "table",
    [
        {},
        {"quantize": "int8"},
        {"quantize": {"scheme": "int8", "calibration": "percentile", "percentile": 99.9, "keep": ["a/b", "c, [d]"]}},
        {"prune": {"method": "channel", "sparsity": 0.5, "exclude": ["conv", "dense"], "learning_rate": 1e-5}},
        {"prune": {"method": "magnitude", "sparsity": 0.5, "m_by_n": (2, 4)}, "quantize": "int16x8"},
        {"distill": {**STUDENT, "learning_rate": COSINE, "epochs": None}, "formats": ["tflite", "onnx"]},
        {"distill": STUDENT, "prune": {"method": "channel", "sparsity": 0.25}, "quantize": "int8", "formats": None},
        {"quantize": {"scheme": "int8", "keep": [f"a_layer_with_a_long_name_{index}" for index in range(9)]}},
    ],
)
def test_what_is_pasted_is_the_same_variant(name: str, table: dict[str, Any]) -> None:
    text = variant_toml(name, table)
    pasted = tomllib.loads(PROJECT + text)["variants"]
    assert set(pasted) == {"float32", name}
    assert VariantSection.model_validate(pasted[name]) == VariantSection.model_validate(table)


def test_it_can_be_read() -> None:
    table = {
        "distill": {"student": "models:student", "epochs": None, "learning_rate": COSINE},
        "quantize": "int8",
        "formats": ["tflite", "onnx"],
    }
    assert variant_toml("small", table) == (
        '[variants.small]\nquantize = "int8"\nformats = ["tflite", "onnx"]\n\n'
        '[variants.small.distill]\nstudent = "models:student"\n\n'
        '[variants.small.distill.learning_rate]\nschedule = "cosine"\ninitial = 0.004\n'
    )


def test_a_long_array_stays_broken_up() -> None:
    text = variant_toml("small", {"prune": {"exclude": [f"a_layer_with_a_long_name_{index}" for index in range(9)]}})
    assert max(map(len, text.splitlines())) < 80


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tomli_w", None)
    with pytest.raises(MissingExtraError) as raised:
        variant_toml("small", {})
    assert "edgecc[search]" in str(raised.value.hint)


@pytest.mark.parametrize(
    ("value", "unit", "better", "text"),
    [
        (23_400, Unit.BYTES, "lower", "23.4 kB"),
        (23_401, Unit.BYTES, "lower", "23.5 kB"),
        (999_999, Unit.BYTES, "lower", "1 MB"),
        (0.0234, Unit.SECONDS, "lower", "23.4 ms"),
        (1.0004e-3, Unit.SECONDS, "lower", "1.01 ms"),
        (0.96857, Unit.FRACTION, "higher", "96.85 %"),
        (0.968, Unit.FRACTION, "higher", "96.8 %"),
        (1234.5, Unit.PER_SECOND, "higher", "1230 /s"),
        (1_234_567, Unit.COUNT, "lower", "1.24 M"),
        (0.12345, Unit.NUMBER, "lower", "0.1235"),
        (-0.12345, Unit.NUMBER, "higher", "-0.1235"),
        (0.0, Unit.NUMBER, "lower", "0"),
    ],
)
def test_a_limit_is_rounded_to_the_side_on_which_it_is_met(value: float, unit: Unit, better: Better, text: str) -> None:
    assert limit_that_is_met(value, unit, better) == text


@pytest.mark.parametrize("unit", [unit for unit in Unit if unit is not Unit.NUMBER])
@given(share=st.floats(1e-6, 1))
def test_a_limit_is_met_as_it_is_printed(unit: Unit, share: float) -> None:
    value = share if unit is Unit.FRACTION else 1e9 * share**3
    assert parse(limit_that_is_met(value, unit, "lower"), unit) >= value
    assert parse(limit_that_is_met(value, unit, "higher"), unit) <= value


def limit(
    words: str, bound: float | None, reference: float | None = None, *, is_own: bool = False, variant: str = "float32"
) -> SearchLimit:
    objective = (
        Objective(metric="user.error", target=None, unit=Unit.NUMBER, better="lower")
        if is_own
        else Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
    )
    return SearchLimit(
        objective=objective,
        bound=bound,
        words=words,
        reference=reference,
        reference_variant=None if reference is None else variant,
    )


@pytest.mark.parametrize(
    ("budget", "best", "needed"),
    [
        (limit("at least 97 %", 0.97), 0.9612, "at least 96.12 %"),
        (limit("at most 0.5 pp below float32", 0.975, 0.98), 0.968, "at most 1.2 pp below float32"),
        (limit("at most 0.5 pp below float32", 0.975, 0.98), 0.96833, "at most 1.17 pp below float32"),
        (limit("at most 0.1 worse than float32", 0.6, 0.5, is_own=True), 0.65, "at most 0.15 worse than float32"),
        (
            limit("at most 1 pp worse than big", 0.51, 0.5, is_own=True, variant="big"),
            0.521,
            "at most 0.021 worse than big",
        ),
        (limit("at most 0.1 worse than float32", None, is_own=True), 0.65, "at most 0.65"),
    ],
)
def test_a_needed_budget_is_of_the_same_kind(budget: SearchLimit, best: float, needed: str) -> None:
    assert needed_budget(budget, best) == needed
