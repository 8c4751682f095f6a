"""The search: what the cheap rungs rule out is never trained, and one bad recipe is no reason to stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecc.budget_search.answer import chosen_by_target, meets, what_binds
from edgecc.budget_search.recipe import Recipe
from edgecc.errors import (
    ArtifactError,
    DataError,
    EdgeccError,
    ModelError,
    TargetError,
    UserCodeError,
    VerificationError,
)
from edgecc.search_outcome import Point, Rung

pytest.importorskip("moocore", reason="moocore is not installed: edgecc[search] brings it")
pytest.importorskip("optuna", reason="Optuna is not installed: edgecc[search] brings it")

WIDTH = "distill.hp.width"
SIZE, ACCURACY = {"metric": "size", "max": "10 kB"}, {"metric": "accuracy", "min": "90 %"}
P90 = {"metric": "latency.p90", "max": "1 ms"}


def student(width: Any = None, **changes: Any) -> dict[str, Any]:
    open_width = {"choice": [4, 8, 12, 16]} if width is None else width
    distill = {"student": "models:student", "hp": {"width": open_width}, "epochs": 16}
    return {"quantize": "int8", "distill": distill, **changes}


PLAIN = {"quantize": {"choice": ["int8", "weight_only"]}}
WIDE = {"low": 8, "high": 256}


@pytest.fixture
def by_width(made: Any) -> Callable[[Recipe], Any]:
    """1 kB and 0.1 ms a unit of width; the wider, the better. What is only quantized is 8 kB and not good enough."""

    def formula(recipe: Recipe) -> Any:
        width = recipe.values.get(WIDTH)
        if width is None:
            return made(size=8_000, full=0.85)
        return made(size=1_000 * width, p90_s=0.1e-3 * width, short=0.7 + width / 100, full=0.88 + width / 200)

    return formula


def widths(begun: Any, rung: Rung) -> list[int]:
    values = {trial.recipe.name: trial.recipe.values[WIDTH] for trial in begun.search.trials}
    return [values[name] for name in begun.ladder.reached(rung)]


def point_of(begun: Any, width: int) -> Point:
    points: tuple[Point, ...] = begun.search.points()
    return next(point for point in points if point.values.get(WIDTH) == width)


def test_what_a_cheap_rung_rules_out_is_never_trained(make_project: Any, begin: Any, by_width: Any) -> None:
    begun = begin(make_project(), by_width).run()
    assert sorted(widths(begun, Rung.UNTRAINED)) == [4, 8, 12, 16]
    assert sorted(widths(begun, Rung.SHORT)) == [4, 8]
    assert set(widths(begun, Rung.FULL)) <= {4, 8}
    assert point_of(begun, 16).ruled_out == "size 16.0 kB: at most 10 kB"
    assert point_of(begun, 16).rung is Rung.UNTRAINED


def test_a_time_rules_out_only_with_its_whole_interval(make_project: Any, begin: Any, made: Any) -> None:
    """The fake's intervals are 10 % to each side."""
    begun = begin(make_project(), lambda recipe: made(p90_s={4: 1.05e-3, 8: 1.2e-3}.get(recipe.values[WIDTH], 1e-3)))
    begun.run()
    assert 4 in widths(begun, Rung.SHORT)
    assert 8 not in widths(begun, Rung.SHORT)
    assert not point_of(begun, 4).meets


def test_a_budget_of_one_format_rules_out_that_format(make_project: Any, begin: Any, made: Any) -> None:
    budgets = [{**SIZE, "format": "onnx"}, ACCURACY]
    variants = {"student": student(4, formats={"choice": [["tflite"], ["onnx"]]})}
    begun = begin(make_project(variants, budgets=budgets), lambda _: made(size=20_000)).run()
    assert [(point.format, point.meets) for point in begun.search.points() if point.ruled_out is None] == [
        ("tflite", True)
    ]


def test_the_best_score_is_trained_first_and_no_more_than_was_said(make_project: Any, begin: Any, made: Any) -> None:
    project = make_project({"student": student(WIDE)}, search={"max_trials": 12, "max_trainings": 3})
    # Each is on the front: the larger, the better.
    begun = begin(project, lambda recipe: made(size=20 * recipe.values[WIDTH], short=recipe.values[WIDTH] / 300)).run()
    assert len(begun.search.trials) == len(widths(begun, Rung.UNTRAINED)) == 12
    assert len(widths(begun, Rung.FULL)) == 3
    assert widths(begun, Rung.FULL)[0] == max(widths(begun, Rung.SHORT))
    assert begun.search.stopped == "as many recipes were trained as max_trainings says"


