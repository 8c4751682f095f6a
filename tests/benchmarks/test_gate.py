"""The gate: it fails what breaks a budget, and passes nothing that was not measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgecc.artifact import Format
from edgecc.benchmarks.gate import Built, exit_code, judge
from edgecc.errors import ArtifactError, ExitCode
from edgecc.project import Project
from edgecc.results import Estimate, Failure, FailureKind, Judgement, Provenance, Results, Row, Status, Verdict
from edgecc.units import Unit, parse

MakeProject = Callable[..., Project]
MakeResults = Callable[..., Results]
P50 = {"metric": "latency.p50", "variant": "int8", "max": "1 ms"}
SIZE = {"metric": "size", "variant": "int8", "max": "350 B"}
DROP = {"metric": "accuracy", "variant": "int8", "max_drop": "1 pp"}
ALL_BUDGETS = (P50, SIZE, DROP)


def changed(results: Results, metric: str, estimate: Estimate | None, variant: str = "int8") -> Results:
    """The results with one metric of one variant replaced, or taken out."""

    def change(row: Row) -> Row:
        if row.variant != variant:
            return row
        others = {name: value for name, value in row.estimates.items() if name != metric}
        return row.model_copy(update={"estimates": others | ({metric: estimate} if estimate else {})})

    return results.model_copy(update={"rows": tuple(map(change, results.rows))})


def without(results: Results, variant: str) -> Results:
    rows = tuple(row for row in results.rows if row.variant != variant)
    return results.model_copy(update={"rows": rows})


def test_limits_are_inclusive(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    judgement = judge(make_project(*ALL_BUDGETS), make_results(right=96), built)
    assert [verdict.status for verdict in judgement.verdicts] == [Status.PASS] * 3
    assert [verdict.observed for verdict in judgement.verdicts] == ["1 ms", "350 B", "1 pp"]
    assert exit_code(judgement) is ExitCode.PASSED


def test_beyond_the_limit_is_broken(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    budgets = ({**P50, "max": "0.9 ms"}, {**SIZE, "max": "349 B"}, {**DROP, "max_drop": "0.9 pp"})
    judgement = judge(make_project(*budgets), make_results(), built)
    assert [verdict.status for verdict in judgement.verdicts] == [Status.FAIL] * 3
    assert exit_code(judgement) is ExitCode.BUDGET_BROKEN
    assert judgement.verdicts[2].reason == (
        "int8 (tflite) on gateway: accuracy drop +1.00 pp (96.00 % against 97.00 % of float32 (tflite) on gateway), "
        "which breaks the budget of at most 0.9 pp below float32."
    )


finite = st.floats(min_value=1e-7, max_value=10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(observed=finite, limit=finite)
@example(observed=math.nextafter(0.002, 1), limit=0.002)
@example(observed=math.nextafter(0.002, 0), limit=0.002)
@example(observed=1.0000000000000001e-07, limit=1e-07)
@example(observed=99.98e-9, limit=100.0e-9)
@example(observed=0.0020004, limit=0.002)
@example(observed=0.00123459, limit=0.00123461)
def test_a_verdict_is_fail_exactly_if_the_value_is_over_the_limit(
    make_project: MakeProject, make_results: MakeResults, built: Built, observed: float, limit: float
) -> None:
    project = make_project({**P50, "max": f"{limit!r} s"})
    results = make_results(latencies_s=[observed] * 200)
    [verdict] = judge(project, results, built).verdicts
    bound = project.budgets[0].limit
    assert verdict.status is (Status.FAIL if observed > bound else Status.PASS)
    # The words say the same: as it is written, the value lies on the same side of the limit.
    number, unit = verdict.observed.split()
    written = Decimal(number) * Decimal(repr(parse(f"1 {unit}", Unit.SECONDS)))
    assert (written > Decimal(repr(bound))) == (observed > bound)
    assert (written < Decimal(repr(bound))) == (observed < bound)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(right=st.integers(0, 100), limit=st.integers(0, 100))
def test_a_drop_is_counted_in_whole_samples(
    make_project: MakeProject, make_results: MakeResults, built: Built, right: int, limit: int
) -> None:
    project = make_project({**DROP, "max_drop": f"{limit} pp"})
    [verdict] = judge(project, make_results(right=right), built).verdicts
    assert verdict.status is (Status.FAIL if 97 - right > limit else Status.PASS)


def test_words_and_verdict_never_contradict(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    results = make_results(int8_bytes=350_400)
    [verdict] = judge(make_project({**SIZE, "max": "350 kB"}), results, built).verdicts
    assert (verdict.status, verdict.observed, verdict.limit) == (Status.FAIL, "350.4 kB", "at most 350 kB")


def test_a_minimum_is_judged_from_below(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    budget = {"metric": "accuracy", "variant": "int8", "min": "96 %"}
    assert judge(make_project(budget), make_results(right=96), built).status is Status.PASS
    assert judge(make_project(budget), make_results(right=95), built).status is Status.FAIL


Spoil = Callable[[Results, Built], tuple[Results, Built]]
DIFFERENT = "0" * 64
SPOILT: dict[str, Spoil] = {
    "row missing": lambda results, built: (without(results, "int8"), built),
    "no rows": lambda results, built: (results.model_copy(update={"rows": ()}), built),
    "row twice": lambda results, built: (results.model_copy(update={"rows": results.rows * 2}), built),
    "artifact gone": lambda results, built: (results, Built({}, built.evaluation)),
    "artifact changed": lambda results, built: (
        results, Built({**built.artifacts, ("int8", Format.TFLITE): DIFFERENT}, built.evaluation)
    ),
    "target did not answer": lambda results, built: (
        results.model_copy(
            update={"rows": tuple(row.model_copy(update={"environment": None}) for row in results.rows)}
        ),
        built,
    ),
    "target with other options": lambda results, built: (
        results.model_copy(
            update={"rows": tuple(row.model_copy(update={"target_options": {"pin": [3]}}) for row in results.rows)}
        ),
        built,
    ),
    "target of another kind": lambda results, built: (
        results.model_copy(
            update={"rows": tuple(row.model_copy(update={"target_kind": "ssh"}) for row in results.rows)}
        ),
        built,
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
@pytest.mark.parametrize("budget", [P50, DROP], ids=["p50", "drop"])
def test_what_is_not_sound_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built, spoil: Spoil, budget: dict[str, Any]
) -> None:
    judgement = judge(make_project(budget), *spoil(make_results(), built))
    assert judgement.status is Status.UNMEASURED
    assert exit_code(judgement) is ExitCode.UNDECIDED


@pytest.mark.parametrize("name", ["row missing", "no rows", "artifact gone", "artifact changed"])
def test_a_size_needs_the_artifact_that_was_measured(
    make_project: MakeProject, make_results: MakeResults, built: Built, name: str
) -> None:
    assert judge(make_project(SIZE), *SPOILT[name](make_results(), built)).status is Status.UNMEASURED


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("budget", ALL_BUDGETS, ids=["p50", "size", "drop"])
def test_an_artifact_that_failed_passes_nothing(
    make_project: MakeProject, make_results: MakeResults, built: Built, kind: FailureKind, budget: dict[str, Any]
) -> None:
    results = make_results(int8_failure=Failure(kind=kind, message="died"))
    [verdict] = judge(make_project(budget), results, built).verdicts
    assert verdict.status is Status.UNMEASURED
    assert "died" in verdict.reason


def test_a_size_is_judged_where_one_target_of_two_was_lost(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    lost = make_results(("pi",), int8_failure=Failure(kind=FailureKind.TARGET_LOST, message="gone")).rows
    results = make_results()
    both = results.model_copy(update={"rows": (*lost, *results.rows)})
    assert judge(make_project(SIZE), both, built).status is Status.PASS


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("budget", "metric"), [(P50, "latency.p50"), (SIZE, "size"), (DROP, "accuracy")])
def test_what_is_no_number_is_unmeasured(
    make_project: MakeProject,
    make_results: MakeResults,
    built: Built,
    value: float,
    budget: dict[str, Any],
    metric: str,
) -> None:
    results = changed(make_results(), metric, Estimate(value=value, samples=100))
    assert judge(make_project(budget), results, built).status is Status.UNMEASURED


def test_an_estimate_is_not_a_measurement(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    guess = Estimate(value=0.0001, samples=1, provenance=Provenance.ESTIMATED)
    assert judge(make_project(P50), changed(make_results(), "latency.p50", guess), built).status is Status.UNMEASURED


def test_a_percentile_that_was_not_reported_is_unmeasured_with_its_reason(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    budget = {**P50, "metric": "latency.p99"}
    [verdict] = judge(make_project(budget), make_results(), built).verdicts
    assert verdict.status is Status.UNMEASURED
    assert verdict.reason.endswith("unmeasured: needs 662 values, has 200.")


def test_a_drop_needs_its_reference(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    project, results = make_project(DROP), make_results()
    stale = Built({**built.artifacts, ("float32", Format.TFLITE): DIFFERENT}, built.evaluation)
    for judgement in (
        judge(project, without(results, "float32"), built),
        judge(project, changed(results, "accuracy", None, "float32"), built),
        judge(project, results, stale),
    ):
        assert judgement.status is Status.UNMEASURED
        assert "the reference float32 (tflite) on gateway" in judgement.verdicts[0].reason


def test_a_drop_falls_back_to_the_references_first_format_and_says_so(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    variants = {"float32": {"formats": ["onnx"]}, "int8": {"quantize": "int8", "formats": ["tflite"]}}
    results = make_results()
    reference = results.rows[0]
    onnx = reference.artifact.model_copy(update={"format": Format.ONNX, "sha256": "1" * 64})
    rows = (reference.model_copy(update={"artifact": onnx}), results.rows[1])
    judgement = judge(make_project(DROP, variants=variants), results.model_copy(update={"rows": rows}), built)
    assert judgement.status is Status.PASS
    assert "float32 (onnx) on gateway" in judgement.verdicts[0].reason


@pytest.mark.parametrize("evaluation", [None, DIFFERENT])
def test_accuracy_on_another_evaluation_set_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built, evaluation: str | None
) -> None:
    judgement = judge(make_project(DROP, P50), make_results(), Built(built.artifacts, evaluation))
    assert [verdict.status for verdict in judgement.verdicts] == [Status.UNMEASURED, Status.PASS]


def test_accuracy_on_a_part_of_the_samples_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    results = changed(make_results(), "accuracy", Estimate(value=1.0, samples=99))
    assert judge(make_project(DROP), results, built).status is Status.UNMEASURED


def test_results_of_another_project_are_refused(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    with pytest.raises(ArtifactError, match="expected the results of the project other"):
        judge(make_project(SIZE, name="other"), make_results(), built)


TWO_TARGETS = {"gateway": {"kind": "x86_cpu"}, "pi": {"kind": "x86_cpu"}}


def test_an_emulated_clock_is_left_out_unless_it_is_named(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    results = make_results(("gateway", "pi"), emulated=("pi",))
    unnamed = judge(make_project(P50, targets=TWO_TARGETS), results, built)
    assert [verdict.target for verdict in unnamed.verdicts] == ["gateway"]
    assert unnamed.left_out == ("latency.p50 on pi: the target is emulated, and nothing of the kind from it can pass",)
    named = judge(make_project({**P50, "target": "pi"}, targets=TWO_TARGETS), results, built)
    assert named.status is Status.UNMEASURED


def test_an_emulated_time_meets_a_budget_that_says_so(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    results = make_results(("gateway", "pi"), emulated=("pi",))
    for named in ({}, {"target": "pi"}):
        judgement = judge(make_project({**P50, **named, "emulated": True}, targets=TWO_TARGETS), results, built)
        verdict = judgement.verdicts[-1]
        assert (verdict.target, verdict.status) == ("pi", Status.PASS)
        assert "(emulated)" in verdict.reason
        assert judgement.left_out == ()


def test_a_target_is_left_out_of_what_it_does_not_measure(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    results = make_results(("gateway", "pi"))
    abilities: Any = {"gateway": {"latency", "outputs"}, "pi": {"instructions"}}
    judgement = judge(make_project(DROP, P50, SIZE, targets=TWO_TARGETS), results, built, None, abilities)
    assert [verdict.target for verdict in judgement.verdicts] == ["gateway", "gateway", None]
    assert set(judgement.left_out) == {
        "accuracy on pi: the target does not measure it", "latency.p50 on pi: the target does not measure it",
    }  # fmt: skip
    named = judge(make_project({**DROP, "target": "pi"}, targets=TWO_TARGETS), results, built, None, abilities)
    assert [verdict.target for verdict in named.verdicts] == ["pi"]
    nobody = judge(make_project(P50), make_results(), built, None, {"gateway": frozenset({"instructions"})})
    assert nobody.status is Status.UNMEASURED


def test_accuracy_counts_under_emulation(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    results = make_results(("gateway", "pi"), emulated=("pi",))
    judgement = judge(make_project(DROP, targets=TWO_TARGETS), results, built)
    assert [(verdict.target, verdict.status) for verdict in judgement.verdicts] == [
        ("gateway", Status.PASS), ("pi", Status.PASS),
    ]  # fmt: skip


def test_a_budget_that_judges_nothing_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    only_emulated = judge(make_project(P50), make_results(emulated=("gateway",)), built)
    assert only_emulated.status is Status.UNMEASURED
    assert len(only_emulated.verdicts) == 1
    not_emitted = judge(make_project({**SIZE, "format": "onnx"}), make_results(), built)
    assert not_emitted.status is Status.UNMEASURED


@pytest.mark.parametrize(
    ("metric", "value"),
    [("latency.p50", 0.0009), ("size", 1.0), ("accuracy", 0.99999), ("accuracy", 1e18), ("load.cold", 0.001)],
)
def test_a_value_that_does_not_follow_from_the_raw_values_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built, metric: str, value: float
) -> None:
    limit = {"min": "50 %"} if metric == "accuracy" else {"max": "1 MB" if metric == "size" else "1 s"}
    samples = {"accuracy": 99, "size": 1, "load.cold": 1}.get(metric, 200)
    results = changed(make_results(), metric, Estimate(value=value, samples=samples))
    [verdict] = judge(make_project({"metric": metric, "variant": "int8", **limit}), results, built).verdicts
    assert verdict.status is Status.UNMEASURED
    assert "damaged" in verdict.reason


def test_a_target_that_was_not_benched_is_unmeasured(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    judgement = judge(make_project(P50, targets=TWO_TARGETS), make_results(("gateway",)), built)
    assert [verdict.status for verdict in judgement.verdicts] == [Status.PASS, Status.UNMEASURED]
    assert judgement.status is Status.UNMEASURED


def test_without_budgets_nothing_passed(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    judgement = judge(make_project(), make_results(), built)
    assert judgement.status is Status.UNMEASURED
    assert exit_code(judgement) is ExitCode.UNDECIDED


def test_a_budget_without_variant_judges_what_ships(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    budget = {"metric": "size", "max": "1 kB"}
    every = judge(make_project(budget), make_results(), built)
    assert [verdict.variant for verdict in every.verdicts] == ["float32", "int8"]
    shipped = judge(make_project(budget, ship=("int8",)), make_results(), built)
    assert [verdict.variant for verdict in shipped.verdicts] == ["int8"]


def test_a_warning_never_counts(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    broken = {**SIZE, "max": "1 B", "severity": "warn"}
    judgement = judge(make_project(broken, P50), make_results(), built)
    assert judgement.verdicts[0].status is Status.FAIL
    assert exit_code(judgement) is ExitCode.PASSED


OWN = {"auc": {"function": "mine:auc"}, "error": {"function": "mine:error", "better": "lower"}}


def scored(results: Results, metric: str, reference: float, own: float) -> Results:
    """The results with one metric of the user's on float32 and int8."""
    results = changed(results, metric, Estimate(value=reference, samples=100), "float32")
    return changed(results, metric, Estimate(value=own, samples=100))


