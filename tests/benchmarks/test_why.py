"""What is said of two artifacts, from profiles with known answers."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.report.why import SHOWN, notes, why_cells, why_report
from edgecc.benchmarks.why import FileWhy, Measured, OperatorChange, Why, WhyReport, explain
from edgecc.errors import ExitCode
from edgecc.targets.profile import NodeTime, ProcessProfile


@dataclass(frozen=True)
class Fake:
    name: str
    size_bytes: int = 0
    kind: str = "CONV_2D"
    outputs: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()


def measured(operators: Sequence[Fake], structure: int = 100, format: Format = Format.TFLITE, **more: Any) -> Measured:
    size = structure + sum(operator.size_bytes for operator in operators)
    artifact = Artifact(path=f"m.{format}", format=format, sha256="a" * 64, size_bytes=size)
    return Measured(artifact, tuple(operators), structure, more.pop("layers", {}), **more)


def cut(*ends_us: float, inference_us: float) -> ProcessProfile:
    return ProcessProfile(inference_s=1e-6 * inference_us, rounds=10, prefixes_s=tuple(1e-6 * end for end in ends_us))


def nodes(inference_us: float, profiled_us: float, **times_us: float) -> ProcessProfile:
    operators = tuple(NodeTime(name=name, kind="Conv", seconds=1e-6 * value) for name, value in times_us.items())
    return ProcessProfile(
        inference_s=1e-6 * inference_us, profiled_s=1e-6 * profiled_us, rounds=10, operators=operators
    )


def named(why: Why) -> dict[str, OperatorChange]:
    return {change.name: change for change in why.operators}


OLD = [Fake("conv", 800), Fake("dense", 4000)]
NEW = [Fake("conv", 200), Fake("dense", 1000)]


def test_bytes_are_compared_operator_by_operator() -> None:
    why = explain(measured(OLD, 100), measured(NEW, 300), "nobody asked")
    assert [(change.name, change.size_change_bytes) for change in why.operators] == [("dense", -3000), ("conv", -600)]
    assert (why.before.structure_bytes, why.after.structure_bytes) == (100, 300)
    assert (why.before.latency, why.latency_change, why.method) == (None, None, None)
    assert all(change.time_change is None for change in why.operators)


def test_times_are_the_differences_of_prefixes() -> None:
    before = [cut(3, 5, inference_us=7), cut(3, 5.5, inference_us=7.5), cut(4, 6, inference_us=8)]
    after = [cut(1, 5, inference_us=6), cut(1.5, 5.5, inference_us=6.5), cut(1, 5, inference_us=6)]
    why = explain(measured(OLD, profiles=tuple(before)), measured(NEW, profiles=tuple(after)), None)

    conv, dense = named(why)["conv"], named(why)["dense"]

    assert conv.time_before is not None
    assert conv.time_change is not None
    assert dense.time_change is not None
    assert (conv.time_before.value, conv.time_before.low, conv.time_before.high) == pytest.approx((3e-6, 3e-6, 4e-6))
    # In pairs of processes: -2, -1.5 and -3 µs; the medians are 3 and 1 µs.
    assert (conv.time_change.value, conv.time_change.low, conv.time_change.high) == pytest.approx(
        (-2e-6, -3e-6, -1.5e-6)
    )
    assert (dense.time_change.value, dense.time_change.low) == pytest.approx((2e-6, 1.5e-6))
    assert conv.time_change.is_told_from_zero
    assert why.before.outside_s == pytest.approx(7.5e-6 - 3e-6 - 2e-6)
    assert why.processes == 3


def test_a_change_within_the_noise_is_marked_and_does_not_lead() -> None:
    before = [cut(3, 103, inference_us=110), cut(3, 203, inference_us=210)]
    after = [cut(5, 145, inference_us=150), cut(5, 155, inference_us=160)]
    same = [Fake("conv", 10), Fake("dense", 10)]
    why = explain(measured(same, profiles=tuple(before)), measured(same, profiles=tuple(after)), None)
    assert [change.name for change in why.operators] == ["conv", "dense"]  # 2 µs for sure, not -5 µs perhaps
    (conv, *_), (dense, *_) = ((cells[-1],) for cells in list(why_cells(why))[:2])
    assert (conv, dense) == ("+2.00", "~-5.00")


def test_nodes_that_a_runtime_added_are_rows_without_bytes() -> None:
    old = measured([Fake("conv", 8, "Conv")], format=Format.ONNX, profiles=(nodes(10, 30, conv=6),))
    new = measured([Fake("conv", 8, "Conv")], format=Format.ONNX, profiles=(nodes(12, 40, conv=6, reorder=3),))
    why = explain(old, new, None)
    added = named(why)["reorder"]
    assert (added.size_before_bytes, added.size_after_bytes, added.kind_before) == (None, 0, None)
    assert added.time_before is None
    assert added.time_change is not None
    assert added.time_change.value == pytest.approx(3e-6)
    assert why.before.outside_s == pytest.approx(24e-6)
    assert why.after.outside_s == pytest.approx(31e-6)


def test_the_profilers_own_time_is_stated() -> None:
    old = measured([Fake("conv", 8, "Conv")], format=Format.ONNX, profiles=(nodes(10, 30, conv=6),))
    said = " ".join(notes(explain(old, old, None)))
    assert "whole microseconds" in said
    assert "takes 10.0 µs without the profiler and 30.0 µs with it, 3.0 times as long: some 20.0 µs for each" in said


def test_operators_that_take_longer_than_the_inference_are_disbelieved() -> None:
    old = measured([Fake("conv", 8, "Conv")], format=Format.ONNX, profiles=(nodes(10, 60, conv=30),))
    new = measured([Fake("conv", 4, "Conv")], format=Format.ONNX, profiles=(nodes(14, 30, conv=6, reorder=3),))
    for before, after, change in ((old, new, 4e-6), (new, old, -4e-6)):
        why = explain(before, after, None)
        assert why.unmeasured is not None
        assert (
            "one inference takes 10.0 µs, but under the profiler its operators took 30.0 µs together" in why.unmeasured
        )
        assert why.method is None
        assert [(each.name, each.time_before, each.time_change) for each in why.operators] == [("conv", None, None)]
        assert why.before.outside_s is None
        assert why.latency_change is not None
        assert why.latency_change.value == pytest.approx(change)
        assert f"{1e6 * change:+.2f} µs" in " ".join(notes(why))


def test_layers_are_named_where_they_are_known() -> None:
    why = explain(measured(OLD, layers={1: "head"}), measured(NEW), "nobody asked")
    assert {change.name: change.layer for change in why.operators} == {"conv": None, "dense": "head"}
    assert next(iter(why_cells(why)))[0] == "head CONV_2D"


def number(text: str) -> float:
    return 0.0 if text in ("–", "") else float(text.replace(",", "").removeprefix("~"))


OPERATORS = st.lists(st.builds(Fake, st.text("ab", min_size=1), st.integers(0, 10**6)), max_size=2 * SHOWN)
TIMES = st.lists(st.floats(0.01, 99), min_size=2 * SHOWN, max_size=2 * SHOWN)


def timed(operators: Sequence[Fake], processes: Sequence[Sequence[float]]) -> Measured:
    profiles = [
        cut(*(sum(times[: end + 1]) for end in range(len(operators))), inference_us=sum(times) + 1)
        for times in processes
    ]
    return measured(operators, structure=77, profiles=tuple(profiles))


@given(before=OPERATORS, after=OPERATORS, processes=st.lists(TIMES, min_size=6, max_size=6))
def test_the_rows_add_up_to_the_totals(before: list[Fake], after: list[Fake], processes: list[list[float]]) -> None:
    if not before or not after:
        return  # nothing to cut
    why = explain(timed(before, processes), timed(after, processes[::-1]), None)
    *rows, total = why_cells(why)
    assert len(rows) <= SHOWN + 3
    for column in (1, 2, 3):
        assert sum(number(row[column]) for row in rows) == number(total[column])
    for column in (4, 5, 6):  # each is rounded to 0.01 or, from 100 µs, to 1
        assert sum(number(row[column]) for row in rows) == pytest.approx(number(total[column]), abs=SHOWN)
    for file, side in ((why.before, "time_before"), (why.after, "time_after")):
        check_times(file, [getattr(change, side) for change in why.operators])


def check_times(file: FileWhy, spans: list[Any]) -> None:
    assert file.latency is not None
    assert file.outside_s is not None
    own = sum(span.value for span in spans if span is not None)
    assert own + file.outside_s == pytest.approx(file.latency.value)


@given(before=OPERATORS, after=OPERATORS)
def test_bytes_add_up_without_times(before: list[Fake], after: list[Fake]) -> None:
    why = explain(measured(before), measured(after), "nobody asked")
    assert sum(change.size_before_bytes or 0 for change in why.operators) + 100 == why.before.size_bytes
    assert sum(change.size_change_bytes for change in why.operators) == why.after.size_bytes - why.before.size_bytes
    shares = [abs(change.size_change_bytes) for change in why.operators]
    assert shares == sorted(shares, reverse=True)


def test_an_interval_holds_its_value() -> None:
    profiles = tuple(cut(time, inference_us=9) for time in (1, 2, 3, 4, 5, 60))
    why = explain(measured(OLD[:1], profiles=profiles), measured(NEW[:1], profiles=profiles[::-1]), None)
    (change,) = why.operators
    assert change.time_change is not None
    assert change.time_change.low <= change.time_change.value <= change.time_change.high
    assert change.time_before is not None
    assert change.time_before.value == pytest.approx(1e-6 * statistics.median([1, 2, 3, 4, 5, 60]))


def test_a_report_says_what_was_left_out_and_is_undecided() -> None:
    from rich.console import Console

    whole = explain(
        measured(OLD, profiles=(cut(1, 2, inference_us=3),)), measured(NEW, profiles=(cut(1, 2, inference_us=3),)), None
    )
    untimed = explain(measured(OLD), measured(NEW), "m.tflite: crashed: SIGSEGV")
    assert WhyReport(pairs=(whole,)).exit_code is ExitCode.PASSED
    assert WhyReport(pairs=(whole, untimed)).exit_code is ExitCode.UNDECIDED
    assert WhyReport(pairs=()).exit_code is ExitCode.UNDECIDED
    report = WhyReport(pairs=(untimed,), left_out=("int8 (onnx) is the same file in both runs",))
    assert report.exit_code is ExitCode.UNDECIDED
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(why_report(report))
    text = console.export_text()
    assert "Times of operators are unmeasured: m.tflite: crashed: SIGSEGV." in text
    assert "Left out: int8 (onnx) is the same file in both runs." in text
    assert "µs" not in text
    assert WhyReport.model_validate_json(report.model_dump_json()) == report
