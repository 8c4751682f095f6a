"""The pipeline and its cache, with stages that need no TensorFlow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from edgecc.artifact import Format
from edgecc.compiler.pipeline.pipeline import Pipeline
from edgecc.compiler.pipeline.stage import Read, Stage, StageKind
from edgecc.errors import DataError, OutputError
from edgecc.progress import Silent

STAGES = """
    from pathlib import Path
    from edgecc.errors import DataError

    def write(context):
        import words
        print("chatter")
        (context.output_dir / "text").write_text(words.WORD + context.options.get("suffix", ""))
        return {"length": len(words.WORD)}

    def double(context):
        (context.output_dir / "text").write_text(2 * context.inputs["source"]["text"].read_text())
        return {}

    def fail(context):
        (context.output_dir / "half").write_text("half")
        raise DataError("no good")
"""


def never(artifact: Path, format: Format, x: object) -> Any:
    raise AssertionError("no artifact is run here")


def kind(function: str, version: int = 1) -> StageKind:
    reads = {"source": Read(after=("write",), files=("text",))} if function == "double" else {}
    return StageKind(function, version, f"my_stages:{function}", reads, ("numpy",))


def stage(function: str, *, version: int = 1, seed: int = 0, **options: Any) -> Stage:
    return Stage(function, kind(function, version), options, {}, seed)


def doubled(source: Stage) -> Stage:
    return Stage("double", kind("double"), {}, {"source": source}, 0)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "my_stages.py").write_text(textwrap.dedent(STAGES))
    (tmp_path / "words.py").write_text("WORD = 'ab'")
    (tmp_path / "unused.py").write_text("")
    return tmp_path


def pipeline(project: Path) -> Pipeline:
    return Pipeline(project_dir=project, state_dir=project / ".edgecc", progress=Silent(), run_artifact=never)


def run(project: Path, last: Stage) -> tuple[str, list[str]]:
    """The text of the last stage, and the stages that really ran."""
    runner = pipeline(project)
    text = (runner.result(last).files / "text").read_text()
    return text, runner.ran


def test_each_stage_runs_once(project: Path) -> None:
    assert run(project, doubled(stage("write"))) == ("abab", ["write", "double"])
    assert run(project, doubled(stage("write"))) == ("abab", [])


def test_what_changes_the_key_runs_again(project: Path) -> None:
    run(project, stage("write"))
    assert run(project, stage("write", suffix="!")) == ("ab!", ["write"])
    assert run(project, stage("write", seed=1))[1] == ["write"]
    assert run(project, stage("write", version=2))[1] == ["write"]
    assert run(project, stage("write"))[1] == []


def test_only_modules_that_the_stage_imported_count(project: Path) -> None:
    last = doubled(stage("write"))
    run(project, last)
    (project / "unused.py").write_text("X = 1")
    assert run(project, last)[1] == []
    (project / "words.py").write_text("WORD = 'cd'")
    assert run(project, last) == ("cdcd", ["write", "double"])
    (project / "words.py").write_text("WORD = 'ab'")
    assert run(project, last) == ("abab", [])


def test_an_edit_that_gives_the_same_output_stops_there(project: Path) -> None:
    last = doubled(stage("write"))
    run(project, last)
    (project / "words.py").write_text("WORD = 'ab'  # a comment")
    assert run(project, last) == ("abab", ["write"])


def test_an_edit_while_a_stage_runs_is_not_taken_for_what_ran(project: Path) -> None:
    (project / "words.py").write_text(
        "from pathlib import Path\nWORD = 'ab'\nPath(__file__).write_text(\"WORD = 'cd'\")"
    )
    assert run(project, stage("write")) == ("ab", ["write"])
    assert run(project, stage("write")) == ("cd", ["write"])


def test_a_module_outside_the_project_counts_too(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = tmp_path_factory.mktemp("shared")
    (shared / "shared_words.py").write_text("WORD = 'ab'")
    (project / "words.py").write_text(f"import sys\nsys.path.append({str(shared)!r})\nfrom shared_words import WORD")
    assert run(project, stage("write")) == ("ab", ["write"])
    assert run(project, stage("write")) == ("ab", [])
    (shared / "shared_words.py").write_text("WORD = 'cd'")
    assert run(project, stage("write")) == ("cd", ["write"])


def test_two_projects_with_modules_of_one_name(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "my_stages.py").write_text((project / "my_stages.py").read_text())
    (other / "words.py").write_text("WORD = 'xy'")
    assert run(project, stage("write"))[0] == "ab"
    assert run(other, stage("write"))[0] == "xy"


@pytest.mark.parametrize("damaged", ["files/text", "entry.json"])
def test_a_damaged_entry_is_noticed_and_rebuilt(project: Path, damaged: str) -> None:
    last = doubled(stage("write"))
    run(project, last)
    (victim,) = project.glob(f".edgecc/cache/write-*/*/{damaged}")
    victim.write_text("x")
    assert run(project, last) == ("abab", ["write"])


def test_an_added_file_is_damage_too(project: Path) -> None:
    run(project, stage("write"))
    (entry,) = project.glob(".edgecc/cache/write-*/*/files")
    (entry / "extra").write_text("")
    assert run(project, stage("write")) == ("ab", ["write"])


def test_a_failed_stage_is_named_and_leaves_no_entry(project: Path) -> None:
    for _ in range(2):
        with pytest.raises(DataError, match="no good") as caught:
            pipeline(project).result(stage("fail"))
        assert caught.value.stage == "fail"
    assert not list(project.glob(".edgecc/cache/*/*/entry.json"))


def test_output_goes_to_a_log(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(project, stage("write"))
    assert capfd.readouterr() == ("", "")
    assert (project / ".edgecc/log/write.log").read_text() == "chatter\n"


def test_illegal_orders_are_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="nothing fills the role source"):
        Stage("double", kind("double"), {}, {}, 0)
    with pytest.raises(ValueError, match="cannot fill the role source"):
        doubled(doubled(stage("write")))
    with pytest.raises(ValueError, match="has no role"):
        Stage("write", kind("write"), {}, {"source": stage("write")}, 0)


def test_an_unwritable_project_is_one_clear_error(project: Path) -> None:
    (project / ".edgecc").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match=r"cannot write to .*\.edgecc"):
        run(project, stage("write"))


SLOW = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {project!r})
    from edgecc.compiler.pipeline.pipeline import Pipeline
    from edgecc.compiler.pipeline.stage import Stage, StageKind
    from edgecc.progress import Silent
    project = Path({project!r})

    class Notes(Silent):
        def note(self, text):
            (project / text.split(":")[0]).touch()

    runner = Pipeline(project_dir=project, state_dir=project / ".edgecc", progress=Notes(), run_artifact=None)
    runner.result(Stage("slow", StageKind("slow", 1, "slow_stage:run", {{}}, ()), {{}}, {{}}, 0))
"""
SLOW_STAGE = """
    import os, time

    def run(context):
        (context.work_dir / "steps").open("a").write("x")
        (context.output_dir / "text").write_text("half")
        context.project_dir.joinpath("runs").open("a").write("r")
        while not context.project_dir.joinpath("go").exists():
            time.sleep(0.01)
        (context.output_dir / "text").write_text((context.work_dir / "steps").read_text())
        return {}
"""


