"""Whether a step pays: three answers, each only where it is sure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgecc.artifact import Format, StepRecord
from edgecc.benchmarks.payoff import judge, judge_steps, marks
from edgecc.benchmarks.steps import PlannedStep
from edgecc.results import Failure, FailureKind, Pays, Ratio, Results

MakeRecord = Callable[..., StepRecord]
SAME = {"sizes": (1000, 1000), "compressed": (900, 900)}
SMALLER = {"sizes": (1000, 300), "compressed": (900, 250)}
ONLY_COMPRESSED = {"sizes": (1000, 1000), "compressed": (900, 500)}
LARGER_BUT_COMPRESSED = {"sizes": (1000, 1200), "compressed": (900, 500)}
BARELY = {"sizes": (1000, 995), "compressed": (900, 895)}
LARGER = {"sizes": (1000, 1200), "compressed": (900, 1100)}


def between(low: float, high: float) -> Ratio:
    return Ratio(value=(low * high) ** 0.5, low=low, high=high, processes=5)


@pytest.mark.parametrize(
    ("sizes", "latency", "pays", "said"),
    [
        (SMALLER, between(1.22, 1.39), Pays.NO, ("smaller", "slower")),
        (SMALLER, between(0.7, 0.8), Pays.YES, ("smaller", "faster")),
        (SMALLER, between(0.97, 1.03), Pays.YES, ("smaller",)),
        (SMALLER, between(0.9, 1.3), Pays.UNKNOWN, ("smaller",)),
        (SMALLER, None, Pays.UNKNOWN, ("smaller",)),
        (ONLY_COMPRESSED, between(0.98, 1.02), Pays.YES, ("smaller update",)),
        (LARGER_BUT_COMPRESSED, between(0.98, 1.02), Pays.YES, ("larger file, smaller update",)),
        (SAME, between(0.97, 1.03), Pays.NO, ()),
        (SAME, between(0.7, 1.2), Pays.UNKNOWN, ()),
        (SAME, between(0.7, 0.8), Pays.YES, ("faster",)),
        (SAME, None, Pays.UNKNOWN, ()),
        (BARELY, between(0.97, 1.03), Pays.NO, ()),
        (LARGER, between(0.5, 0.6), Pays.YES, ("larger", "faster")),
        (LARGER, between(1.5, 1.6), Pays.NO, ("larger", "slower")),
    ],
)
def test_bytes_and_time(
    make_record: MakeRecord, sizes: Any, latency: Ratio | None, pays: Pays, said: tuple[str, ...]
) -> None:
    record = make_record(**sizes)
    assert (judge(record, latency), marks(record, latency)) == (pays, said)


@pytest.mark.parametrize(
    ("lost_gained", "pays", "said"),
    [
        ((20, 2), Pays.NO, ("less accurate",)),
        ((2, 20), Pays.YES, ("more accurate",)),
        ((3, 2), Pays.NO, ()),
        (None, Pays.NO, ()),
    ],
)
def test_right_answers_are_something_to_buy(
    make_record: MakeRecord, lost_gained: tuple[int, int] | None, pays: Pays, said: tuple[str, ...]
) -> None:
    record = make_record(**SAME, lost_gained=lost_gained)
    assert (judge(record, between(0.98, 1.02)), marks(record, between(0.98, 1.02))) == (pays, said)


def test_accuracy_lost_for_bytes_is_told_and_still_pays(make_record: MakeRecord) -> None:
    record = make_record(**SMALLER, lost_gained=(20, 2))
    assert judge(record, between(0.98, 1.02)) is Pays.YES
    assert marks(record, None) == ("smaller", "less accurate")


def test_each_step_is_judged_on_each_target_in_a_sentence(stepped: Results) -> None:
    quantize, prune = stepped.steps
    assert quantize.reason == (
        "int8 (tflite) on gateway: quantize makes it 1.30x slower (1.30-1.30) for 34.1 kB saved; without it: float32."
    ).replace("1.30-1.30", f"{quantize.latency.low:.2f}-{quantize.latency.high:.2f}")  # type: ignore[union-attr]
    assert (quantize.pays, quantize.marks) == (Pays.NO, ("smaller", "slower"))
    assert prune.pays is Pays.NO
    assert prune.reason.endswith(", no bytes saved; no variant goes without it.")
    assert "prune saves no time (" in prune.reason


def test_a_loss_of_accuracy_is_in_the_sentence(stepped: Results, make_record: MakeRecord) -> None:
    record = make_record("prune", **SAME, lost_gained=(20, 2), scores=(0.975, 0.957))
    [step] = judge_steps([PlannedStep("int8", Format.TFLITE, record, None)], stepped.rows)
    assert ", no bytes saved, -1.80 pp accuracy (p = 0.00012); no variant goes without it." in step.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"failure": Failure(kind=FailureKind.CRASHED, message="died")}, "int8 gave no numbers: crashed"),
        ({"emulated": True}, "the target's clock is emulated"),
        ({"processes": ()}, "needs 4 processes"),
    ],
)
def test_without_both_times_there_is_no_telling(
    stepped: Results, make_record: MakeRecord, changes: dict[str, Any], why: str
) -> None:
    rows = [row.model_copy(update=changes) if row.variant == "int8" else row for row in stepped.rows]
    [step] = judge_steps([PlannedStep("int8", Format.TFLITE, make_record(), "float32")], rows)
    assert (step.pays, step.latency) == (Pays.UNKNOWN, None)
    assert why in str(step.latency_unmeasured)
    assert why in step.reason


def test_a_step_whose_artifacts_were_not_measured_is_left_out(stepped: Results, make_record: MakeRecord) -> None:
    assert judge_steps([PlannedStep("int8", Format.ONNX, make_record(), "float32")], stepped.rows) == ()
