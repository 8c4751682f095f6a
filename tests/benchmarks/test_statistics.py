"""Estimates against answers that were published, or worked out another way."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgecc.benchmarks import statistics
from edgecc.metrics import METRICS
from edgecc.results import Estimate, ProcessSample, Provenance

MakeProcess = Callable[..., ProcessSample]
# R: quantile(x, c(.5, .9, .99), type = 7) of Rosner's blood lead data as in Hyndman and Fan's definition, by hand:
# h = (n - 1) p + 1 with n = 100, so p90 lies 0.1 of the way from the 90th value to the 91st.
HUNDRED = tuple(float(value) for value in range(1, 101))


def estimate(answer: Estimate | str) -> float:
    assert isinstance(answer, Estimate), answer
    return answer.value


def test_percentiles_are_definition_7(make_process: MakeProcess) -> None:
    answers = statistics.timings([make_process(*HUNDRED)], Provenance.MEASURED)
    assert estimate(answers["latency.p50"]) == 50.5
    assert estimate(answers["latency.p90"]) == pytest.approx(90.1)
    assert estimate(answers["latency.mean"]) == 50.5
    assert estimate(answers["latency.min"]) == 1
    assert estimate(answers["throughput"]) == pytest.approx(1 / 50.5)


@pytest.mark.parametrize(("metric", "needed"), [("latency.p90", 64), ("latency.p99", 662)])
def test_a_percentile_that_the_sample_cannot_carry_is_not_reported(
    make_process: MakeProcess, metric: str, needed: int
) -> None:
    short = statistics.timings([make_process(*[0.001] * (needed - 1))], Provenance.MEASURED)
    assert short[metric] == f"needs {needed} values, has {needed - 1}"
    enough = statistics.timings([make_process(*[0.001] * needed)], Provenance.MEASURED)
    assert estimate(enough[metric]) == 0.001


def test_values_of_all_processes_count_together(make_process: MakeProcess) -> None:
    processes = [make_process(*[0.001] * 400), make_process(*[0.003] * 300)]
    answers = statistics.timings(processes, Provenance.MEASURED)
    p99 = answers["latency.p99"]
    assert isinstance(p99, Estimate)
    assert (p99.samples, p99.value) == (700, 0.003)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_an_impossible_latency_is_no_reply(make_process: MakeProcess, bad: float) -> None:
    with pytest.raises(ValidationError, match="latencies_s"):
        make_process(0.001, bad)


def test_a_latency_of_nothing_spoils_them_all(make_process: MakeProcess) -> None:
    answers = statistics.timings([make_process(0.001, 0.0)], Provenance.MEASURED)
    for metric in ("latency.p50", "latency.mean", "latency.min", "throughput"):
        assert "not a positive number" in str(answers[metric])


def test_the_computing_is_told_apart_where_every_process_tells_it(make_process: MakeProcess) -> None:
    told = [make_process(0.002, 0.003).model_copy(update={"computes_s": values}) for values in [(0.001, 0.002)] * 3]
    answers = statistics.timings(
        [*told[:2], told[2].model_copy(update={"computes_s": (0.001, 0.001)})], Provenance.MEASURED
    )
    compute = answers["latency.compute"]
    assert isinstance(compute, Estimate)
    assert (compute.value, compute.samples) == (0.001, 6)
    for other in (make_process(0.002, 0.003), told[0].model_copy(update={"computes_s": (0.001,)})):
        answers = statistics.timings([*told, other], Provenance.MEASURED)
        assert answers["latency.compute"] == "the target does not time the computing apart from the copies"


def test_batches_yield_means_of_a_samples_share_alone(make_process: MakeProcess) -> None:
    changes = {"batch_size": 8, "computes_s": (0.001,) * 100}
    answers = statistics.timings([make_process(*HUNDRED).model_copy(update=changes)], Provenance.MEASURED)
    assert estimate(answers["latency.mean"]) == pytest.approx(50.5 / 8)
    assert estimate(answers["throughput"]) == pytest.approx(8 / 50.5)
    assert isinstance(answers["load.cold"], Estimate)
    reasons = {name for name, answer in answers.items() if answer == "a batch of 8 was timed, not single inferences"}
    assert reasons == {"latency.p50", "latency.p90", "latency.p99", "latency.min", "latency.compute"}


def test_memory_is_the_largest_peak_or_nothing(make_process: MakeProcess) -> None:
    known = statistics.memory([make_process(1.0, peak=5), make_process(1.0, peak=7)], Provenance.MEASURED)
    assert estimate(known["memory.peak"]) == 7
    unknown = statistics.memory([make_process(1.0, peak=5), make_process(1.0, peak=None)], Provenance.MEASURED)
    assert "does not tell" in str(unknown["memory.peak"])
    assert "arena" in str(known["memory.arena"])


def test_load_is_the_median_of_the_processes(make_process: MakeProcess) -> None:
    loads = [0.1, 0.2, 0.9]
    processes = [make_process(1.0).model_copy(update={"load_cold_s": load}) for load in loads]
    assert estimate(statistics.timings(processes, Provenance.MEASURED)["load.cold"]) == 0.2


def test_compressed_size_is_what_gunzip_gives_back(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"abc" * 1000)
    answers = statistics.sizes(path)
    assert estimate(answers["size"]) == 3000
    expected = gzip.compress(path.read_bytes(), 9, mtime=123)  # a time stamp never changes the length
    assert estimate(answers["size.compressed"]) == len(expected)


def test_emulated_times_say_so(make_process: MakeProcess) -> None:
    answers = statistics.timings([make_process(1.0)], Provenance.EMULATED)
    assert {answer.provenance for answer in answers.values() if isinstance(answer, Estimate)} == {Provenance.EMULATED}


def test_the_gate_gets_the_same_answers_without_intervals(make_process: MakeProcess) -> None:
    processes = [make_process(*HUNDRED)] * 5
    answers = statistics.timings(processes, Provenance.MEASURED) | statistics.memory(processes, Provenance.MEASURED)
    estimates = [answer for answer in answers.values() if isinstance(answer, Estimate)]
    assert {(estimate.low, estimate.high) for estimate in estimates} == {(None, None)}


def test_every_metric_has_a_value_or_a_reason(make_process: MakeProcess, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"x")
    scores = dict.fromkeys(("accuracy", "agreement.top1"), "no evaluation set")
    processes = [make_process(1.0)]
    answers = statistics.timings(processes, Provenance.MEASURED) | statistics.memory(processes, Provenance.MEASURED)
    estimates, unmeasured = statistics.split(
        {**answers, **statistics.sizes(path), **scores, "instructions": "not counted"}, METRICS
    )
    assert [*estimates, *unmeasured] != []
    assert {*estimates, *unmeasured} == set(METRICS)
    assert not {*estimates} & {*unmeasured}
