"""Comparing two runs: exact where values are exact, by interval where they are not, else refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from rich.console import Console

from edgecc.benchmarks.compare import (
    NOT_IN_TURN,
    Answer,
    Comparison,
    MetricChange,
    comparable,
    compare_results,
    conditions,
    environment_key,
    growth,
)
from edgecc.benchmarks.ratio import ratio_of
from edgecc.benchmarks.report.comparison import change_in_words, comparison_table
from edgecc.errors import ExitCode
from edgecc.results import Estimate, Failure, FailureKind, PairedRun, ProcessSample, Ratio, Results, Row
from edgecc.units import Unit

MakeResults = Callable[..., Results]
MakeProcess = Callable[..., ProcessSample]
STEADY = (1.0, 1.001, 0.999, 1.002, 0.998)


@pytest.fixture
def make_run(make_results: MakeResults, make_process: MakeProcess) -> Callable[..., Results]:
    """A run of this id whose int8 takes so long in each process; other files than those of other ids."""

    def make(run_id: str = "before", medians_ms: Sequence[float] = STEADY, **changes: Any) -> Results:
        results = make_results(**changes)
        processes = tuple(make_process(*[0.001 * median] * 200) for median in medians_ms)
        rows = tuple(
            row.model_copy(
                update={
                    "processes": processes,
                    "artifact": row.artifact.model_copy(update={"sha256": run_id.encode().hex().ljust(64, "0")}),
                }
            )
            for row in results.rows
        )
        return results.model_copy(update={"run_id": run_id, "rows": rows})

    return make


def with_row(results: Results, **changes: Any) -> Results:
    """With the int8 row changed; `environment` changes that of the row."""
    row = results.rows[1]
    assert row.environment is not None
    if isinstance(changes.get("environment"), dict):
        changes["environment"] = row.environment.model_copy(update=changes["environment"])
    return results.model_copy(update={"rows": (results.rows[0], row.model_copy(update=changes))})


def change_of(comparison: Comparison, metric: str, variant: str = "int8") -> MetricChange:
    row = next(row for row in comparison.rows if row.variant == variant)
    return next(change for change in row.metrics if change.metric == metric)


def shown(comparison: Comparison) -> str:
    console = Console(width=80, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(comparison_table(comparison))
    return captured.get()


# What may be compared


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target_kind": "ssh"}, "target_kind differs: x86_cpu before, ssh after"),
        ({"target_options": {"cpu": "a72"}}, "target_options differs: {} before, {'cpu': 'a72'} after"),
        ({"num_threads": 4}, "num_threads differs: 1 before, 4 after"),
        ({"emulated": True}, "emulated differs: False before, True after"),
        ({"environment": {"cpu_model": "Other"}}, "cpu_model differs: Fake CPU @ 2.0GHz before, Other after"),
        ({"environment": {"machine": "aarch64"}}, "machine differs: x86_64 before, aarch64 after"),
        ({"environment": {"cores": 2}}, "cores differs: 4 before, 2 after"),
        ({"environment": {"accelerator": "GPU"}}, "accelerator differs: None before, GPU after"),
        ({"environment": {"emulated": True}}, "emulated differs: False before, True after"),
        (
            {"environment": {"runtimes": {"litert": "2.4.0"}}},
            "runtime differs: litert 2.3.0 before, litert 2.4.0 after",
        ),
        ({"environment": {"runtimes": {}}}, "runtime differs: litert 2.3.0 before, litert of an unknown version after"),
    ],
)
def test_other_conditions_are_not_comparable_and_have_another_key(
    make_run: Callable[..., Results], change: dict[str, Any], words: str
) -> None:
    before, after = make_run(), with_row(make_run("after"), **change)
    one, other = before.rows[1], after.rows[1]
    assert comparable(one, other) == words
    assert environment_key(one) != environment_key(other)
    comparison = compare_results(before, after)
    for metric in ("latency.p50", "latency.p90", "throughput", "load.cold"):
        assert change_of(comparison, metric).answer is Answer.REFUSED
        assert change_of(comparison, metric).reason == words
        assert change_of(comparison, metric, "float32").answer is not Answer.REFUSED
    assert change_of(comparison, "size").answer is Answer.SAME
    assert change_of(comparison, "memory.peak").answer is Answer.UNKNOWN
    assert comparison.exit_code is ExitCode.UNDECIDED


@pytest.mark.parametrize(
    "change", [{"os": "Linux 6.2"}, {"governor": "performance"}, {"load_average": 9.0}, {"python": "3.13.0"}]
)
def test_what_does_not_matter_does_not(make_run: Callable[..., Results], change: dict[str, Any]) -> None:
    before, after = make_run(), with_row(make_run("after"), environment=change)
    assert comparable(before.rows[1], after.rows[1]) is None
    assert environment_key(before.rows[1]) == environment_key(after.rows[1])
    assert compare_results(before, after).exit_code is ExitCode.PASSED


def test_a_target_that_did_not_answer_has_no_conditions(make_run: Callable[..., Results]) -> None:
    before, after = make_run(), with_row(make_run("after"), environment=None)
    assert environment_key(after.rows[1]) is None
    assert comparable(before.rows[1], after.rows[1]) == "the target did not answer in the run after"
    assert comparable(after.rows[1], before.rows[1]) == "the target did not answer in the run before"
    with pytest.raises(ValueError, match="did not answer"):
        conditions(after.rows[1])


# Exact values


@pytest.mark.parametrize(
    ("size", "answer", "change"), [(350, Answer.SAME, 0.0), (343, Answer.BETTER, -0.02), (357, Answer.WORSE, 0.02)]
)
def test_sizes_are_exact(make_run: Callable[..., Results], size: int, answer: Answer, change: float) -> None:
    found = change_of(compare_results(make_run(), make_run("after", int8_bytes=size)), "size")
    assert (found.before, found.after, found.answer) == (350, size, answer)
    assert found.change == pytest.approx(change)


@pytest.mark.parametrize(("right", "answer"), [(96, Answer.SAME), (97, Answer.BETTER), (95, Answer.WORSE)])
def test_accuracy_is_exact_and_in_points(make_run: Callable[..., Results], right: int, answer: Answer) -> None:
    found = change_of(compare_results(make_run(), make_run("after", right=right)), "accuracy")
    assert found.answer is answer
    assert found.change == pytest.approx(0.01 * (right - 96))


def test_a_metric_of_the_projects_own_knows_its_direction(make_run: Callable[..., Results]) -> None:
    def scored(results: Results, value: float) -> Results:
        row = results.rows[1]
        estimates = {**row.estimates, "user.loss": Estimate(value=value, samples=100)}
        return with_row(results.model_copy(update={"metrics": {"loss": "lower"}}), estimates=estimates)

    found = change_of(compare_results(scored(make_run(), 0.5), scored(make_run("after"), 0.4)), "user.loss")
    assert found.answer is Answer.BETTER
    assert found.change == pytest.approx(-0.1)


def test_scores_on_another_evaluation_set_are_refused(make_run: Callable[..., Results]) -> None:
    after = make_run("after").model_copy(update={"evaluation_sha256": "0" * 64})
    comparison = compare_results(make_run(), after)
    for metric in ("accuracy", "agreement.top1"):
        assert change_of(comparison, metric).answer is Answer.REFUSED
        assert "evaluation set" in str(change_of(comparison, metric).reason)
    assert change_of(comparison, "size").answer is Answer.SAME
    assert comparison.exit_code is ExitCode.UNDECIDED


def test_agreement_with_another_reference_is_refused(make_run: Callable[..., Results]) -> None:
    after = make_run("after").model_copy(update={"reference_variant": "small"})
    found = change_of(compare_results(make_run(), after), "agreement.top1")
    assert found.reason == "the reference variant differs: float32 before, small after"


# Values with noise


@pytest.mark.parametrize(
    ("factor", "answer"), [(1.1, Answer.WORSE), (0.9, Answer.BETTER), (1.0, Answer.UNKNOWN), (1.0005, Answer.UNKNOWN)]
)
def test_latencies_are_told_apart_by_their_interval(
    make_run: Callable[..., Results], factor: float, answer: Answer
) -> None:
    before, after = make_run(), make_run("after", [factor * median for median in STEADY])
    comparison = compare_results(before, after)
    found = change_of(comparison, "latency.p50")
    ratio = ratio_of("latency.p50", before.rows[1].processes, after.rows[1].processes)
    assert isinstance(ratio, Ratio)
    assert (found.ratio, found.answer) == (ratio, answer)
    assert found.change == ratio.value - 1
    assert comparison.notes == (NOT_IN_TURN,)
    assert comparison.exit_code is ExitCode.PASSED


def test_more_throughput_is_better(make_run: Callable[..., Results]) -> None:
    found = change_of(compare_results(make_run(), make_run("after", [1.2 * m for m in STEADY])), "throughput")
    assert found.answer is Answer.WORSE
    assert found.ratio is not None
    assert found.ratio.high < 1


def test_too_few_processes_tell_nothing(make_run: Callable[..., Results]) -> None:
    found = change_of(compare_results(make_run(), make_run("after", [2.0])), "latency.p50")
    assert found.answer is Answer.UNKNOWN
    assert "processes" in str(found.reason)


def test_the_same_file_is_neither_faster_nor_slower(make_run: Callable[..., Results]) -> None:
    before = make_run()
    after = make_run("before", [2 * median for median in STEADY])
    comparison = compare_results(before, after)
    assert change_of(comparison, "latency.p50").answer is Answer.UNKNOWN
    assert "the same file" in str(change_of(comparison, "latency.p50").reason)
    assert change_of(comparison, "size").answer is Answer.SAME
    assert comparison.rows[0].same_artifact


def test_an_emulated_clock_tells_nothing(make_run: Callable[..., Results]) -> None:
    before = with_row(make_run(), emulated=True)
    after = with_row(make_run("after", [2 * median for median in STEADY]), emulated=True)
    found = change_of(compare_results(before, after), "latency.p50")
    assert (found.answer, found.reason) == (Answer.UNKNOWN, "the target is emulated")


def test_what_ran_beside_the_baseline_is_compared_so(
    make_run: Callable[..., Results], make_process: MakeProcess
) -> None:
    """The run before was on another machine; the later one measured its artifact again, beside its own."""
    before = with_row(make_run(), environment={"cpu_model": "Other"})
    after = make_run("after").model_copy(update={"baseline_run_id": "before"})
    pair = paired(before.rows[1], after.rows[1], make_process)
    comparison = compare_results(before, after.model_copy(update={"paired": (pair,)}))
    found = change_of(comparison, "latency.p50")
    assert found.answer is Answer.WORSE
    assert (found.before, found.after) == (0.01, 0.012)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(1.2)
    assert change_of(comparison, "size").before == 350
    row = next(row for row in comparison.rows if row.variant == "int8")
    assert row.side_by_side
    assert any("int8 (tflite) on gateway" in note and "side by side" in note for note in comparison.notes)


@pytest.mark.parametrize("change", ["another baseline", "another artifact", "nothing measured"])
def test_what_ran_beside_something_else_does_not_count(
    make_run: Callable[..., Results], make_process: MakeProcess, change: str
) -> None:
    before, after = make_run(), make_run("after")
    pair = paired(before.rows[1], after.rows[1], make_process)
    if change == "another artifact":
        pair = pair.model_copy(update={"baseline": after.rows[1].artifact})
    if change == "nothing measured":
        pair = pair.model_copy(update={"ratios": {}})
    baseline = "earlier" if change == "another baseline" else "before"
    after = after.model_copy(update={"baseline_run_id": baseline, "paired": (pair,)})
    comparison = compare_results(before, after)
    assert not any(row.side_by_side for row in comparison.rows)
    assert change_of(comparison, "latency.p50").answer is Answer.UNKNOWN


def paired(before: Row, after: Row, make_process: MakeProcess) -> PairedRun:
    ratio = Ratio(value=1.2, low=1.1, high=1.3, processes=6)
    return PairedRun(
        variant="int8", format=after.format, target=after.target, baseline=before.artifact, candidate=after.artifact,
        environment=after.environment, ratios={"latency.p50": ratio},
        baseline_processes=tuple(make_process(*[0.010] * 100) for _ in range(6)),
        candidate_processes=tuple(make_process(*[0.012] * 100) for _ in range(6)),
    )  # fmt: skip


# What is missing


def test_what_failed_in_one_run_could_not_be_compared(make_run: Callable[..., Results]) -> None:
    failure = Failure(kind=FailureKind.CRASHED, message="signal 11")
    comparison = compare_results(make_run(), make_run("after", int8_failure=failure))
    found = change_of(comparison, "latency.p50")
    assert (found.after, found.answer) == (None, Answer.REFUSED)
    assert found.reason == "unmeasured after: crashed: signal 11"
    assert comparison.exit_code is ExitCode.UNDECIDED


def test_rows_of_one_run_alone_are_named(make_run: Callable[..., Results]) -> None:
    comparison = compare_results(make_run(targets=("gateway", "pi")), make_run("after", int8_name="other"))
    assert comparison.only_before == (
        "int8 (tflite) on gateway", "float32 (tflite) on pi", "int8 (tflite) on pi",
    )  # fmt: skip
    assert comparison.only_after == ("other (tflite) on gateway",)
    assert comparison.exit_code is ExitCode.PASSED
    text = " ".join(shown(comparison).split())
    assert "Only in before: int8 (tflite) on gateway, float32 (tflite) on pi, int8 (tflite) on pi." in text
    assert "Only in after: other (tflite) on gateway." in text


def test_runs_with_nothing_in_common_are_undecided(make_run: Callable[..., Results]) -> None:
    comparison = compare_results(make_run(), make_run("after", targets=("pi",)))
    assert comparison.exit_code is ExitCode.UNDECIDED
    assert "Nothing is in both runs" in shown(comparison)


def test_runs_of_two_projects_are_named(make_run: Callable[..., Results]) -> None:
    after = make_run("after").model_copy(update={"project": "other"})
    assert "The runs are of two projects: demo before, other after." in compare_results(make_run(), after).notes


# Words


@pytest.mark.parametrize(
    ("unit", "before", "after", "words"),
    [
        (Unit.SECONDS, 0.002, 0.0021, "+5.00 %"),
        (Unit.BYTES, 1000.0, 999.0, "-0.10 %"),
        (Unit.BYTES, 0.0, 5.0, "–"),
        (Unit.FRACTION, 0.97, 0.965, "-0.50 pp"),
        (Unit.NUMBER, 2.0, 2.25, "+0.25"),
        (Unit.SECONDS, None, 1.0, "–"),
        (Unit.SECONDS, 1.0, float("inf"), "–"),
    ],
)
def test_a_change_in_words(unit: Unit, before: float | None, after: float, words: str) -> None:
    assert change_in_words(unit, growth(unit, before, after)) == words


def test_the_table_shows_values_change_interval_and_answer(make_run: Callable[..., Results]) -> None:
    after = make_run("after", [1.1 * median for median in STEADY], int8_bytes=343)
    lines = shown(compare_results(make_run(), after)).splitlines()
    assert lines[0] == "before (before) and after (after)"
    own = lines[lines.index("int8 (tflite) on gateway") :]
    size = next(line.split() for line in own if line.startswith("size "))
    assert size == ["size", "350", "B", "343", "B", "-2.00", "%", "better"]
    p50 = next(line for line in own if line.startswith("latency.p50"))
    assert "+10.00 %" in p50
    assert p50.split()[-1] == "worse"
    assert " to " in p50
    assert max(map(len, lines)) <= 80
    assert NOT_IN_TURN in " ".join(" ".join(lines).split())


def test_json_comes_back(make_run: Callable[..., Results]) -> None:
    comparison = compare_results(make_run(), make_run("after", [1.1 * median for median in STEADY]))
    assert Comparison.model_validate(json.loads(comparison.model_dump_json())) == comparison
