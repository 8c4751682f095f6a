"""`edgecc release`: exit codes as the gate's, files to stdout, reasons to stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.benchmarks.release import Release
from edgecc.errors import ExitCode
from edgecc.results import Judgement, Status, Verdict

Severity = Literal["error", "warn"]


def judgement(status: Status, severity: Severity = "error") -> Judgement:
    verdict = Verdict(
        status=status, severity=severity, metric="size", variant="int8", format=None, target=None, limit="at most 1 kB",
        observed="2 kB", observed_value=2000, limit_value=1000, reason="int8: too large.",
    )  # fmt: skip
    return Judgement(run_id="run", project="demo", verdicts=(verdict,))


def release(
    monkeypatch: pytest.MonkeyPatch, released: Release, *arguments: str
) -> tuple[int, list[tuple[Path, object]]]:
    """The exit code, and what the verb asked for."""
    asked: list[tuple[Path, object]] = []

    def answer(project: Path, *, output: Path | None) -> Release:
        asked.append((project, output))
        return released

    monkeypatch.setattr(api, "release", answer)
    monkeypatch.setattr(sys, "argv", ["edgecc", "release", *arguments])
    with pytest.raises(SystemExit) as left:
        entrance.main()
    assert isinstance(left.value.code, int)
    return left.value.code, asked


def test_the_files_go_to_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    released = Release(judgement(Status.PASS), files=(Path("out/SHA256SUMS"), Path("out/release.json")))
    code, asked = release(monkeypatch, released, "demo", "--output", "out")
    assert code == ExitCode.PASSED
    assert asked == [(Path("demo"), Path("out"))]
    assert capsys.readouterr() == ("out/SHA256SUMS\nout/release.json\n", "")


@pytest.mark.parametrize(
    ("status", "severity", "code"),
    [
        (Status.FAIL, "error", ExitCode.BUDGET_BROKEN),
        (Status.UNMEASURED, "error", ExitCode.UNDECIDED),
        (Status.INCONCLUSIVE, "error", ExitCode.UNDECIDED),
        (Status.FAIL, "warn", ExitCode.UNDECIDED),
    ],
)
def test_a_refusal_exits_as_the_gate_does_and_never_passes(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: Status,
    severity: Severity,
    code: ExitCode,
) -> None:
    released = Release(judgement(status, severity), refused=("int8: too large.", "int8: too slow."))
    assert release(monkeypatch, released) == (code, [(Path(), None)])
    assert capsys.readouterr() == ("", "not released: int8: too large.\nnot released: int8: too slow.\n")