def test_what_training_may_still_change_rules_nothing_out(make_project: Any, begin: Any, made: Any) -> None:
    """As few layers in float as hold `max_drop`: how many, and how fast that is, only the trained model tells."""
    variants = {"student": student(4, quantize={"scheme": "int8", "max_drop": "1 pp"})}
    begun = begin(make_project(variants, budgets=[P90, ACCURACY]), lambda _: made(p90_s=2e-3, full=0.95)).run()
    assert begun.ladder.reached(Rung.FULL)
    assert [point.meets for point in begun.search.points()] == [False]


def test_it_says_so_when_nothing_was_worth_training(make_project: Any, begin: Any, made: Any) -> None:
    begun = begin(make_project(), lambda _: made(size=20_000)).run()
    assert not begun.ladder.reached(Rung.SHORT)
    assert begun.search.stopped == "every recipe was ruled out before it was trained"


def test_it_says_so_when_all_were_trained(make_project: Any, begin: Any, by_width: Any) -> None:
    begun = begin(make_project(search={"max_trainings": 2}), by_width).run()
    assert sorted(widths(begun, Rung.FULL)) == [4, 8]
    assert begun.search.stopped == "of the recipes that were looked at, all that could meet the budgets were trained"


def test_what_has_nothing_to_train_is_no_training(make_project: Any, begin: Any, by_width: Any) -> None:
    project = make_project({"plain": PLAIN, "student": student()}, search={"max_trainings": 1})
    begun = begin(project, by_width).run()
    plain = [trial for trial in begun.search.trials if trial.recipe.open_variant == "plain"]
    for trial in plain:
        own = [rung for name, rung in begun.ladder.looks if name == trial.recipe.name]
        assert own == [Rung.UNTRAINED, Rung.FULL]
        assert trial.is_done
    assert len(begun.ladder.reached(Rung.FULL)) == len(plain) + 1
    assert begun.search.training_s == 3.0  # two short ones and a whole one


def test_what_needs_no_training_does_not_keep_others_from_it(make_project: Any, begin: Any, made: Any) -> None:
    """A quantized recipe is better than any student after a short training, and not good enough."""

    def formula(recipe: Recipe) -> Any:
        return made(size=9_000, short=0.4, full=0.95) if recipe.is_trained else made(size=4_000, full=0.85)

    begun = begin(make_project({"plain": {"quantize": "int8"}, "student": student(4)}), formula).run()
    assert [point.meets for point in begun.search.points() if point.open_variant == "student"] == [True]


@pytest.mark.parametrize("width", [{"low": 1, "high": 8}, WIDE], ids=["all", "sampled"])
def test_the_seed_tells_the_order(make_project: Any, begin: Any, made: Any, width: Any) -> None:
    open_variant = student(width)
    open_variant["distill"]["alpha"] = {"low": 0.1, "high": 0.9} if width is WIDE else {"choice": [0.1, 0.5]}

    def points(seed: int) -> tuple[Point, ...]:
        project = make_project({"student": open_variant, "plain": PLAIN}, search={"max_trials": 24}, seed=seed)

        def formula(recipe: Recipe) -> Any:
            size = recipe.values.get(WIDTH, 20) * (2 - recipe.values.get("distill.alpha", 0))
            return made(size=50 * size, short=0.9 - 1 / size, full=0.95 - 1 / size)

        found: tuple[Point, ...] = begin(project, formula).run().search.points()
        return found

    assert points(3) == points(3)
    assert [point.name for point in points(3)] != [point.name for point in points(4)]


def test_a_large_space_is_sampled_without_repeats(make_project: Any, begin: Any, by_width: Any) -> None:
    project = make_project({"student": student({"low": 1, "high": 40}), "plain": PLAIN}, search={"max_trials": 25})
    begun = begin(project, by_width).run()
    names = begun.ladder.reached(Rung.UNTRAINED)
    assert len(names) == len(set(names)) == 25


