"""Which budgets a search judges, on which targets, and in which numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from edgecc.artifact import Format
from edgecc.budget_search.limits import JudgedBudget, judged_budgets, limit_name, objectives_of, violations
from edgecc.project import Project
from edgecc.results import Estimate
from edgecc.search_outcome import SearchLimit
from edgecc.targets.target import Target

SIZE = {"metric": "size", "max": "10 kB"}
P90 = {"metric": "latency.p90", "max": "1 ms"}
ACCURACY = {"metric": "accuracy", "min": "90 %"}
OWN = {"f1": {"function": "models:f1"}, "mae": {"function": "models:mae", "better": "lower"}}
Judge = Callable[..., tuple[list[JudgedBudget], list[str]]]


@pytest.fixture
def judge(make_project: Callable[..., Project], make_target: Any) -> Judge:
    def make(*budgets: dict[str, Any], targets: Any = None, **sections: Any) -> tuple[list[JudgedBudget], list[str]]:
        targets = [make_target("host")] if targets is None else targets
        named = {target.name: {"kind": "x86_cpu"} for target in targets}
        project = make_project(budgets=list(budgets), targets=named, **sections)
        return judged_budgets(project, cast("list[Target]", targets))

    return make


def keys(judged: list[JudgedBudget]) -> list[str]:
    return [each.objective.key for each in judged]


def test_budgets_on_costs_and_on_the_score_are_judged(judge: Judge) -> None:
    judged, left_out = judge(SIZE, P90, ACCURACY, {"metric": "size.compressed", "max": "9 kB"})
    assert keys(judged) == ["size", "latency.p90@host", "accuracy", "size.compressed"]
    assert left_out == []


@pytest.mark.parametrize(
    ("budget", "why"),
    [
        ({**SIZE, "severity": "warn"}, "size at most 10 kB: it only warns."),
        ({**SIZE, "variant": "float32"}, "size at most 10 kB: it judges the variant float32 alone."),
        (
            {"metric": "size", "max_regression": "2 %"},
            "size at most 2 % worse than the baseline: a recipe that was never released has no baseline.",
        ),
        (
            {"metric": "agreement.top1", "min": "99 %"},
            "agreement.top1 at least 99 %: it is judged at the end, on the test set.",
        ),
        (
            {"metric": "user.mae", "max": 0.2},
            "user.mae at most 0.2: only the first metric of your own is scored on validation data.",
        ),
        (
            {"metric": "instructions", "max": "2 M"},
            "instructions at most 2 M: no target can measure it as the search would need it.",
        ),
        (
            {"metric": "latency.p90", "max": "1 ms", "target": "board"},
            "latency.p90 at most 1 ms: no target can measure it as the search would need it.",
        ),
    ],
)
def test_what_cannot_be_judged_is_left_out_and_named(
    judge: Judge, make_target: Any, budget: dict[str, Any], why: str
) -> None:
    targets = [make_target("host"), make_target("board", frozenset({"outputs"}))]
    judged, left_out = judge(budget, ACCURACY, targets=targets, metrics=OWN)
    assert keys(judged) == ["accuracy"]
    assert left_out == [why]


def test_the_first_metric_of_the_users_own_is_a_score(judge: Judge) -> None:
    (own,) = judge({"metric": "user.f1", "min": 0.9}, metrics=OWN)[0]
    assert own.objective.is_score
    assert own.objective.target is None


def test_a_time_on_an_emulated_clock_counts_only_where_its_budget_says_so(judge: Judge, make_target: Any) -> None:
    targets = [make_target("host"), make_target("pi", frozenset({"latency", "instructions"}), emulated=True)]
    memory = {"metric": "memory.peak", "max": "9 MB"}
    count = {"metric": "instructions", "max": "2 M"}
    assert keys(judge(P90, memory, count, targets=targets)[0]) == [
        "latency.p90@host", "memory.peak@host", "instructions@pi",
    ]  # fmt: skip
    both = judge({**P90, "emulated": True}, targets=targets)[0]
    assert keys(both) == ["latency.p90@host", "latency.p90@pi"]
    assert judge({**P90, "target": "pi"}, targets=targets)[1]


def test_a_budget_of_one_target_is_judged_there(judge: Judge, make_target: Any) -> None:
    targets = [make_target("a"), make_target("b")]
    judged, _ = judge(P90, {**P90, "target": "b", "max": "2 ms"}, SIZE, targets=targets)
    assert keys(judged) == ["latency.p90@a", "latency.p90@b", "latency.p90@b", "size"]
    assert [each.key for each in objectives_of(judged)] == ["latency.p90@a", "latency.p90@b", "size"]
    assert [limit_name(each.limit({})) for each in judged][2] == "latency.p90@b at most 2 ms"


# Losses


def loss(judge: Judge, limit: Any, reference: float | None, metric: str = "accuracy") -> SearchLimit:
    own = {"mae": OWN["mae"]} if metric == "user.mae" else OWN
    (judged,) = judge({"metric": metric, "max_drop": limit}, metrics=own)[0]
    return judged.limit({} if reference is None else {"float32": reference})


def test_a_loss_has_no_bound_before_its_reference_is_known(judge: Judge) -> None:
    unknown = loss(judge, "2 pp", None)
    assert (unknown.bound, unknown.reference, unknown.reference_variant) == (None, None, "float32")
    assert unknown.violation(0.1) is None


@pytest.mark.parametrize(
    ("metric", "limit", "reference", "bound"),
    [("accuracy", "2 pp", 0.95, 0.93), ("user.f1", 0.05, 0.7, 0.65), ("user.mae", 0.25, 0.5, 0.75)],
)
def test_a_loss_goes_in_the_direction_that_is_worse(
    judge: Judge, metric: str, limit: Any, reference: float, bound: float
) -> None:
    known = loss(judge, limit, reference, metric)
    assert known.bound == bound
    worse = bound + (0.01 if metric == "user.mae" else -0.01)
    assert known.violation(worse) == pytest.approx(0.01)
    assert known.violation(bound) == 0


def test_limits_are_inclusive(judge: Judge) -> None:
    """In floats 0.13 - 0.01 is more than 0.12."""
    for right in range(1, 101):
        assert loss(judge, "1 pp", right / 100).violation((right - 1) / 100) == 0


# Violations


def test_each_limit_of_the_format_has_its_violation() -> None:
    limits = [
        SearchLimit(objective=objective, bound=bound, words=words, format=format)
        for objective, bound, words, format in (
            (OBJECTIVES[0], 10_000, "at most 10 kB", None),
            (OBJECTIVES[0], 1_000, "at most 1 kB", Format.ONNX),
            (OBJECTIVES[1], 0.9, "at least 90 %", None),
        )
    ]
    figures = {"size": Estimate(value=12_500, samples=1)}
    assert violations(figures, Format.TFLITE, limits) == {"size at most 10 kB": 0.25, "accuracy at least 90 %": None}
    assert violations(figures, Format.ONNX, limits)["size at most 1 kB"] == 11.5


OBJECTIVES = tuple(
    SearchLimit.model_validate(
        {"objective": {"metric": metric, "target": None, "unit": unit, "better": better}, "bound": None, "words": ""}
    ).objective
    for metric, unit, better in (("size", "B", "lower"), ("accuracy", "fraction", "higher"))
)
