"""Recipes: their names, their tables, and the shorter ways of making them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgecc.artifact import Format
from edgecc.benchmarks.report.variant_toml import variant_toml
from edgecc.budget_search.proposals import proposer
from edgecc.budget_search.recipe import Recipe, epochs_of
from edgecc.project import Project
from edgecc.search_outcome import Rung
from edgecc.search_space import OpenVariant, SearchSection, open_options
from edgecc.training import ConstantThenExponential, Cosine, TrainSection
from edgecc.variant import ChannelPruning, DistillSection, MagnitudePruning, QuantizeSection, VariantSection

TRAIN = TrainSection(epochs=40, learning_rate=Cosine(schedule="cosine", initial=2e-3, warmup_epochs=8))
CHANNEL: dict[str, Any] = {"method": "channel", "sparsity": 0.5}
MAGNITUDE: dict[str, Any] = {"method": "magnitude", "sparsity": 0.5}
STUDENT: dict[str, Any] = {"student": "models:student"}


def recipe_of(name: str = "small", values: dict[str, Any] | None = None, **table: Any) -> Recipe:
    table = {"formats": ["tflite"], **table}
    return Recipe.of(OpenVariant(name, table, tuple(open_options(table))), values or {})


def made(rung: Rung, *, short: float = 0.125, **table: Any) -> VariantSection:
    return recipe_of(**table).at(rung, TRAIN, short)


def distilled(section: VariantSection) -> DistillSection:
    assert section.distill is not None
    return section.distill


# Names


def test_the_same_recipe_has_the_same_name_in_every_search() -> None:
    """Variants pasted from an older search are found in the cache by it."""
    assert recipe_of(quantize="int8").name == "small-2294b7b2"
    spelled_out = recipe_of(quantize={"scheme": "int8", "calibration": "min_max", "percentile": 99.99})
    closed = recipe_of(values={"quantize": "int8"}, quantize={"choice": ["int8", "float16"]})
    assert {spelled_out.name, closed.name} == {"small-2294b7b2"}


def test_recipes_that_differ_have_other_names() -> None:
    open_variant = {
        "quantize": {"choice": ["int8", "int16x8", "weight_only"]},
        "distill": {
            **STUDENT, "hp": {"width": {"low": 1, "high": 6}, "kind": {"choice": [1, 1.0, True, "1", False, 0]}},
            "temperature": {"choice": [1.0, 2.0]},
        },
    }  # fmt: skip
    section = SearchSection.model_validate({"variants": {"small": open_variant}})
    variants = section.open_variants([Format.TFLITE, Format.ONNX])
    every = proposer(variants, 1000, 2, seed=0)
    names = []
    while (proposal := every.propose()) is not None:
        names.append(Recipe.of(proposal.variant, proposal.values).name)
    assert len(names) == len(set(names)) == 3 * 6 * 6 * 2 * 2


def test_the_longest_name_is_still_one_of_a_variant() -> None:
    name = recipe_of(name="n" * 64).name
    project = {"version": 1, "name": "demo", "model": {"builder": "m:f"}, "data": {"loader": "m:f"}}
    assert list(Project.model_validate({**project, "variants": {name: {}}}).variants) == [name]


def test_values_that_do_not_fit_together_are_no_recipe() -> None:
    with pytest.raises(ValidationError, match="percentile"):
        recipe_of(quantize={"scheme": "int8", "percentile": 99.0})


# Tables

STUDENTS = st.fixed_dictionaries(
    {"student": st.just("models:student")},
    optional={
        "hp": st.dictionaries(st.sampled_from("ab"), st.booleans() | st.integers(0, 9) | st.floats(0, 9) | st.text()),
        "temperature": st.floats(0.5, 9),
        "alpha": st.floats(0, 1),
        "epochs": st.integers(0, 90),
        "batch_size": st.integers(1, 64),
        "learning_rate": st.sampled_from(
            [{"schedule": "cosine", "final": 1e-6}, {"schedule": "step", "warmup_epochs": 4}, {"schedule": "plateau"}]
        ),
    },
)
PRUNINGS = st.fixed_dictionaries(
    {"sparsity": st.floats(0.1, 0.9), "method": st.just("channel")},
    optional={
        "epochs": st.integers(0, 9),
        "scope": st.sampled_from(["layer", "global"]),
        "iterations": st.integers(1, 3),
        "exclude": st.lists(st.text(min_size=1, max_size=3), max_size=2),
    },
) | st.sampled_from([MAGNITUDE, {**MAGNITUDE, "m_by_n": [2, 4]}, {**MAGNITUDE, "epochs": 0, "schedule": "constant"}])
QUANTIZATIONS = st.sampled_from(
    [
        "int8", "weight_only", {"scheme": "int8", "max_drop": "0.5 pp", "keep": ["dense"]},
        {"scheme": "int16x8", "calibration": "percentile", "percentile": 99.9},
        {"scheme": "int8", "per_channel": False},
    ]
)  # fmt: skip
SECTIONS = st.fixed_dictionaries(
    {"formats": st.sampled_from([["tflite"], ["onnx"]])},
    optional={"distill": STUDENTS, "prune": PRUNINGS, "quantize": QUANTIZATIONS},
)


@given(SECTIONS)
@settings(deadline=None)  # the first one imports tomli_w
def test_the_pasted_table_is_the_recipe(table: dict[str, Any]) -> None:
    recipe = recipe_of(**table)
    pytest.importorskip("tomli_w", reason="tomli_w is not installed: edgecc[search] brings it")
    pasted = tomllib.loads(variant_toml(recipe.name, recipe.table))["variants"][recipe.name]
    assert VariantSection.model_validate(pasted) == recipe.section
    assert repr(VariantSection.model_validate(pasted)) == repr(recipe.section)  # where 1 and 1.0 are two values
    assert recipe_of(**pasted).name == recipe.name


def test_the_table_has_what_was_said_and_no_more() -> None:
    recipe = recipe_of(quantize={"scheme": "int8", "calibration": "min_max"}, prune={**CHANNEL, "epochs": 5})
    assert recipe.table == {"prune": CHANNEL, "quantize": {"scheme": "int8"}, "formats": ["tflite"]}


# Rungs


@given(SECTIONS)
def test_in_full_it_is_as_it_says(table: dict[str, Any]) -> None:
    recipe = recipe_of(**table)
    assert recipe.at(Rung.FULL, TRAIN, 0.1) is recipe.section


@given(SECTIONS, st.floats(0.01, 0.99))
def test_a_shorter_way_has_fewer_epochs(table: dict[str, Any], short: float) -> None:
    untrained, shortly, full = (epochs_of(recipe_of(**table).at(rung, TRAIN, short), TRAIN) for rung in Rung)
    assert untrained == 0
    assert shortly <= full
    assert (shortly == 0) == (full == 0)


@given(SECTIONS, st.floats(0.01, 0.99), st.sampled_from(list(Rung)))
def test_a_shorter_way_is_a_variant_of_the_same_format(table: dict[str, Any], short: float, rung: Rung) -> None:
    """The compiler reads what a recipe says on every rung."""
    section = recipe_of(**table).at(rung, TRAIN, short)
    assert VariantSection.model_validate(section.model_dump(mode="json")) == section
    assert section.formats == recipe_of(**table).section.formats


def test_an_untrained_student_needs_no_teacher() -> None:
    distill = {**STUDENT, "hp": {"width": 8}, "teacher": "t.keras", "augment": "models:augment", "views": 3}
    section = made(Rung.UNTRAINED, distill=distill, quantize="int8")
    assert section == VariantSection.model_validate(
        {
            "distill": {**STUDENT, "hp": {"width": 8}, "epochs": 0, "alpha": 1.0},
            "quantize": "int8",
            "formats": ["tflite"],
        }
    )


def test_a_student_is_taught_shortly_by_its_own_teacher() -> None:
    distill = {**STUDENT, "teacher": "t.keras", "epochs": 80, "augment": "models:augment", "views": 3}
    section = distilled(made(Rung.SHORT, distill=distill))
    assert (section.teacher, section.augment, section.views, section.epochs) == ("t.keras", "models:augment", 3, 10)


@pytest.mark.parametrize(
    ("epochs", "short", "expected"),
    [(None, 0.125, 5), (80, 0.125, 10), (3, 0.125, 1), (1, 0.125, 1), (0, 0.5, 0), (3, 0.99, 3)],
)
def test_a_short_training_has_its_share_of_the_epochs(epochs: int | None, short: float, expected: int) -> None:
    assert distilled(made(Rung.SHORT, short=short, distill={**STUDENT, "epochs": epochs})).epochs == expected


def test_the_warm_up_is_as_much_shorter() -> None:
    """It takes over the project's schedule where it has none of its own."""
    inherited = distilled(made(Rung.SHORT, distill=STUDENT)).learning_rate
    assert inherited == Cosine(schedule="cosine", initial=2e-3, warmup_epochs=1)
    rate = {"schedule": "constant_then_exponential", "warmup_epochs": 20}
    own = distilled(made(Rung.SHORT, distill={**STUDENT, "learning_rate": rate})).learning_rate
    assert own == ConstantThenExponential(schedule="constant_then_exponential", warmup_epochs=2)
    none = recipe_of(distill=STUDENT).at(Rung.SHORT, TrainSection(epochs=40), 0.125)
    assert distilled(none).learning_rate is None


