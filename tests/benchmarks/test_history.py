"""The history: every run of the results is in it once, and nothing that goes wrong goes unsaid."""

from __future__ import annotations

import contextlib
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from edgecc.benchmarks import results_store
from edgecc.benchmarks.compare import environment_key
from edgecc.benchmarks.history import FILE, SCHEMA_VERSION, History, read_history, refresh
from edgecc.benchmarks.report.history import render_history
from edgecc.benchmarks.report.history_plot import MOST_DRAWN, Curve, draw_history, values_a_point
from edgecc.errors import OutputError
from edgecc.metrics import METRICS
from edgecc.results import Estimate, Results
from edgecc.units import Unit

P50, SIZE = METRICS["latency.p50"], METRICS["size"]
Save = Callable[..., Results]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def save(folder: Path, make_results: Callable[..., Results]) -> Save:
    """Writes a run of this number: float32 and int8 on a gateway, with this p50 of int8."""

    def make(number: int, p50_s: float = 0.001, **changes: Any) -> Results:
        results = renumbered(make_results(**changes), number)
        rows = [
            row.model_copy(update={"estimates": {**row.estimates, "latency.p50": estimate(p50_s)}})
            if row.variant == "int8"
            else row
            for row in results.rows
        ]
        results = results.model_copy(update={"rows": tuple(rows)})
        results_store.save(results, folder)
        return results

    return make


def estimate(value: float) -> Estimate:
    return Estimate(value=value, samples=200, low=0.99 * value, high=1.02 * value)


def renumbered(results: Results, number: int) -> Results:
    day, minute = divmod(number, 1440)
    date = f"2026-{1 + day // 28:02}-{1 + day % 28:02}"
    at = f"{minute // 60:02}:{minute % 60:02}"
    run_id = f"{date.replace('-', '')}T{at.replace(':', '')}00Z-{number:06x}"
    commit = f"{number:040x}"
    return results.model_copy(update={"run_id": run_id, "started_at": f"{date}T{at}:00+00:00", "git_commit": commit})


def values(history: History, variant: str = "int8") -> list[float]:
    return [point.value for line in history.lines if line.variant == variant for point in line.points]


def moved(results: Results, **environment: Any) -> Results:
    """The same on another machine."""
    rows = [
        row.model_copy(update={"environment": row.environment and row.environment.model_copy(update=environment)})
        for row in results.rows
    ]
    return results.model_copy(update={"rows": tuple(rows)})


def test_every_run_is_in_it_once_in_the_order_of_time(folder: Path, save: Save) -> None:
    for number, p50_s in ((2, 0.002), (1, 0.001)):
        save(number, p50_s)
    assert values(read_history(folder, P50)) == [0.001, 0.002]
    save(3, 0.003)
    found = read_history(folder, P50)
    assert values(found) == [0.001, 0.002, 0.003]
    assert found.notes == ()
    line = next(line for line in found.lines if line.variant == "int8")
    assert (line.format, line.target) == ("tflite", "gateway")
    assert line.conditions is not None
    assert line.conditions["cpu_model"] == "Fake CPU @ 2.0GHz"
    point = line.points[1]
    assert point.started_at == "2026-01-01T00:02:00+00:00"
    assert point.git_commit == f"{2:040x}"
    assert point.artifact_sha256 == "a" * 64
    assert (point.low, point.high) == (0.99 * 0.002, 1.02 * 0.002)


def test_the_view_has_a_row_for_each_run_artifact_target_and_metric(folder: Path, save: Save) -> None:
    results = save(1, targets=("gateway", "pi"))
    assert refresh(folder) == ()
    with contextlib.closing(sqlite3.connect(folder / FILE)) as database:
        rows = database.execute("SELECT run_id, variant, format, target, metric, value FROM history").fetchall()
        keys = database.execute("SELECT DISTINCT target_kind, environment, started_at FROM history").fetchall()
    expected = [
        (results.run_id, row.variant, row.format, row.target, metric, estimate.value)
        for row in results.rows
        for metric, estimate in row.estimates.items()
    ]
    assert sorted(rows) == sorted(expected)
    assert keys == [("x86_cpu", environment_key(results.rows[0]), results.started_at)]


def test_a_run_stays_when_its_file_goes(folder: Path, save: Save) -> None:
    first = save(1, 0.001)
    refresh(folder)
    (folder / f"{first.run_id}.json").unlink()
    save(2, 0.002)
    assert values(read_history(folder, P50)) == [0.001, 0.002]


def test_what_does_not_depend_on_the_target_is_one_line(folder: Path, save: Save) -> None:
    save(1, targets=("gateway", "pi"))
    save(2, targets=("gateway", "pi"), int8_bytes=300)
    lines = {line.variant: line for line in read_history(folder, SIZE).lines}
    assert set(lines) == {"float32", "int8"}
    assert [point.value for point in lines["int8"].points] == [350, 300]
    assert lines["int8"].target is None
    assert len(read_history(folder, P50).lines) == 4