def test_a_range_of_a_thousand_million_is_sampled_too(make_project: Any, begin: Any, made: Any) -> None:
    project = make_project({"student": student({"low": 1, "high": 10**9, "step": 3})}, search={"max_trials": 3})
    begun = begin(project, lambda _: made()).run()
    assert all(width % 3 == 1 for width in widths(begun, Rung.UNTRAINED))


@pytest.mark.parametrize("seed", range(4))
def test_the_only_recipes_that_fit_are_found_among_many_that_do_not(
    make_project: Any, begin: Any, made: Any, seed: int
) -> None:
    """A percentile belongs to one calibration alone."""
    quantize = {"scheme": "int8", "calibration": "mse", "percentile": {"low": 51, "high": 96}}
    begun = begin(make_project({"plain": {"quantize": quantize}, "student": student()}, seed=seed), lambda _: made())
    begun.run()
    assert sorted(widths(begun, Rung.UNTRAINED)) == [4, 8, 12, 16]
    (note,) = (note for note in begun.notes if "fit together" in note)
    assert note.startswith("search: some values of plain do not fit together: ")


@pytest.mark.parametrize("fault", [ModelError, ArtifactError, VerificationError, UserCodeError])
@pytest.mark.parametrize("rung", list(Rung))
def test_a_recipe_that_fails_is_ruled_out_and_the_others_go_on(
    make_project: Any, begin: Any, made: Any, rung: Rung, fault: type[EdgeccError]
) -> None:
    def formula(recipe: Recipe) -> Any:
        width = recipe.values[WIDTH]
        return made(size=9_000, short=width / 100, faults={rung: fault("no")} if width == 16 else {})

    begun = begin(make_project(), formula).run()
    failed = point_of(begun, 16)
    assert failed.ruled_out == "no"
    assert not failed.meets
    assert not failed.on_front
    assert [at for name, at in begun.ladder.looks if name == failed.name][-1] is rung
    assert all(point_of(begun, width).rung is not Rung.UNTRAINED for width in (4, 8, 12))
    assert point_of(begun, 12).meets


@pytest.mark.parametrize("fault", [TargetError, DataError])
@pytest.mark.parametrize("rung", list(Rung))
def test_what_no_other_recipe_would_cure_stops_the_search(
    make_project: Any, begin: Any, made: Any, rung: Rung, fault: type[EdgeccError]
) -> None:
    begun = begin(make_project(), lambda _: made(faults={rung: fault("lost")}))
    with pytest.raises(fault, match="lost"):
        begun.run()
    assert begun.ladder.looks[-1][1] is rung
    assert len(begun.ladder.reached(rung)) == 1


@pytest.mark.parametrize("rung", [Rung.UNTRAINED, Rung.SHORT])
def test_where_every_recipe_fails_it_says_why(make_project: Any, begin: Any, made: Any, rung: Rung) -> None:
    def formula(recipe: Recipe) -> Any:
        return made(faults={rung: ModelError("rare" if recipe.values[WIDTH] == 4 else "no teacher")})

    with pytest.raises(ModelError, match="all 4 recipes failed, 3 of them because: no teacher"):
        begin(make_project(), formula).run()


@pytest.mark.parametrize("max_trials", [2, 50], ids=["sampled", "all"])
def test_values_that_never_fit_together_are_an_error_and_not_endless(
    make_project: Any, begin: Any, made: Any, max_trials: int
) -> None:
    quantize = {"scheme": "int8", "percentile": {"choice": [99.0, 99.5, 99.9]}}
    project = make_project({"plain": {"quantize": quantize}}, search={"max_trials": max_trials})
    begun = begin(project, lambda _: made())
    with pytest.raises(ModelError, match=r"no recipe of \[search\] has values that fit together: .*percentile"):
        begun.run()
    assert begun.ladder.looks == []


def test_what_a_format_cannot_be_is_skipped(make_project: Any, begin: Any, made: Any) -> None:
    variants = {"plain": {"quantize": {"choice": ["int8", "int16x8"]}}}
    begun = begin(make_project(variants, emit={"formats": ["tflite", "onnx"]}), lambda _: made()).run()
    assert sorted((point.format, point.table["quantize"]["scheme"]) for point in begun.search.points()) == [
        ("onnx", "int8"), ("tflite", "int16x8"), ("tflite", "int8"),
    ]  # fmt: skip
    assert begun.notes == ["search: some values of plain do not fit together: onnx cannot be int16x8"]