@pytest.mark.parametrize(
    ("budget", "values", "status", "observed"),
    [
        ({"metric": "user.auc", "min": 0.95}, (0.97, 0.95), Status.PASS, "0.95"),
        ({"metric": "user.auc", "min": "95 %"}, (0.97, 0.9499), Status.FAIL, "0.9499"),
        ({"metric": "user.error", "max": 2}, (1.0, 2.0), Status.PASS, "2"),
        ({"metric": "user.error", "max": 0}, (0.0, 0.0), Status.PASS, "0"),
        ({"metric": "user.auc", "max_drop": 0.01}, (0.97, 0.96), Status.PASS, "0.01"),
        ({"metric": "user.auc", "max_drop": "1 pp"}, (0.97, 0.96), Status.PASS, "1 pp"),
        ({"metric": "user.auc", "max_drop": 0.01}, (0.97, 0.9599), Status.FAIL, "0.0101"),
        ({"metric": "user.auc", "max_drop": 0}, (0.97, 0.98), Status.PASS, "-0.01"),
        ({"metric": "user.error", "max_drop": 0.1}, (0.7, 0.8), Status.PASS, "0.1"),
        ({"metric": "user.error", "max_drop": 0.1}, (0.7, 0.81), Status.FAIL, "0.11"),
        ({"metric": "user.error", "max_drop": 0.1}, (0.7, 0.1), Status.PASS, "-0.6"),
    ],
)
def test_a_metric_of_the_users_is_judged_in_its_own_unit_and_direction(
    make_project: MakeProject,
    make_results: MakeResults,
    built: Built,
    budget: dict[str, Any],
    values: tuple[float, float],
    status: Status,
    observed: str,
) -> None:
    project = make_project({**budget, "variant": "int8"}, metrics=OWN)
    [verdict] = judge(project, scored(make_results(), budget["metric"], *values), built).verdicts
    assert (verdict.status, verdict.observed) == (status, observed)