def test_a_new_environment_starts_a_new_line(folder: Path, save: Save) -> None:
    results = save(1)
    results_store.save(moved(renumbered(results, 2), cores=8), folder)
    results_store.save(moved(renumbered(results, 3), governor="performance", load_average=3.0), folder)
    lines = [line for line in read_history(folder, P50).lines if line.variant == "int8"]
    assert [(line.conditions or {})["cores"] for line in lines] == [4, 8]
    assert [len(line.points) for line in lines] == [2, 1]


def test_what_is_only_there_for_steps_is_left_out(folder: Path, save: Save) -> None:
    results = renumbered(save(1), 2)
    rows = (results.rows[0].model_copy(update={"only_for_steps": True}), *results.rows[1:])
    results_store.save(results.model_copy(update={"rows": rows}), folder)
    assert len(values(read_history(folder, P50), "float32")) == 1


def test_a_damaged_file_is_named_and_read_once_it_is_whole(folder: Path, save: Save) -> None:
    save(1, 0.001)
    path = folder / f"{save(2, 0.002).run_id}.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    found = read_history(folder, P50)
    assert values(found) == [0.001]
    assert len(found.notes) == 1
    assert found.notes[0].startswith(f"left out: {path}: expected results as JSON")
    path.write_bytes(whole)
    assert values(read_history(folder, P50)) == [0.001, 0.002]


def test_a_file_of_another_name_than_its_run_is_named(folder: Path, save: Save) -> None:
    results = save(1)
    (folder / "copy.json").write_text((folder / f"{results.run_id}.json").read_text())
    (note,) = refresh(folder)
    assert "expected the run copy" in note
    assert results.run_id in note


def test_a_value_that_is_no_number_and_one_that_is_there_twice_are_named(folder: Path, save: Save) -> None:
    results = renumbered(save(1), 2)
    broken = results.rows[0].model_copy(update={"estimates": {"latency.p50": estimate(float("nan"))}})
    results_store.save(results.model_copy(update={"rows": (broken, results.rows[1], results.rows[1])}), folder)
    notes = refresh(folder)
    assert sum("got nan" in note for note in notes) == 1
    assert len(notes) == 1 + len(results.rows[1].estimates)
    assert refresh(folder) == ()
    assert len(values(read_history(folder, P50), "float32")) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096)),
        lambda path: _execute(path, "DROP VIEW history"),
        lambda path: _execute(path, "DROP TABLE runs"),
        lambda path: _execute(path, "PRAGMA user_version = 0"),
    ],
    ids=["foreign", "truncated", "overwritten", "without its view", "without its runs", "without its version"],
)
def test_a_damaged_database_is_made_anew_and_says_so(
    folder: Path, save: Save, damage: Callable[[Path], object]
) -> None:
    save(1, 0.001)
    save(2, 0.002)
    refresh(folder)
    damage(folder / FILE)
    found = read_history(folder, P50)
    assert values(found) == [0.001, 0.002]
    assert [note.split(":")[0] for note in found.notes] == [f"{FILE} was damaged and was made anew"]
    assert read_history(folder, P50).notes == ()


def _execute(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 99])
def test_a_database_of_another_version_is_made_anew_and_says_so(folder: Path, save: Save, version: int) -> None:
    save(1, 0.001)
    refresh(folder)
    _execute(folder / FILE, f"PRAGMA user_version = {version}")
    _execute(folder / FILE, "DROP TABLE points")
    found = read_history(folder, P50)
    assert values(found) == [0.001]
    assert found.notes[0].startswith(f"{FILE} was of version {version}, not {SCHEMA_VERSION}, and was made anew")


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(OutputError, match="cannot write to"):
        refresh(tmp_path / "results")
    (tmp_path / "other" / FILE).mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be used: unable to open"):
        refresh(tmp_path / "other")


REFRESH = "import sys; from pathlib import Path; from edgecc.benchmarks import history; "
DIE_IN_THE_THIRD_RUN = """
import os, signal
count, add = 0, history._environment
def die(*arguments):
    global count
    count += 1
    return os.kill(os.getpid(), signal.SIGKILL) if count == 6 else add(*arguments)
history._environment = die
"""


def start(folder: Path, setup: str = "\n") -> subprocess.Popen[str]:
    code = f"{REFRESH}{setup}print(history.refresh(Path(sys.argv[1])))"
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_several_processes_at_once_add_each_run_once(folder: Path, save: Save) -> None:
    for number in range(30):
        save(number, 0.001 * (1 + number))
    children = [start(folder) for _ in range(4)]
    assert [child.communicate()[0] for child in children] == ["()\n"] * 4
    assert values(read_history(folder, P50)) == [0.001 * (1 + number) for number in range(30)]


def test_a_process_that_is_killed_leaves_whole_runs(folder: Path, save: Save) -> None:
    for number in range(6):
        save(number)
    child = start(folder, DIE_IN_THE_THIRD_RUN)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    with contextlib.closing(sqlite3.connect(folder / FILE)) as database:
        assert database.execute("SELECT count(DISTINCT run_id) FROM history").fetchone() == (2,)
    assert refresh(folder) == ()
    assert len(values(read_history(folder, P50))) == 6