def test_magnitude_pruning_is_left_out_untrained() -> None:
    assert made(Rung.UNTRAINED, prune=MAGNITUDE, quantize="int8").prune is None
    prune = made(Rung.SHORT, prune={**MAGNITUDE, "epochs": 16}).prune
    assert prune == MagnitudePruning(method="magnitude", sparsity=0.5, epochs=2)


def test_channel_pruning_has_its_shape_untrained() -> None:
    prune = {**CHANNEL, "epochs": 16, "iterations": 3, "scope": "global"}
    expected = {"method": "channel", "sparsity": 0.5, "iterations": 3, "scope": "global"}
    assert made(Rung.UNTRAINED, prune=prune).prune == ChannelPruning.model_validate({**expected, "epochs": 0})
    assert made(Rung.SHORT, prune=prune).prune == ChannelPruning.model_validate({**expected, "epochs": 2})


def test_nothing_is_kept_in_float_untrained_but_what_is_named() -> None:
    quantize = {"scheme": "int8", "max_drop": "1 pp", "keep": ["dense"]}
    untrained = made(Rung.UNTRAINED, quantize=quantize).quantize
    assert untrained == QuantizeSection.model_validate({"scheme": "int8", "keep": ["dense"]})


@pytest.mark.parametrize(
    ("table", "is_trained", "epochs"),
    [
        ({"quantize": "int8"}, False, 0),
        ({}, False, 0),
        ({"distill": STUDENT}, True, 40),
        ({"distill": {**STUDENT, "epochs": 7}, "prune": {**CHANNEL, "epochs": 2, "iterations": 3}}, True, 13),
        ({"prune": {**CHANNEL, "epochs": 0}}, False, 0),
        ({"prune": {**MAGNITUDE, "epochs": 3}}, True, 3),
        ({"prune": {**MAGNITUDE, "epochs": 0, "schedule": "constant"}}, False, 0),
    ],
)
def test_what_trains(table: dict[str, Any], is_trained: bool, epochs: int) -> None:
    assert recipe_of(**table).is_trained is is_trained
    assert epochs_of(recipe_of(**table).section, TRAIN) == epochs