# Time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many seconds pass between two looks at the clock."""
    pace = [0.0]
    times = itertools.accumulate(itertools.repeat(None), lambda now, _: now + pace[0], initial=1000.0)
    monkeypatch.setattr("edgecc.budget_search.search.time.monotonic", lambda: next(times))

    def set_pace(seconds: float) -> None:
        pace[0] = seconds

    return set_pace


def test_no_recipe_is_looked_at_when_time_is_up(make_project: Any, begin: Any, by_width: Any, clock: Any) -> None:
    begun = begin(make_project(search={"time_limit": "1 ns"}), by_width)
    clock(1.0)
    begun.run()
    assert begun.ladder.looks == []
    assert begun.search.points() == ()
    assert begun.search.stopped == "the time limit was reached before every recipe was looked at"


def test_what_was_looked_at_when_time_is_up_is_not_trained(
    make_project: Any, begin: Any, by_width: Any, clock: Any
) -> None:
    begun = begin(make_project(search={"time_limit": "1.5 s"}), by_width)
    clock(1.0)
    begun.run()
    assert len(widths(begun, Rung.UNTRAINED)) == 1
    assert begun.ladder.reached(Rung.FULL) == []
    assert begun.search.stopped == "the time limit was reached before every recipe was looked at"


def test_no_training_begins_that_would_end_too_late(make_project: Any, begin: Any, by_width: Any, clock: Any) -> None:
    """A short training of 2 epochs takes a second, so the whole one of 16 takes 8."""
    clock(0.0)
    late = begin(make_project(search={"time_limit": "7.9 s"}), by_width).run()
    assert late.ladder.reached(Rung.FULL) == []
    assert late.search.stopped == "the next training would end after the time limit"
    assert begin(make_project(search={"time_limit": "8.1 s"}), by_width).run().ladder.reached(Rung.FULL)


# Budgets


def test_an_impossible_budget_trains_nothing_and_is_named(make_project: Any, begin: Any, by_width: Any) -> None:
    budgets = [{"metric": "size", "max": "200 B"}, {"metric": "accuracy", "max_drop": "1 pp"}]
    begun = begin(make_project({"student": student(), "plain": PLAIN}, budgets=budgets), by_width).run()
    assert {rung for _, rung in begun.ladder.looks} == {Rung.UNTRAINED}
    assert begun.ladder.scored == []
    assert begun.search.training_s == 0
    assert [limit.bound for limit in begun.search.limits] == [200, None]
    (binding,) = what_binds(begun.search.points(), begun.search.limits)
    assert binding.limit.objective.metric == "size"
    assert (binding.best, binding.point) == (4_000, point_of(begun, 4).name)


def test_what_losses_are_taken_from_is_scored_once(make_project: Any, begin: Any, by_width: Any) -> None:
    budgets = [SIZE, {"metric": "accuracy", "max_drop": "5 pp"}, {"metric": "accuracy", "min": "80 %"}]
    begun = begin(make_project(budgets=budgets), by_width, references={"float32": 0.965}).run()
    assert begun.ladder.scored == ["float32 accuracy"]
    assert begun.search.limits[1].bound == 0.915
    assert point_of(begun, 8).meets
    assert not point_of(begun, 4).meets


def test_each_target_gets_its_own_answer(make_project: Any, begin: Any, by_width: Any) -> None:
    """On the slow target the better recipes are too slow; that is no reason against them on the other."""
    project = make_project(targets={"fast": {"kind": "x86_cpu"}, "slow": {"kind": "x86_cpu"}}, budgets=[P90, ACCURACY])
    begun = begin(project, by_width, slowness={"fast": 0.5, "slow": 2}).run()
    assert sorted(widths(begun, Rung.SHORT)) == [4, 8, 12, 16]
    chosen = chosen_by_target(begun.search.points(), begun.search.limits, project.targets)
    assert chosen == {"fast": point_of(begun, 16).name, "slow": point_of(begun, 4).name}


