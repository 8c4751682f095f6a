"""Suites: what is read, what is measured, what is kept, and that no row stops another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edgecc.benchmarks.report.suite import suite_table
from edgecc.benchmarks.suite import SuiteRow, SuiteRun, run_suite
from edgecc.benchmarks.suite_file import SuiteFolder, is_suite, load_suite
from edgecc.errors import ProjectError, TargetError
from edgecc.project import TargetSpec
from edgecc.results import Environment, Failure, FailureKind, Results
from edgecc.targets.registry import target_options
from edgecc.targets.wire import LatencyTask, RunReply, RunRequest, RuntimeSettings

SUITE = """
version = 1
name = "sizes"

[[artifacts]]
path = "models/small.tflite"

[[artifacts]]
path = "models/big.tflite"
name = "large"

[targets.board]
kind = "x86_cpu"

[targets.phone]
kind = "x86_cpu"
memory_limit = "2 GB"

[settings.quick]
processes = 2
inferences = 70

[settings.two-threads]
processes = 1
inferences = 3
num_threads = 2
"""
NAMES = [
    (artifact, target, settings)
    for target in ("board", "phone")
    for settings in ("quick", "two-threads")
    for artifact in ("small", "large")
]


def write(folder: Path, text: str = SUITE) -> Path:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models/small.tflite").write_bytes(b"small")
    (folder / "models/big.tflite").write_bytes(b"big" * 100)
    file = folder / "suite.toml"
    file.write_text(text)
    return file


@pytest.fixture
def suite(tmp_path: Path) -> SuiteFolder:
    return load_suite(write(tmp_path), target_options())


class Bench:
    """Opens targets that answer from a script, and counts what they were asked to time."""

    def __init__(self, make_target: Callable[..., Any], reply: Callable[..., RunReply]) -> None:
        self.timed: list[tuple[str, str, int]] = []
        self.lost: set[str] = set()
        self.crashing: set[str] = set()
        self.stop_after: int | None = None
        self.environment: dict[str, Any] = {}
        self.specs: dict[str, list[TargetSpec]] = {}
        self._make_target, self._reply = make_target, reply

    def open(self, name: str, spec: TargetSpec) -> Any:
        self.specs.setdefault(name, []).append(spec)
        target = self._make_target(
            name, lambda request: self._answer(name, request), lost="no route" if name in self.lost else None
        )
        target.settings = RuntimeSettings(num_threads=spec.options.get("num_threads", 1))
        probe = target.probe
        target.probe = lambda: probe().model_copy(update=self.environment)
        return target

    def _answer(self, name: str, request: RunRequest) -> RunReply:
        artifact = Path(request.artifact_path).stem
        if self.stop_after is not None and len(self.timed) >= self.stop_after:
            raise KeyboardInterrupt
        if isinstance(request.task, LatencyTask):
            self.timed.append((artifact, name, request.settings.num_threads))
        if artifact in self.crashing:
            return RunReply(failure=Failure(kind=FailureKind.CRASHED, message="SIGSEGV"))
        return self._reply(request, [[1, 0]] * 4, 0.001 * len(self.timed))


@pytest.fixture
def bench(make_target: Callable[..., Any], reply: Callable[..., RunReply]) -> Bench:
    return Bench(make_target, reply)


def names(run: SuiteRun) -> list[tuple[str, str, str]]:
    return [(row.artifact, row.target, row.settings) for row in run.rows]


def of(run: SuiteRun, *name: str) -> SuiteRow:
    return run.rows[names(run).index(name)]  # type: ignore[arg-type]


def test_the_product_of_all(suite: SuiteFolder, bench: Bench) -> None:
    run = run_suite(suite, bench.open)
    assert names(run) == NAMES
    assert run.is_complete
    once = [("small", 1), ("small", 1), ("big", 1), ("big", 1), ("small", 2), ("big", 2)]
    assert bench.timed == [(artifact, target, n) for target in ("board", "phone") for artifact, n in once]
    assert bench.specs["phone"][1].options == {"memory_limit": "2 GB", "num_threads": 2}


def test_each_row_is_a_file_of_results(suite: SuiteFolder, bench: Bench) -> None:
    run = run_suite(suite, bench.open)
    files = sorted((suite.file.parent / "results/sizes").iterdir())
    assert sorted(str(row.file) for row in run.rows) == [str(file) for file in files]
    row = of(run, "large", "phone", "two-threads")
    assert Path(str(row.file)).name.startswith("large@phone@two-threads@")
    results = Results.model_validate_json(Path(str(row.file)).read_text())
    (measured,) = results.rows
    assert results == row.results
    assert (results.project, measured.variant, measured.target) == ("sizes", "large", "phone")
    assert measured.target_options == {"memory_limit": "2 GB", "num_threads": 2}
    assert [len(process.latencies_s) for process in measured.processes] == [3]
    assert measured.num_threads == 2


def test_what_is_measured_is_kept(suite: SuiteFolder, bench: Bench) -> None:
    first = run_suite(suite, bench.open)
    bench.timed.clear()
    second = run_suite(suite, bench.open)
    assert bench.timed == []
    assert second == SuiteRun(suite="sizes", rows=tuple(row.model_copy(update={"kept": True}) for row in first.rows))


def test_again_measures_anew(suite: SuiteFolder, bench: Bench) -> None:
    first = run_suite(suite, bench.open)
    second = run_suite(suite, bench.open, again=True)
    assert not any(row.kept for row in second.rows)
    assert [row.file for row in first.rows] == [row.file for row in second.rows]
    assert first.rows[0].results != second.rows[0].results
    assert Results.model_validate_json(Path(str(second.rows[0].file)).read_text()) == second.rows[0].results


def test_a_suite_that_was_killed_goes_on(suite: SuiteFolder, bench: Bench) -> None:
    bench.stop_after = 5  # within the third row, and two processes of it are to come
    with pytest.raises(KeyboardInterrupt):
        run_suite(suite, bench.open)
    assert len(list(suite.results.iterdir())) == 3
    bench.stop_after = None
    bench.timed.clear()
    run = run_suite(suite, bench.open)
    assert [row.kept for row in run.rows] == [True] * 3 + [False] * 5
    assert bench.timed[0] == ("big", "board", 2)


def changed_artifact(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    (suite.file.parent / "models/big.tflite").write_bytes(b"another")
    return suite


def changed_options(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    suite.file.write_text(SUITE.replace("2 GB", "3 GB"))
    return load_suite(suite.file, target_options())


def changed_settings(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    suite.file.write_text(SUITE.replace("inferences = 70", "inferences = 71"))
    return load_suite(suite.file, target_options())


def changed_shapes(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    suite.file.write_text(SUITE.replace('name = "large"', 'name = "large"\nshapes = [[1, 8]]'))
    return load_suite(suite.file, target_options())


def changed_environment(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    bench.environment = {"runtimes": {"litert": "2.4.0"}}
    return suite


def another_load(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    bench.environment = {"load_average": 3.0}
    return suite


def another_time_limit(suite: SuiteFolder, bench: Bench) -> SuiteFolder:
    suite.file.write_text(SUITE.replace("inferences = 70", 'inferences = 70\ntime_limit = "3 min"'))
    return load_suite(suite.file, target_options())


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        (changed_artifact, lambda artifact, target, settings: artifact == "large"),
        (changed_options, lambda artifact, target, settings: target == "phone"),
        (changed_settings, lambda artifact, target, settings: settings == "quick"),
        (changed_shapes, lambda artifact, target, settings: artifact == "large"),
        (changed_environment, lambda artifact, target, settings: True),
        (another_load, lambda artifact, target, settings: False),
        (another_time_limit, lambda artifact, target, settings: False),
    ],
)
def test_what_changed_is_measured_anew(
    suite: SuiteFolder, bench: Bench, change: Callable[..., SuiteFolder], anew: Callable[..., bool]
) -> None:
    run_suite(suite, bench.open)
    run = run_suite(change(suite, bench), bench.open)
    assert [name for name, row in zip(names(run), run.rows, strict=True) if not row.kept] == [
        name for name in NAMES if anew(*name)
    ]


def test_a_changed_evaluation_set_is_measured_anew(tmp_path: Path, bench: Bench) -> None:
    text = SUITE.replace('name = "large"', 'name = "large"\nevaluation = "models/data.npz"')
    suite = load_suite(write(tmp_path, text), target_options())
    seen = []
    for y in ([0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1]):
        np.savez(tmp_path / "models/data.npz", x=np.zeros((4, 2), np.float32), y=np.asarray(y))
        row = of(run_suite(suite, bench.open), "large", "board", "quick")
        assert row.results is not None
        seen.append((row.kept, row.results.rows[0].estimates["accuracy"].value))
    assert seen == [(False, 0.75), (True, 0.75), (False, 0.5)]


def test_a_damaged_file_is_measured_anew(suite: SuiteFolder, bench: Bench) -> None:
    run = run_suite(suite, bench.open)
    Path(str(run.rows[0].file)).write_text("{")
    other = json.loads(Path(str(run.rows[1].file)).read_text())
    other["rows"][0]["artifact"]["sha256"] = "0" * 64
    Path(str(run.rows[1].file)).write_text(json.dumps(other))
    again = run_suite(suite, bench.open)
    assert [row.kept for row in again.rows] == [False, False] + [True] * 6


def test_a_crash_is_a_row_and_is_tried_again(suite: SuiteFolder, bench: Bench) -> None:
    bench.crashing = {"small"}
    run = run_suite(suite, bench.open)
    assert [row.cause for row in run.rows] == ["crashed: SIGSEGV", None] * 4
    assert not run.is_complete
    results = Results.model_validate_json(Path(str(run.rows[0].file)).read_text())
    assert results.rows[0].failure == Failure(kind=FailureKind.CRASHED, message="SIGSEGV")
    bench.crashing = set()
    again = run_suite(suite, bench.open)
    assert [row.kept for row in again.rows] == [False, True] * 4
    assert again.is_complete


def test_missing_files_are_rows(tmp_path: Path, bench: Bench) -> None:
    text = SUITE.replace('name = "large"', 'name = "large"\nevaluation = "models/none.npz"')
    suite = load_suite(write(tmp_path, text), target_options())
    (tmp_path / "models/small.tflite").unlink()
    run = run_suite(suite, bench.open)
    assert [str(row.cause).rpartition("models/")[2] for row in run.rows[:2]] == [
        "small.tflite: no such file",
        "none.npz'",
    ]
    assert all(row.results is None and row.file is None for row in run.rows)
    assert bench.timed == []


def test_a_lost_target_is_rows_and_the_others_go_on(suite: SuiteFolder, bench: Bench) -> None:
    bench.lost = {"board"}
    run = run_suite(suite, bench.open)
    assert names(run) == NAMES
    assert [row.cause for row in run.rows] == ["no route"] * 4 + [None] * 4


def test_a_target_that_is_lost_on_the_way(suite: SuiteFolder, bench: Bench) -> None:
    opened = bench.open

    def open_once(name: str, spec: TargetSpec) -> Any:
        target = opened(name, spec)
        answers: Iterator[Environment] = iter([target.probe(), target.probe()])

        def probe() -> Environment:
            if (environment := next(answers, None)) is None:
                raise TargetError("unplugged")
            return environment

        target.probe = probe
        return target

    run = run_suite(suite, open_once)
    assert [row.cause for row in run.rows] == [None, "target lost: unplugged"] * 4


def shown(run: SuiteRun) -> list[str]:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(suite_table(run))
    return captured.get().splitlines()


def test_the_table_names_what_has_no_numbers(suite: SuiteFolder, bench: Bench) -> None:
    bench.crashing, bench.lost = {"small"}, {"phone"}
    lines = shown(run_suite(suite, bench.open))
    assert [line.rstrip() for line in lines if line.startswith("on ")] == [
        "on board with quick",
        "on board with two-threads",
    ]
    assert [line.split()[-1] for line in lines if line.startswith("large  ")] == ["measured", "measured"]
    assert "small (tflite) on board with quick: crashed: SIGSEGV" in lines
    assert "large on phone with two-threads: no route" in lines
    assert lines[-1] == "8 rows: 2 measured, 6 without numbers"


def test_a_table_of_nothing(suite: SuiteFolder, bench: Bench) -> None:
    bench.lost = {"board", "phone"}
    assert shown(run_suite(suite, bench.open))[-1] == "8 rows: 8 without numbers"


def test_all_faults_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """
        version = 2
        name = "a/b"
        seed = 1

        [[artifacts]]
        pth = "x.tflite"

        [[artifacts]]
        path = "y.tflite"
        shapes = [[1, 0]]

        [targets.one]
        kind = "x86_cpu"
        num_thread = 2

        [targets.two]
        kind = "x86-cpu"

        [settings.quick]
        inference = 3
        time_limit = "3 kB"
        """,
    )
    with pytest.raises(ProjectError) as raised:
        load_suite(file, target_options())
    assert [(fault.key, fault.suggestion) for fault in raised.value.faults] == [
        ("version", None),
        ("name", None),
        ("artifacts[0].path", None),
        ("artifacts[0].pth", "path"),
        ("artifacts[1].shapes[0][1]", None),
        ("settings.quick.time_limit", None),
        ("settings.quick.inference", "inferences"),
        ("seed", None),
        ("targets.one.num_thread", "num_threads"),
        ("targets.two.kind", "x86_cpu"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        ('name = "large"', 'name = "small"', ["artifacts[0].name", "artifacts[1].name"]),
        ("models/small.tflite", "models/my model.tflite", ["artifacts[0].name"]),
        ('kind = "x86_cpu"\nmem', 'kind = "x86_cpu"\nnum_threads = 1\nmem', ["settings.two-threads.num_threads"]),
        ("[[artifacts]]", "[[artefacts]]", ["artifacts", "artefacts"]),
        ("inferences = 70", "inferences = 0", ["settings.quick.inferences"]),
        (SUITE[SUITE.index("[[artifacts]]") : SUITE.index("[targets.board]")], "artifacts = []\n", ["artifacts"]),
        (SUITE[SUITE.index("[targets.board]") : SUITE.index("[settings.quick]")], "[targets]\n", ["targets"]),
    ],
)
def test_faults(tmp_path: Path, old: str, new: str, faults: list[str]) -> None:
    assert old in SUITE
    with pytest.raises(ProjectError) as raised:
        load_suite(write(tmp_path, SUITE.replace(old, new)), target_options())
    assert [fault.key for fault in raised.value.faults] == faults


def test_settings_may_be_left_out(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path, SUITE[: SUITE.index("[settings.quick]")]), target_options()).suite
    assert {name: (each.processes, each.inferences) for name, each in suite.settings.items()} == {"default": (5, 200)}


@pytest.mark.parametrize(
    ("text", "answer"),
    [(SUITE, True), ('[model]\npath = "m.keras"', False), ("[variants.a]", False)],
)
def test_a_suite_is_told_by_its_content(tmp_path: Path, text: str, answer: bool) -> None:
    assert is_suite(write(tmp_path, text)) is answer


@pytest.mark.parametrize(("text", "given"), [("version = 1", "neither"), (SUITE + '[model]\npath = "m"', "both")])
def test_neither_or_both_is_one_fault(tmp_path: Path, text: str, given: str) -> None:
    with pytest.raises(ProjectError) as raised:
        is_suite(write(tmp_path, text))
    assert [fault.given for fault in raised.value.faults] == [given]


def test_folders_and_models_are_no_suites(tmp_path: Path) -> None:
    write(tmp_path)
    assert not any(map(is_suite, (tmp_path, tmp_path / "models/small.tflite", tmp_path / "none.toml")))