# The page


def page(folder: Path, metric: str = "latency.p50") -> str:
    return render_history("demo", METRICS[metric], read_history(folder, METRICS[metric]))


def steady(save: Save, count: int, change: int, ratio: float) -> Sequence[Results]:
    return [
        save(number, 0.001 * (1 + 0.001 * (number * 7 % 11)) * (ratio if number >= change else 1))
        for number in range(count)
    ]


def test_the_page_names_the_run_and_the_commit_of_a_change(folder: Path, save: Save) -> None:
    runs = steady(save, 40, 25, 1.05)
    text = page(folder)
    assert "1 change point:" in text
    p50 = [run.rows[1].estimates["latency.p50"].value for run in runs]
    assert f"{100 * (median(p50[25:]) / median(p50[:25]) - 1):+.2f} % worse" in text
    assert f'<th scope="row">{runs[25].run_id}</th>' in text
    assert f"<code>{(runs[25].git_commit or '')[:12]}</code>" in text
    assert f"since run {runs[25].run_id}, commit {(runs[25].git_commit or '')[:12]}</title>" in text
    assert page(folder) == text


def test_the_page_needs_no_network_and_no_script(folder: Path, save: Save) -> None:
    steady(save, 3, 9, 1.0)
    text = page(folder)
    assert "default-src 'none'" in text
    assert not any(word in text for word in ("http:", "https:", "src=", "@import", "url(", "<script", "href="))
    assert text.count("<svg") == 2
    assert "too short to tell a change from noise" in text
    assert "No change points" in text


def test_a_size_changes_at_once(folder: Path, save: Save) -> None:
    for number, size in enumerate([350, 350, 350, 340]):
        save(number, int8_bytes=size)
    text = page(folder, "size")
    assert "-2.86 % better" in text
    assert "1 change point:" in text


def test_no_name_breaks_out_of_its_place(folder: Path, save: Save) -> None:
    results = renumbered(save(1), 2)
    hostile = '<script>alert(1)</script>" onload="x'
    rows = [row.model_copy(update={"variant": hostile, "target": hostile}) for row in results.rows]
    results_store.save(results.model_copy(update={"rows": tuple(rows), "git_commit": hostile}), folder)
    assert "<script>" not in page(folder)
    assert '" onload="' not in page(folder)


def test_what_could_not_be_read_is_in_the_page(folder: Path, save: Save) -> None:
    save(1)
    (folder / "broken.json").write_text("{")
    assert "broken.json: expected results as JSON" in page(folder)


def test_a_long_line_is_thinned_without_losing_a_single_extreme() -> None:
    count = 10_000
    values = np.sin(np.arange(count))
    values[[4321, 77]] = 9, -7
    curve = Curve(np.arange(count, dtype=np.float64), values, values - 1, values + 2, [])
    svg = draw_history([curve], Unit.NUMBER, ["2026-01-01"] * count, "plot", "title", "words")
    line = re.findall(r"<polyline points=\"([^\"]*)\"", svg)[0].split()
    xs, ys = np.asarray([point.split(",") for point in line], np.float64).T
    assert MOST_DRAWN / 2 <= len(line) <= MOST_DRAWN
    assert np.all(np.diff(xs) >= 0)
    for extreme, index in ((ys.argmin(), 4321), (ys.argmax(), 77)):
        assert (xs[extreme] - xs[0]) / (xs[-1] - xs[0]) == pytest.approx(index / count, abs=3e-3)
    assert values_a_point(count) == 34
    assert values_a_point(MOST_DRAWN) == 1


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [0.0, 0.0], [1e-9, 1e-9 + 1e-18], [0.97, 0.98], [-1e-6, 4e3]])
@pytest.mark.parametrize("unit", list(Unit))
def test_an_axis_has_round_numbers_that_differ(values: list[float], unit: Unit) -> None:
    places, none = np.arange(len(values), dtype=np.float64), np.full(len(values), np.nan)
    svg = draw_history([Curve(places, np.asarray(values), none, none, [])], unit, ["a"] * len(values), "p", "t", "w")
    ticks = re.findall(r'text-anchor="end">(-?[0-9][^<]*)<', svg)
    assert "nan" not in svg
    assert 3 <= len(set(ticks)) == len(ticks) <= 12
    assert "<polygon" not in svg


@pytest.mark.browser
def test_a_browser_shows_every_line_of_a_long_history(
    folder: Path, save: Save, tmp_path: Path, chromium: Callable[..., str]
) -> None:
    results = steady(save, 15, 8, 1.05)[-1]
    results_store.save(moved(renumbered(results, 99), cores=8), folder)
    (tmp_path / "history.html").write_text(page(folder))
    shown = chromium("--dump-dom", (tmp_path / "history.html").as_uri())
    assert shown.count("<polyline") == 4
    assert "cores 8" in shown