def test_a_loss_of_the_users_metric_in_words(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    project = make_project({"metric": "user.auc", "variant": "int8", "max_drop": 0.01}, metrics=OWN)
    [verdict] = judge(project, scored(make_results(), "user.auc", 0.97, 0.955), built).verdicts
    assert verdict.reason == (
        "int8 (tflite) on gateway: user.auc loss 0.015 (0.955 against 0.97 of float32 (tflite) on gateway), "
        "which breaks the budget of at most 0.01 worse than float32."
    )


def test_a_users_metric_that_was_not_measured_on_the_whole_set_passes_nothing(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    project = make_project({"metric": "user.auc", "variant": "int8", "min": 0.5}, metrics=OWN)
    assert judge(project, make_results(), built).status is Status.UNMEASURED
    part = changed(make_results(), "user.auc", Estimate(value=0.9, samples=99))
    assert judge(project, part, built).status is Status.UNMEASURED
    whole = scored(make_results(), "user.auc", 0.9, 0.9)
    assert judge(project, whole, Built(built.artifacts, DIFFERENT)).status is Status.UNMEASURED
    assert judge(project, whole, built).status is Status.PASS


ORDER = (Status.FAIL, Status.UNMEASURED, Status.INCONCLUSIVE, Status.PASS)


@given(st.lists(st.tuples(st.sampled_from(Status), st.sampled_from(["error", "warn"])), min_size=1))
def test_the_status_is_the_worst_that_counts(verdicts: list[tuple[Status, Any]]) -> None:
    made = tuple(
        Verdict(
            status=status, severity=severity, metric="size", variant="int8", format=None, target=None,
            limit="at most 1 B", observed="1 B", observed_value=1, limit_value=1, reason="",
        )
        for status, severity in verdicts
    )  # fmt: skip
    judgement = Judgement(run_id="r", project="demo", verdicts=made)
    counting = [status for status, severity in verdicts if severity == "error"]
    assert judgement.status is min(counting, key=ORDER.index, default=Status.PASS)
    assert (exit_code(judgement) is ExitCode.PASSED) == all(status is Status.PASS for status in counting)