def test_what_no_target_can_take_is_ruled_out(make_project: Any, begin: Any, by_width: Any) -> None:
    project = make_project(targets={"fast": {"kind": "x86_cpu"}, "slow": {"kind": "x86_cpu"}}, budgets=[P90, ACCURACY])
    begun = begin(project, by_width, slowness={"fast": 1, "slow": 2}).run()
    assert sorted(widths(begun, Rung.SHORT)) == [4, 8]
    assert point_of(begun, 16).ruled_out == "latency.p90@fast 1.60 ms: at most 1 ms"


# Whatever the recipes and the budgets are

NUMBER = st.integers(1, 6)
TABLE = st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, st.booleans()), min_size=1, max_size=9)


@given(
    table=TABLE, size=NUMBER, p90=NUMBER, accuracy=NUMBER, is_loss=st.booleans(), max_trainings=NUMBER,
    slowness=st.sampled_from([{"a": 1.0}, {"a": 1.0, "b": 2.0}]),
)  # fmt: skip
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_always_holds(
    make_project: Any, begin: Any, made: Any, table: Any, size: int, p90: int, accuracy: int, is_loss: bool,
    max_trainings: int, slowness: dict[str, float],
) -> None:  # fmt: skip
    budgets = [
        {"metric": "size", "max": f"{size} kB"},
        {"metric": "latency.p90", "max": f"{p90} ms"},
        {"metric": "accuracy", **({"max_drop": f"{10 * accuracy} pp"} if is_loss else {"min": f"{10 * accuracy} %"})},
    ]
    trained, plain = ([index for index, row in enumerate(table) if row[4] is kind] for kind in (True, False))
    variants = {"student": student({"choice": trained})} if trained else {}
    if plain:
        variants["plain"] = {"quantize": {"scheme": "int8", "keep": {"choice": [[f"layer{index}"] for index in plain]}}}

    def formula(recipe: Recipe) -> Any:
        values = dict(recipe.values)
        index = values[WIDTH] if WIDTH in values else int(values["quantize.keep"][0].removeprefix("layer"))
        row = table[index]
        return made(size=1000 * row[0], p90_s=row[1] / 1000, short=row[2] / 10, full=row[3] / 10)

    project = make_project(
        variants, search={"max_trainings": max_trainings}, budgets=budgets,
        targets={name: {"kind": "x86_cpu"} for name in slowness},
    )  # fmt: skip
    begun = begin(project, formula, slowness=slowness, references={"float32": 0.7}).run()
    points, limits = begun.search.points(), begun.search.limits
    assert len(points) == len(table)
    check_rungs(begun, max_trainings)
    check_front(points, begun.search.objectives)
    chosen = chosen_by_target(points, limits, project.targets)
    by_name = {point.name: point for point in points}
    for target, name in chosen.items():
        assert meets(by_name[name], [limit for limit in limits if limit.objective.target in (None, target)])
    missing = {None, *project.targets} - set(chosen)
    left = [limit for limit in limits if limit.objective.target in missing]
    if len(chosen) < len(project.targets):
        check_bindings(points, left, by_name)


def check_rungs(begun: Any, max_trainings: int) -> None:
    last = {}
    for name, rung in begun.ladder.looks:
        assert list(Rung).index(rung) > (list(Rung).index(last[name]) if name in last else -1)
        last[name] = rung
    ways = {name: [rung for each, rung in begun.ladder.looks if each == name] for name in last}
    assert sum(rungs == list(Rung) for rungs in ways.values()) <= max_trainings
    for point in begun.search.points():
        assert last[point.name] is point.rung
        assert point.ruled_out is None or not (point.meets or point.on_front)


def check_front(points: Any, objectives: Any) -> None:
    front = [
        [each.less_is_better(point.figures[each.key].value) for each in objectives]
        for point in points
        if point.on_front
    ]
    assert all(point.rung is Rung.FULL for point in points if point.on_front)
    assert all(one == other or any(a > b for a, b in zip(one, other, strict=True)) for one in front for other in front)


def check_bindings(points: Any, limits: Any, by_name: Any) -> None:
    bindings = what_binds(points, limits)
    assert bindings
    for binding in bindings:
        assert binding.best is not None
        if binding.others_met:
            loosened = [
                limit.model_copy(update={"bound": binding.best}) if limit is binding.limit else limit
                for limit in limits
            ]
            assert meets(by_name[binding.point], loosened)
            assert binding.limit.violation(binding.best) > 0