def test_only_global_channel_pruning_needs_weights_to_have_a_shape() -> None:
    assert recipe_of(prune={**CHANNEL, "scope": "global"}).shape_depends_on_weights
    assert not recipe_of(prune=CHANNEL).shape_depends_on_weights
    assert not recipe_of(prune={**MAGNITUDE, "scope": "global"}).shape_depends_on_weights


# What a rung settles


@pytest.mark.parametrize(
    ("table", "unsettled"),
    [
        ({"quantize": "int8", "distill": STUDENT}, {("size.compressed", Rung.SHORT)}),
        # Whichever layers stay in float, a file in integers alone is the smallest.
        (
            {"quantize": {"scheme": "int8", "max_drop": "1 pp"}},
            {(metric, rung) for metric in ("latency.p90", "size.compressed") for rung in (Rung.UNTRAINED, Rung.SHORT)}
            | {("size", Rung.SHORT)},
        ),
        # The base model is cut as it was trained, and a student as it began.
        (
            {"prune": {**CHANNEL, "scope": "global"}},
            {(metric, Rung.SHORT) for metric in ("size", "latency.p90", "size.compressed")},
        ),
        (
            {"prune": {**CHANNEL, "scope": "global"}, "distill": STUDENT},
            {
                (metric, rung)
                for metric in ("size", "latency.p90", "size.compressed")
                for rung in (Rung.UNTRAINED, Rung.SHORT)
            },
        ),
    ],
)
def test_what_a_rung_tells_of_a_cost_may_change_with_training(
    table: dict[str, Any], unsettled: set[tuple[str, Rung]]
) -> None:
    recipe = recipe_of(**table)
    every = {(metric, rung) for metric in ("size", "latency.p90", "size.compressed") for rung in Rung}
    found = {(metric, rung) for metric, rung in every if not recipe.is_settled(metric, rung)}
    assert found == unsettled
