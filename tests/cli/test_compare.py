"""`edgecc compare` and `edgecc report --history`: how runs are named, what goes where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgecc import __main__ as entrance
from edgecc import api
from edgecc.artifact import Artifact, Format
from edgecc.benchmarks import results_store
from edgecc.errors import ArtifactError, ExitCode, ProjectError
from edgecc.results import Environment, Estimate, Results, Row

Run = Callable[..., tuple[int, str, str]]
IDS = ["20261101T080000Z-aaaaaa", "20261102T080000Z-bbbbbb", "20261102T090000Z-cccccc"]
ENVIRONMENT = Environment(
    os="Linux", machine="x86_64", cpu_model="Fake CPU", cores=4, governor=None, accelerator=None, python="3.11",
    runtimes={"litert": "2.3.0"}, emulated=False,
)  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb in this process, 80 columns wide: its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgecc", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            entrance.main()
        said = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, said.out, said.err

    return call


def results(run_id: str, size: int, cores: int = 4) -> Results:
    artifact = Artifact(path="m.tflite", format=Format.TFLITE, sha256=f"{size:064x}", size_bytes=size)
    row = Row(
        variant="int8", artifact=artifact, target="host", target_kind="x86_cpu", emulated=False, runtime="litert",
        environment=ENVIRONMENT.model_copy(update={"cores": cores}), num_threads=1,
        estimates={"size": Estimate(value=size, samples=1), "latency.p50": Estimate(value=1e-5, samples=1000)},
    )  # fmt: skip
    return Results(
        run_id=run_id, project="demo", started_at="2026-11-01T08:00:00+00:00", duration_s=1.0, edgecc_version="0.1.0",
        git_commit=None, evaluation_sha256=None, evaluation_samples=0, reference_variant=None, rows=(row,),
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with three runs of 100, 110 and 120 bytes, the last of them the latest."""
    folder = tmp_path / "demo"
    api.init(folder)
    for index, run_id in enumerate(IDS):
        results_store.save(results(run_id, 100 + 10 * index), folder / "results")
    return folder


@pytest.mark.parametrize(
    ("name", "index"),
    [("latest", 2), ("previous", 1), (IDS[0], 0), ("20261101", 0), ("20261102T08", 1), (IDS[2][:-1], 2)],
)
def test_runs_are_named_by_id_prefix_and_place(project: Path, name: str, index: int) -> None:
    assert api.compare(name, "latest", project).before == IDS[index]
    assert api.compare("latest", name, project).after == IDS[index]


def test_the_baseline_is_a_run_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = SimpleNamespace(results=results("released", 90))
    monkeypatch.setattr("edgecc.benchmarks.run_names.read_baseline", lambda _: released)
    assert api.compare("baseline", "latest", project).before == "released"


def test_a_damaged_baseline_is_none(project: Path) -> None:
    (project / "baseline").mkdir()
    with pytest.raises(ArtifactError, match=r"baseline\.json: no such file"):
        api.compare("baseline", "latest", project)


def test_files_are_runs_too(tmp_path: Path) -> None:
    files = [tmp_path / "one.json", tmp_path / "other.json"]
    for file in files:
        file.write_text(results(file.stem, 80).model_dump_json())
    one, other = files
    assert api.compare(one, other, tmp_path / "no-such-project").after == "other"
    with pytest.raises(ProjectError):
        api.compare(other, "latest", tmp_path / "no-such-project")


def test_previous_is_the_run_before_the_latest_not_the_last_but_one_on_disk(project: Path) -> None:
    folder = project / "results"
    (folder / "latest.json").write_text((folder / f"{IDS[1]}.json").read_text())
    assert api.compare("previous", "latest", project).before == IDS[0]
    (folder / "latest.json").write_text((folder / f"{IDS[0]}.json").read_text())
    with pytest.raises(ArtifactError, match=f"expected a run before {IDS[0]}; there is none"):
        api.compare("previous", "latest", project)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("latets", "got 'latets'", "did you mean latest?"),
        ("20261101T080000Z-aaaaab", "got '20261101T080000Z-aaaaab'", f"did you mean {IDS[0]}?"),
        ("20261102", f"is the start of 2: {IDS[1]}, {IDS[2]}", "write more of it"),
        ("nowhere/results.json", "got 'nowhere/results.json'", f"the last run is {IDS[2]}"),
        ("", "got ''", f"the last run is {IDS[2]}"),
        ("baseline", "there is no baseline yet", "edgecc baseline set makes one"),
    ],
)
def test_an_unknown_run_exits_2_with_the_nearest(run: Run, project: Path, name: str, message: str, hint: str) -> None:
    code, out, err = run("compare", name, "latest", project)
    assert (code, out) == (ExitCode.FAILED, "")
    assert message in err
    assert f"hint: {hint}" in err


def test_a_project_without_runs_says_what_to_do(run: Run, tmp_path: Path) -> None:
    api.init(tmp_path / "new")
    for name in ("latest", "20261101"):
        code, _, err = run("compare", name, name, tmp_path / "new")
        assert code == ExitCode.FAILED
        assert "nothing was measured yet" in err


def test_the_table_goes_to_stdout(run: Run, project: Path) -> None:
    code, out, err = run("compare", "previous", "latest", project)
    assert (code, err) == (ExitCode.PASSED, "")
    assert "int8 (tflite) on host" in out
    assert "+9.09 %" in out
    assert "worse" in out


def test_json_is_the_comparison(run: Run, project: Path) -> None:
    code, out, _ = run("compare", IDS[0], IDS[1], project, "--json")
    assert code == ExitCode.PASSED
    document = json.loads(out)
    assert (document["before"], document["after"]) == (IDS[0], IDS[1])
    size = next(change for change in document["rows"][0]["metrics"] if change["metric"] == "size")
    assert (size["before"], size["after"], size["answer"]) == (100, 110, "worse")


def test_another_environment_exits_3_with_the_field_and_both_values(run: Run, project: Path) -> None:
    results_store.save(results("20261103T000000Z-dddddd", 100, cores=8), project / "results")
    code, out, _ = run("compare", IDS[0], "latest", project)
    assert code == ExitCode.UNDECIDED
    assert "latency.p50: cores differs: 4 before, 8 after" in out
    assert "not comparable" in out
    assert "same" in out


def test_the_history_is_written_and_what_is_left_out_is_said(run: Run, project: Path) -> None:
    (project / "results" / "broken.json").write_text("{")
    code, out, err = run("report", "--history", "--metric", "size", project)
    assert code == ExitCode.PASSED
    assert out.strip() == str(project / "report" / "history.html")
    assert "broken.json: expected results as JSON" in err
    assert "size over 3 runs" in (project / "report" / "history.html").read_text()


def test_the_history_is_of_p50_unless_told(project: Path) -> None:
    assert "latency.p50 over 3 runs" in api.history_report(project).file.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "size"], "--metric is for --history"),
        (["--history", "--metric", "latency.p5"], "Did you mean `latency.p50`?"),
        (["--history", "--metric", "accuracy"], "no run has measured accuracy"),
    ],
)
def test_a_history_that_cannot_be_is_one_clear_error(
    run: Run, project: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run("report", *arguments, project)
    assert (code, out) == (ExitCode.FAILED, "")
    assert message in err
    assert not (project / "report" / "history.html").exists()


def test_help_imports_nothing_that_takes_its_time() -> None:
    code = "import sys, edgecc.cli; print({'numpy', 'pydantic', 'rich', 'sqlite3'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
