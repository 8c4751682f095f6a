"""Which recipe is chosen for each target, and else what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgecc.artifact import Format
from edgecc.budget_search.answer import chosen_by_target, meets, what_binds
from edgecc.results import Estimate
from edgecc.search_outcome import Binding, Objective, Point, Rung, SearchLimit
from edgecc.units import Unit

SIZE = Objective(metric="size", target=None, unit=Unit.BYTES, better="lower")
ACCURACY = Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
ON_A, ON_B = (
    Objective(metric="latency.p90", target=target, unit=Unit.SECONDS, better="lower") for target in ("a", "b")
)


def limit(objective: Objective, bound: float | None, **changes: Any) -> SearchLimit:
    return SearchLimit(objective=objective, bound=bound, words=f"within {bound}", **changes)


LIMITS = (limit(SIZE, 10_000), limit(ON_A, 1e-3), limit(ON_B, 2e-3), limit(ACCURACY, 0.9))
KEYS = {"size": SIZE, "a": ON_A, "b": ON_B, "accuracy": ACCURACY}


def point(name: str, rung: Rung = Rung.FULL, **figures: Any) -> Point:
    """Within every limit, where nothing else is said; figures that are None are not known."""
    given: Mapping[str, Any] = {"size": 9_000, "a": 0.9e-3, "b": 1.9e-3, "accuracy": 0.95} | {
        key: figures.pop(key) for key in KEYS if key in figures
    }
    known = {KEYS[key].key: Estimate(value=value, samples=1) for key, value in given.items() if value is not None}
    return Point(
        name=name, open_variant="small", values={}, table={}, rung=rung, figures=known, parameters=None,
        operators=None, **{"format": Format.TFLITE, **figures},
    )  # fmt: skip


def choose(*points: Point, limits: Any = LIMITS) -> dict[str, str]:
    return chosen_by_target(points, limits, ["a", "b"])


# What is chosen


def test_the_best_score_is_chosen_on_each_target() -> None:
    fast = point("fast", a=0.1e-3, b=0.2e-3, accuracy=0.91)
    slow_on_a = point("slow-on-a", a=1.1e-3, accuracy=0.97)
    slow_on_b = point("slow-on-b", b=2.1e-3, accuracy=0.96)
    assert choose(fast, slow_on_a, slow_on_b) == {"a": "slow-on-b", "b": "slow-on-a"}
    assert choose(slow_on_a) == {"b": "slow-on-a"}


def test_a_score_that_is_asked_for_on_one_target_is_not_asked_for_on_another() -> None:
    limits = (*LIMITS[:3], limit(ACCURACY, 0.9, target="a"))
    assert choose(point("plain", accuracy=0.5), limits=limits) == {"b": "plain"}


def test_of_equals_the_cheapest_in_the_order_of_the_budgets() -> None:
    assert choose(point("large"), point("small", size=8_000, a=0.95e-3)) == {"a": "small", "b": "small"}
    quick_first = (LIMITS[1], LIMITS[2], LIMITS[3], LIMITS[0])
    assert choose(point("large"), point("small", size=8_000, a=0.95e-3), limits=quick_first)["a"] == "large"


@pytest.mark.parametrize(
    "unfit",
    [
        point("short", Rung.SHORT),
        point("large", size=10_001),
        point("unscored", accuracy=None),
        point("bad", accuracy=0.8999),
    ],
)
def test_what_is_not_trained_in_full_or_not_within_is_not_chosen(unfit: Point) -> None:
    assert choose(unfit) == {}
    assert choose(unfit, point("fit", accuracy=0.9)) == {"a": "fit", "b": "fit"}


def test_a_limit_that_is_not_known_is_not_met() -> None:
    assert choose(point("good"), limits=(*LIMITS[:3], limit(ACCURACY, None))) == {}


def test_a_limit_of_another_format_does_not_judge() -> None:
    limits = (*LIMITS, limit(SIZE, 1_000, format=Format.ONNX))
    assert choose(point("tflite"), point("onnx", format=Format.ONNX, accuracy=0.99), limits=limits) == {
        "a": "tflite", "b": "tflite",
    }  # fmt: skip


def test_what_is_ruled_out_on_one_target_may_be_the_others() -> None:
    """Timed in full, it proved too slow on one of them."""
    assert choose(point("late", a=1.5e-3, ruled_out="latency.p90@a 1.50 ms: at most 1 ms")) == {"b": "late"}


# What is in the way


def bindings(*points: Point, limits: Any = LIMITS) -> list[tuple[str, float | None, str | None, bool]]:
    found: tuple[Binding, ...] = what_binds(points, limits)
    return [(each.limit.objective.key, each.best, each.point, each.others_met) for each in found]


def test_one_budget_alone() -> None:
    near, far = point("near", accuracy=0.89), point("far", accuracy=0.5)
    better_and_larger = point("larger", accuracy=0.899, size=11_000)
    assert bindings(near, far, better_and_larger) == [("accuracy", 0.89, "near", True)]


def test_two_budgets_of_which_either_would_do() -> None:
    assert bindings(point("worse", accuracy=0.89), point("larger", size=10_500)) == [
        ("size", 10_500, "larger", True), ("accuracy", 0.89, "worse", True),
    ]  # fmt: skip


def test_a_time_that_was_too_long_in_the_end_is_alone_in_the_way() -> None:
    late = point("late", a=1.5e-3, ruled_out="latency.p90@a 1.50 ms: at most 1 ms")
    assert bindings(late) == [("latency.p90@a", 1.5e-3, "late", True)]


def test_two_budgets_that_are_both_hopeless() -> None:
    small = point("small", Rung.SHORT, size=11_000, a=3e-3, accuracy=0.8)
    quick = point("quick", Rung.UNTRAINED, size=12_000, a=2e-3, accuracy=None)
    assert bindings(small, quick) == [("size", 11_000, "small", False), ("latency.p90@a", 2e-3, "quick", False)]


def test_none_is_hopeless_but_no_recipe_meets_both() -> None:
    large = point("large", Rung.UNTRAINED, size=20_000, accuracy=None)
    slow = point("slow", Rung.UNTRAINED, a=1.2e-3, accuracy=None)
    assert bindings(large, slow) == [("latency.p90@a", 0.9e-3, "large", False)]


def test_what_breaks_nothing_says_nothing_of_what_is_in_the_way() -> None:
    """It would be within every limit, but it failed before its score was known, or there was no time to train it."""
    failed = point("failed", Rung.UNTRAINED, accuracy=None, ruled_out="no teacher")
    untrained = point("untrained", Rung.SHORT, accuracy=0.6)
    assert bindings(failed, untrained) == []
    large = point("large", Rung.UNTRAINED, size=11_000, accuracy=None, ruled_out="size")
    assert bindings(failed, untrained, large) == [("size", 9_000, "failed", False)]


def test_an_impossible_size_is_named_with_the_smallest() -> None:
    limits = (limit(SIZE, 200), limit(ON_A, 1e-3), limit(ACCURACY, None, reference_variant="float32"))
    small, large = (
        point(name, Rung.UNTRAINED, size=size, accuracy=None, ruled_out="size")
        for name, size in (("small", 4_000), ("large", 9_000))
    )
    assert bindings(large, small, limits=limits) == [("size", 4_000, "small", False)]


def test_a_limit_of_one_format_is_named_with_the_best_of_that_format() -> None:
    limits = (limit(SIZE, 1_000, format=Format.ONNX), limit(ON_A, 1e-3))
    tflite, onnx = point("tflite", size=900, a=2e-3), point("onnx", size=1_500, format=Format.ONNX)
    assert bindings(tflite, onnx, limits=limits) == [
        ("size", 1_500, "onnx", True), ("latency.p90@a", 2e-3, "tflite", True),
    ]  # fmt: skip


def test_without_recipes_nothing_is_in_the_way() -> None:
    assert bindings() == []


def test_the_bound_that_is_named_would_do() -> None:
    points = (point("worse", accuracy=0.89), point("worst", accuracy=0.6, size=2_000))
    (binding,) = what_binds(points, LIMITS)
    assert binding.best is not None
    assert meets(points[0], [*LIMITS[:3], limit(ACCURACY, binding.best)])
