"""JUnit XML: every CI that reads it sees what the gate says, whatever the names and messages hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, TestCase

from edgecc.benchmarks.report.junit import render_junit
from edgecc.results import Judgement, Status, Verdict

ILLEGAL = "\x00\x08\x1b\x7f\ud800\ufffe\uffff]]><!--&\"'\N{PILE OF POO}\u202e"


def verdict(status: Status, severity: str = "error", text: str = "") -> Verdict:
    return Verdict.model_construct(
        status=status, severity=severity, metric="latency.p90", variant="int8" + text, format="tflite",
        target="host" + text, limit="at most 2 ms", observed="3 ms", observed_value=0.003, limit_value=0.002,
        reason="int8 (tflite) on host: too slow." + text,
    )  # fmt: skip


def parsed(*verdicts: Verdict, project: str = "demo") -> JUnitXml:
    judgement = Judgement.model_construct(run_id="run", project=project, verdicts=verdicts, left_out=())
    return JUnitXml.fromstring(render_junit(judgement).encode())


def cases(document: JUnitXml) -> list[TestCase]:
    [suite] = list(document)
    return list(suite)


@pytest.mark.parametrize(
    ("status", "severity", "results"),
    [
        (Status.PASS, "error", []),
        (Status.FAIL, "error", [Failure]),
        (Status.UNMEASURED, "error", [Error]),
        (Status.INCONCLUSIVE, "error", [Error]),
        (Status.PASS, "warn", []),
        (Status.FAIL, "warn", []),
        (Status.UNMEASURED, "warn", []),
        (Status.INCONCLUSIVE, "warn", []),
    ],
)
def test_every_status_has_its_place(status: Status, severity: str, results: list[type]) -> None:
    document = parsed(verdict(status, severity))
    [case] = cases(document)
    assert [type(result) for result in case.result] == results
    assert not any(result.message != "int8 (tflite) on host: too slow." for result in case.result)
    counts = (document.tests, document.failures, document.errors, document.skipped)
    assert counts == (1, results.count(Failure), results.count(Error), 0)


@pytest.mark.parametrize("status", [Status.FAIL, Status.UNMEASURED, Status.INCONCLUSIVE])
def test_a_warning_says_what_it_warns_of(status: Status) -> None:
    [case] = cases(parsed(verdict(status, "warn")))
    assert case.system_out == f"warning: {status}: int8 (tflite) on host: too slow."
    assert case.name.endswith("(warn)")


def test_a_budget_twice_is_two_cases_that_a_ci_can_tell_apart() -> None:
    both = cases(parsed(verdict(Status.FAIL), verdict(Status.FAIL, "warn")))
    assert len({case.name for case in both}) == 2


def test_nothing_judged_is_an_error() -> None:
    document = parsed(project="demo" + ILLEGAL)
    assert (document.tests, document.errors, document.skipped) == (1, 1, 0)


@given(text=st.text(st.characters(codec=None, exclude_categories=())) | st.just(ILLEGAL))
def test_any_name_and_message_survives(text: str) -> None:
    document = parsed(verdict(Status.FAIL, text=text), verdict(Status.PASS, text=text), project="demo" + text)
    broken, kept = cases(document)
    assert [type(result) for result in broken.result] == [Failure]
    assert kept.is_passed
    for case in (broken, kept):
        assert case.name.startswith("int8")
        assert case.classname.startswith("edgecc.demo")


def test_what_can_be_read_stays() -> None:
    document = parsed(verdict(Status.FAIL, text=ILLEGAL))
    [case] = cases(document)
    for kept in ("]]><!--&\"'", "\N{PILE OF POO}"):
        assert kept in case.name
        assert kept in case.result[0].message


def test_the_same_verdicts_are_the_same_bytes() -> None:
    judgement = Judgement(run_id="run", project="demo", verdicts=(verdict(Status.PASS), verdict(Status.FAIL)))
    text = render_junit(judgement)
    assert text == render_junit(judgement)
    assert text.count("<testcase ") == 2