@pytest.fixture
def slow_project(tmp_path: Path) -> Path:
    (tmp_path / "slow_stage.py").write_text(textwrap.dedent(SLOW_STAGE))
    return tmp_path


def start_slow(project: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(SLOW.format(project=str(project)))])


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def texts(project: Path) -> list[str]:
    return [
        path.read_text() for path in project.glob(".edgecc/cache/slow-*/*/files/text") if "partial" not in str(path)
    ]


def test_a_killed_stage_leaves_no_half_and_goes_on_with_its_work(slow_project: Path) -> None:
    first = start_slow(slow_project)
    wait_for(slow_project / "runs")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert texts(slow_project) == []
    (slow_project / "go").touch()
    assert start_slow(slow_project).wait() == 0
    assert texts(slow_project) == ["xx"]  # the work folder outlived the kill


def test_unfinished_work_does_not_go_on_with_other_code(slow_project: Path) -> None:
    first = start_slow(slow_project)
    wait_for(slow_project / "runs")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (slow_project / "helper.py").write_text("")
    (slow_project / "go").touch()
    assert start_slow(slow_project).wait() == 0
    assert texts(slow_project) == ["x"]


def test_two_processes_run_a_stage_once(slow_project: Path) -> None:
    first = start_slow(slow_project)
    wait_for(slow_project / "runs")
    second = start_slow(slow_project)
    wait_for(slow_project / "waiting")
    (slow_project / "go").touch()
    assert (first.wait(), second.wait()) == (0, 0)
    assert (slow_project / "runs").read_text() == "r"
    assert texts(slow_project) == ["x"]
