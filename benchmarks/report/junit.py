"""Verdicts as JUnit XML, which every CI shows: a broken budget is a failure, what could not be judged an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgecc.benchmarks.report.summary import headline, judged, plain
from edgecc.results import Judgement, Status, Verdict

if TYPE_CHECKING:
    from junitparser import TestCase


def render_junit(judgement: Judgement) -> str:
    """One test case a verdict: it passes only where the gate says so.

    A broken budget is a failure; one that is unmeasured or inconclusive is an error, never skipped. A budget that only
    warns passes, and says in its name and output what it warns of.
    """
    from junitparser import JUnitXml, TestSuite

    suite = TestSuite(f"edgecc {plain(judgement.project)}")
    suite.add_property("run_id", plain(judgement.run_id))
    for verdict in judgement.verdicts:
        suite.add_testcase(_case(verdict, judgement.project))
    if not judgement.verdicts:
        suite.add_testcase(_nothing_judged(judgement))
    document = JUnitXml("edgecc")
    document.add_testsuite(suite)
    document.update_statistics()
    return str(document.tostring().decode("utf-8")) + "\n"


def _case(verdict: Verdict, project: str) -> TestCase:
    from junitparser import Error, Failure, TestCase

    warns = " (warn)" if verdict.severity == "warn" else ""
    name = plain(f"{judged(verdict)}: {verdict.metric} {verdict.limit}{warns}")
    case = TestCase(name, plain(f"edgecc.{project}"))
    reason = plain(verdict.reason)
    if verdict.status is Status.PASS or verdict.severity == "warn":
        case.system_out = reason if verdict.status is Status.PASS else f"warning: {verdict.status}: {reason}"
    elif verdict.status is Status.FAIL:
        case.result = [Failure(reason, "budget broken")]
    else:
        case.result = [Error(reason, str(verdict.status))]
    return case


def _nothing_judged(judgement: Judgement) -> TestCase:
    """A suite without a case is green in most CIs."""
    from junitparser import Error, TestCase

    case = TestCase("budgets", plain(f"edgecc.{judgement.project}"))
    case.result = [Error(headline(judgement), str(judgement.status))]
    return case
