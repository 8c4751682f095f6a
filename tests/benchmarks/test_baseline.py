"""Baselines: only a run that passed becomes one, and one that was touched is never read."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecc import api
from edgecc.artifact import Artifact, Format, Manifest, describe_file, manifest_path, write_manifest
from edgecc.benchmarks import results_store
from edgecc.benchmarks.baseline import Baseline, read_baseline
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file
from edgecc.project import Project, ProjectFolder
from edgecc.results import Estimate, Failure, FailureKind, Results, Row, Status

MakeProject = Callable[..., Project]
MakeResults = Callable[..., Results]
SIZE = {"metric": "size", "variant": "int8", "max": "350 B"}
DROP = {"metric": "accuracy", "variant": "int8", "max_drop": "1 pp"}
SLOWER = {"metric": "latency.p50", "max_regression": "5 %"}
SIZES = {"float32": 1000, "int8": 350}


class Workspace:
    """A project of which everything is built and measured, and what can happen to it."""

    def __init__(self, root: Path, project: Project, results: Results) -> None:
        self.folder = ProjectFolder(root=root, file=root / "edgecc.toml", project=project)
        self.folder.build.mkdir(parents=True)
        self.folder.evaluation.write_bytes(b"samples")
        for variant in project.variants:
            self.build(variant)
        self.measured(results)

    @property
    def baseline(self) -> Path:
        return self.folder.baseline

    def build(self, variant: str, fill: str | None = None) -> None:
        path = self.folder.artifact(variant, Format.TFLITE)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((fill or variant[0]).encode() * SIZES[variant])
        section = self.folder.project.variants[variant]
        manifest = Manifest(
            project="demo", variant=variant, artifact=self.artifact(variant), inputs=(), outputs=(),
            recipe=section.recipe(), stages=(), evaluation_sha256=sha256_of_file(self.folder.evaluation), seed=0,
            tool_versions={}, git_commit=None,
        )  # fmt: skip
        write_manifest(path, manifest)

    def artifact(self, variant: str) -> Artifact:
        path = self.folder.artifact(variant, Format.TFLITE)
        return describe_file(path).model_copy(update={"path": path.name})

    def measured(self, results: Results) -> Results:
        """These results are the last, of what is built now."""
        variants = self.folder.project.variants
        rows = tuple(
            row.model_copy(update={"artifact": self.artifact(row.variant)}) if row.variant in variants else row
            for row in results.rows
        )
        digest = sha256_of_file(self.folder.evaluation)
        results = results.model_copy(update={"rows": rows, "evaluation_sha256": digest})
        results_store.save(results, self.folder.results)
        return results

    def with_project(self, **sections: Any) -> None:
        project = self.folder.project.model_dump(exclude_unset=True) | sections
        self.folder = self.folder.model_copy(update={"project": Project.model_validate(project)})

    def set(self) -> Baseline:
        return api.set_baseline(self.folder)

    def read(self) -> Baseline | None:
        return read_baseline(self.folder)

    def contents(self) -> dict[str, bytes]:
        files = (path for path in self.baseline.rglob("*") if path.is_file())
        return {path.relative_to(self.baseline).as_posix(): path.read_bytes() for path in files}


MakeWorkspace = Callable[..., Workspace]


@pytest.fixture
def make_workspace(tmp_path: Path, make_project: MakeProject, make_results: MakeResults) -> MakeWorkspace:
    def make(*budgets: dict[str, Any], targets: tuple[str, ...] = ("gateway",), **sections: Any) -> Workspace:
        kinds = {name: {"kind": "x86_cpu"} for name in targets}
        project = make_project(*budgets, targets=kinds, **sections)
        return Workspace(tmp_path / "demo", project, make_results(targets))

    return make


def names_beside(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.folder.root.iterdir()}


# What is written, and when


def test_a_passed_run_becomes_the_baseline(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(SIZE, DROP, SLOWER)
    assert workspace.read() is None
    made = workspace.set()
    assert set(workspace.contents()) == {
        "baseline.json", "results.json", "verdict.json", ".gitattributes",
        "float32/demo.tflite", "float32/demo.tflite.manifest.json",
        "int8/demo.tflite", "int8/demo.tflite.manifest.json",
    }  # fmt: skip
    assert workspace.read() == made
    assert made.results.rows == results_store.load_latest(workspace.folder.results).rows
    assert [verdict.metric for verdict in made.judgement.verdicts] == ["size", "accuracy"]
    assert made.judgement.status is Status.PASS
    assert (made.record.project, made.record.run_id) == ("demo", made.results.run_id)
    assert names_beside(workspace) == {"build", "results", "baseline"}


def test_its_artifacts_are_those_that_were_measured(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(SIZE)
    made = workspace.set()
    artifact = made.artifact("int8", Format.TFLITE)
    assert artifact is not None
    assert Path(artifact.path).is_absolute()
    assert Path(artifact.path).read_bytes() == b"i" * 350
    assert describe_file(Path(artifact.path)) == artifact
    assert made.artifact("int8", Format.ONNX) is None
    assert made.artifact("int9", Format.TFLITE) is None


def test_only_what_ships_and_what_it_is_compared_with(
    make_workspace: MakeWorkspace, stepped: Results, make_results: MakeResults
) -> None:
    workspace = make_workspace(SIZE, DROP, ship=["int8"])
    only_for_steps = make_results().rows[0].model_copy(update={"only_for_steps": True, "variant": "int8@base"})
    both = {"rows": (*make_results().rows, only_for_steps), "steps": stepped.steps, "layers": stepped.layers}
    workspace.measured(make_results().model_copy(update=both))
    made = workspace.set()
    assert [row.variant for row in made.results.rows] == ["float32", "int8"]
    assert (made.results.steps, made.results.layers, made.results.paired) == ((), (), ())
    assert made.artifact("float32", Format.TFLITE) is None
    assert not (workspace.baseline / "float32").exists()
    workspace.with_project(budgets=[SIZE])
    assert [row.variant for row in workspace.set().results.rows] == ["int8"]


def test_what_a_regression_is_judged_of_is_held_though_it_does_not_ship(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(SIZE, {**SLOWER, "variant": "float32"}, ship=("int8",))
    baseline = workspace.set()
    assert baseline.artifact("float32", Format.TFLITE) is not None
    assert {row.variant for row in baseline.results.rows} == {"float32", "int8"}


@pytest.mark.parametrize("budgets", [(), (SLOWER,)], ids=["none", "only on the baseline"])
def test_without_a_budget_to_judge_a_run_without_failures_passed(
    make_workspace: MakeWorkspace, make_results: MakeResults, budgets: tuple[dict[str, Any], ...]
) -> None:
    workspace = make_workspace(*budgets)
    assert workspace.set().judgement.verdicts == ()
    shutil.rmtree(workspace.baseline)
    failure = Failure(kind=FailureKind.TIMED_OUT, message="after 120 s")
    workspace.measured(make_results(int8_failure=failure))
    with pytest.raises(ArtifactError, match=r"int8 \(tflite\) on gateway: timed out: after 120 s"):
        workspace.set()


def test_a_warning_stops_nothing(make_workspace: MakeWorkspace) -> None:
    assert make_workspace({**SIZE, "max": "1 B", "severity": "warn"}).set().judgement.status is Status.PASS


def test_once_there_is_one_a_regression_is_judged_too(make_workspace: MakeWorkspace, make_results: MakeResults) -> None:
    workspace = make_workspace(SIZE, SLOWER)
    old = workspace.set()
    assert workspace.set().results == old.results  # the very bytes are no regression
    workspace.build("int8", fill="j")
    workspace.measured(make_results())
    with pytest.raises(ArtifactError, match=r"latency\.p50 regression unmeasured") as caught:
        workspace.set()
    assert "remove the folder" in str(caught.value.hint)
    shutil.rmtree(workspace.baseline)
    assert workspace.set().results != old.results


Spoil = Callable[[Workspace, MakeResults], None]


def failed(workspace: Workspace, make_results: MakeResults) -> None:
    workspace.measured(make_results(int8_failure=Failure(kind=FailureKind.CRASHED, message="died")))


def without_a_row(workspace: Workspace, make_results: MakeResults) -> None:
    results = make_results()
    workspace.measured(results.model_copy(update={"rows": results.rows[1:]}))


def with_a_number(value: float, key: str = "value") -> Spoil:
    def spoil(workspace: Workspace, make_results: MakeResults) -> None:
        def change(row: Row) -> Row:
            estimate = Estimate.model_validate({"value": 1.0, "samples": 200, key: value})
            return row.model_copy(update={"estimates": {**row.estimates, "throughput": estimate}})

        results = make_results()
        workspace.measured(results.model_copy(update={"rows": tuple(map(change, results.rows))}))

    return spoil


def built_anew(workspace: Workspace, make_results: MakeResults) -> None:
    workspace.build("float32", fill="g")


def twice(workspace: Workspace, make_results: MakeResults) -> None:
    results = make_results()
    workspace.measured(results.model_copy(update={"rows": results.rows * 2}))


UNFIT: dict[str, tuple[Spoil, str]] = {
    "a budget is broken": (
        lambda workspace, make_results: workspace.with_project(budgets=[{**SIZE, "max": "349 B"}]),
        "350 B, which breaks the budget of at most 349 B",
    ),
    "a budget is unmeasured": (
        lambda workspace, make_results: workspace.with_project(
            budgets=[{"metric": "latency.p99", "variant": "int8", "max": "1 s"}]
        ),
        "needs 662 values",
    ),
    "a variant was left out": (without_a_row, r"float32 \(tflite\) on gateway: it was not measured"),
    "a target was left out": (
        lambda workspace, make_results: workspace.with_project(
            targets={"gateway": {"kind": "x86_cpu"}, "pi": {"kind": "x86_cpu"}}
        ),
        r"int8 \(tflite\) on pi: it was not measured",
    ),
    "a format was left out": (
        lambda workspace, make_results: workspace.with_project(emit={"formats": ["tflite", "onnx"]}),
        r"int8 \(onnx\) on gateway: it was not measured",
    ),
    "there are no targets": (lambda workspace, make_results: workspace.with_project(targets={}), "no targets"),
    "rows twice": (twice, "holds? it 2 times"),
    "a row failed": (failed, "crashed: died"),
    "NaN": (with_a_number(float("nan")), r"throughput\.value is nan"),
    "infinity": (with_a_number(float("inf"), "high"), r"throughput\.high is inf"),
    "built anew since": (built_anew, r"float32/demo\.tflite: its sha256 is not the one that was measured on gateway"),
    "manifest gone": (
        lambda workspace, make_results: manifest_path(workspace.folder.artifact("float32", Format.TFLITE)).unlink(),
        "manifest.json: cannot be read",
    ),
    "artifact gone": (
        lambda workspace, make_results: workspace.folder.artifact("float32", Format.TFLITE).unlink(),
        "float32/demo.tflite: no such file",
    ),
    "nothing measured": (
        lambda workspace, make_results: shutil.rmtree(workspace.folder.results), "nothing was measured yet"
    ),
    "another project's results": (
        lambda workspace, make_results: workspace.measured(make_results().model_copy(update={"project": "other"})),
        "expected the results of the project demo",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), UNFIT.values(), ids=UNFIT.keys())
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_what_did_not_pass_whole_leaves_everything_as_it_was(
    make_workspace: MakeWorkspace, make_results: MakeResults, spoil: Spoil, message: str, is_first: bool
) -> None:
    workspace = make_workspace(SIZE)
    if not is_first:
        workspace.set()
    before = workspace.contents()
    spoil(workspace, make_results)
    with pytest.raises(ArtifactError, match=message):
        workspace.set()
    assert workspace.contents() == before
    assert workspace.baseline.exists() == (not is_first)
    assert not [name for name in names_beside(workspace) if name.startswith(".")]


def test_a_damaged_baseline_is_not_written_over(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace(SIZE)
    workspace.set()
    (workspace.baseline / "int8/demo.tflite").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="the file was changed"):
        workspace.set()


def test_every_reason_is_told_at_once(make_workspace: MakeWorkspace, make_results: MakeResults) -> None:
    workspace = make_workspace({**SIZE, "max": "1 B"}, DROP)
    workspace.measured(make_results(right=90))
    with pytest.raises(ArtifactError, match=r"(?s)size 350 B, which breaks.*accuracy drop \+7\.00 pp"):
        workspace.set()


# What a kill leaves


EVENTS = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"})


def killed_at(event: int, workspace: Workspace) -> bool:
    """Set the baseline in a process that dies at its nth step on the file system; whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    seen = 0

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if name in EVENTS and ".baseline" in str(arguments) and (seen := seen + 1) == event:
            os._exit(9)

    try:
        sys.addaudithook(hook)
        workspace.set()
    finally:
        os._exit(0)


def test_a_kill_at_any_step_leaves_the_old_one_or_the_new_one(
    make_workspace: MakeWorkspace, make_results: MakeResults
) -> None:
    workspace = make_workspace(SIZE, SLOWER)
    first = workspace.set().results
    second = workspace.measured(make_results().model_copy(update={"run_id": "20261125T000000Z-000000"}))
    seen, places, event = [], set(), 1
    while killed_at(event, workspace):
        found = workspace.read()
        assert found is not None
        seen.append(found.results.run_id)
        places.add(found.folder.name)
        if found.results.run_id == second.run_id:  # again from the start
            shutil.rmtree(workspace.baseline)
            shutil.rmtree(workspace.baseline.with_name(".baseline.replaced"), ignore_errors=True)
            workspace.measured(first)
            workspace.set()
            workspace.measured(second)
        event += 1
    assert set(seen) == {first.run_id, second.run_id}
    assert places == {"baseline", ".baseline.replaced"}
    assert len(seen) > 20
    assert workspace.set().results.run_id == second.run_id
    assert names_beside(workspace) == {"build", "results", "baseline"}


# What is never read


Damage = Callable[[Path], object]


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def digests(root: Path) -> dict[str, str]:
    return dict(json.loads((root / "baseline.json").read_text())["sha256"])


def listed(name: str, digest: str | None) -> Damage:
    """The list with one entry more or, without a digest, less."""

    def damage(root: Path) -> None:
        others = {path: value for path, value in digests(root).items() if path != name}
        edit(root / "baseline.json", sha256=others | ({name: digest} if digest else {}))

    return damage


def signed(name: str, change: Damage) -> Damage:
    """A change by someone who knows of the digests."""

    def damage(root: Path) -> None:
        change(root / name)
        listed(name, sha256_of_file(root / name))(root)

    return damage


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def as_link(name: str) -> Damage:
    """The same content, through a link that leads out of the folder."""

    def damage(root: Path) -> None:
        outside = root.with_name("outside")
        path = root / name
        path.rename(outside)
        path.symlink_to(outside)

    return damage


def swapped(root: Path) -> None:
    """Two variants in each other's place, the digests too."""
    (root / "int8").rename(root / "aside")
    (root / "float32").rename(root / "int8")
    (root / "aside").rename(root / "float32")
    edit(root / "baseline.json", sha256={name: sha256_of_file(root / name) for name in digests(root)})


def other_artifact(root: Path) -> None:
    """Another file with a manifest of its own, digests and all; only the results know better."""
    path = root / "int8/demo.tflite"
    manifest = Manifest.model_validate_json(manifest_path(path).read_bytes())
    path.write_bytes(b"j" * 350)
    made = describe_file(path).model_copy(update={"path": path.name})
    write_manifest(path, manifest.model_copy(update={"artifact": made}))
    for each in (path, manifest_path(path)):
        listed(each.relative_to(root).as_posix(), sha256_of_file(each))(root)


ARTIFACT, MANIFEST = "int8/demo.tflite", "int8/demo.tflite.manifest.json"
FAILURE = '"failure": {"kind": "crashed", "message": "died"}'
DAMAGES: dict[str, tuple[Damage, str]] = {
    "a byte of an artifact flipped": (lambda root: flipped(root / ARTIFACT), f"{ARTIFACT}: its sha256"),
    "an artifact cut": (lambda root: os.truncate(root / ARTIFACT, 349), f"{ARTIFACT}: its sha256"),
    "an artifact emptied": (lambda root: os.truncate(root / ARTIFACT, 0), f"{ARTIFACT}: its sha256"),
    "a manifest edited": (lambda root: edit(root / MANIFEST, seed=1), f"{MANIFEST}: its sha256"),
    "results edited": (
        lambda root: replaced('"warmups": 10', '"warmups": 11')(root / "results.json"), "results.json: its sha256"
    ),
    "results in another layout": (
        lambda root: (root / "results.json").write_text((root / "results.json").read_text() + "\n"),
        "results.json: its sha256",
    ),
    "a verdict edited": (
        lambda root: replaced('"pass"', '"fail"')(root / "verdict.json"), "verdict.json: its sha256"
    ),
    "an artifact removed": (lambda root: (root / ARTIFACT).unlink(), f"{ARTIFACT}: no such file"),
    "a manifest removed": (lambda root: (root / MANIFEST).unlink(), f"{MANIFEST}: no such file"),
    "the results removed": (lambda root: (root / "results.json").unlink(), "results.json: no such file"),
    "the verdict removed": (lambda root: (root / "verdict.json").unlink(), "verdict.json: no such file"),
    "the record removed": (lambda root: (root / "baseline.json").unlink(), "baseline.json: no such file"),
    "a variant removed": (lambda root: shutil.rmtree(root / "int8"), f"{ARTIFACT}: no such file"),
    "everything removed": (lambda root: (shutil.rmtree(root), root.mkdir()), "baseline.json: no such file"),
    "a file in place of the folder": (
        lambda root: (shutil.rmtree(root), root.touch()), "baseline.json: no such file"
    ),
    "a folder in place of an artifact": (
        lambda root: ((root / ARTIFACT).unlink(), (root / ARTIFACT).mkdir()), f"{ARTIFACT}: no such file"
    ),
    "the record cut": (lambda root: os.truncate(root / "baseline.json", 200), "baseline.json: expected JSON"),
    "the record no text": (
        lambda root: (root / "baseline.json").write_bytes(b"\xff\xfe"), "baseline.json: expected JSON"
    ),
    "the record nested without end": (
        lambda root: (root / "baseline.json").write_text("[" * 100_000), "baseline.json: expected JSON"
    ),
    "the record a list": (
        lambda root: (root / "baseline.json").write_text("[]"), "expected schema_version 1; got None"
    ),
    "the record of a later version": (
        lambda root: edit(root / "baseline.json", schema_version=2), "expected schema_version 1; got 2"
    ),
    "the record with an unknown key": (lambda root: edit(root / "baseline.json", surprise=1), "surprise"),
    "the record of another project": (
        lambda root: edit(root / "baseline.json", project="other"), "expected the project demo; got other"
    ),
    "the record of another run": (
        lambda root: edit(root / "baseline.json", run_id="other"), "results.json: expected the project and run"
    ),
    "the record of another commit": (
        lambda root: edit(root / "baseline.json", git_commit="0" * 40), "expected the commit"
    ),
    "a digest that is none": (listed(ARTIFACT, "f"), "baseline.json: expected a BaselineRecord; sha256"),
    "a digest of another file": (listed(ARTIFACT, "0" * 64), f"{ARTIFACT}: its sha256"),
    "a file more on the list": (listed("int9/demo.tflite", "0" * 64), "int9/demo.tflite: no such file"),
    "no results on the list": (listed("results.json", None), "baseline.json: expected the digest of results.json"),
    "no verdict on the list": (listed("verdict.json", None), "baseline.json: expected the digest of verdict.json"),
    "no manifest on the list": (listed(MANIFEST, None), "expected every artifact with its manifest"),
    "no artifact beside its manifest": (listed(ARTIFACT, None), "expected every artifact with its manifest"),
    "the record on its own list": (
        lambda root: listed("baseline.json", sha256_of_file(root / "baseline.json"))(root), "baseline.json: its sha256"
    ),
    "a file that is no artifact on the list": (
        signed("notes.txt", lambda path: path.write_text("x")), "expected every artifact with its manifest"
    ),
    "a path that climbs out": (listed("../edgecc.toml", "0" * 64), "baseline.json: expected a BaselineRecord"),
    "a path that climbs out from below": (
        listed("int8/../../build/int8/demo.tflite", "0" * 64), "baseline.json: expected a BaselineRecord"
    ),
    "an absolute path": (listed("/etc/passwd", "0" * 64), "baseline.json: expected a BaselineRecord"),
    "a path with backslashes": (listed("..\\edgecc.toml", "0" * 64), "baseline.json: expected a BaselineRecord"),
    "a path with a null": (listed("int8\0", "0" * 64), "baseline.json: expected a BaselineRecord"),
    "a path without end": (listed("x" * 5000, "0" * 64), "x: "),
    "a link to an artifact": (as_link(ARTIFACT), f"{ARTIFACT}: .* symbolic link"),
    "a link to a variant": (as_link("int8"), "baseline/int8: .* symbolic link"),
    "a link to the results": (as_link("results.json"), "results.json: .* symbolic link"),
    "a link to the record": (as_link("baseline.json"), "baseline.json: .* symbolic link"),
    "a link to the folder": (as_link("."), "baseline: .* symbolic link"),
    "a link to nothing": (
        lambda root: (shutil.rmtree(root), root.symlink_to("nowhere")), "baseline: .* symbolic link"
    ),
    "variants swapped, signed": (swapped, "expected the artifact of its place"),
    "another artifact, signed": (other_artifact, f"{ARTIFACT}: expected the artifact that results.json speaks of"),
    "a manifest of another file, signed": (
        signed(MANIFEST, replaced('"sha256": "', '"sha256": "0000')), f"{MANIFEST}: expected a manifest"
    ),
    "results of another project, signed": (
        signed("results.json", lambda path: edit(path, project="other")), "results.json: expected the project and run"
    ),
    "results of another run, signed": (
        signed("results.json", lambda path: edit(path, run_id="other")), "results.json: expected the project and run"
    ),
    "results of a later version, signed": (
        signed("results.json", lambda path: edit(path, schema_version=2)), "results.json: expected results of schema"
    ),
    "results without rows, signed": (
        signed("results.json", lambda path: edit(path, rows=[])), "expected the artifact that results.json speaks of"
    ),
    "NaN in the results, signed": (
        signed("results.json", replaced('"value": 0.003', '"value": NaN')), "results.json: .*is nan"
    ),
    "a number without end in the results, signed": (
        signed("results.json", replaced('"value": 0.003', '"value": 1e999')), "results.json: .*is inf"
    ),
    "a failure in the results, signed": (
        signed("results.json", replaced('"failure": null', FAILURE)), "results.json: expected no failure; .*died"
    ),
    "a verdict of another project, signed": (
        signed("verdict.json", lambda path: edit(path, project="other")), "verdict.json: expected the project and run"
    ),
    "a verdict of another run, signed": (
        signed("verdict.json", lambda path: edit(path, run_id="other")), "verdict.json: expected the project and run"
    ),
    "a verdict of a later version, signed": (
        signed("verdict.json", lambda path: edit(path, schema_version=2)), "verdict.json: expected schema_version 1"
    ),
    "a verdict without a version, signed": (
        signed("verdict.json", replaced('"schema_version": 1,', "")), "verdict.json: expected schema_version 1"
    ),
    "a failed verdict, signed": (
        signed("verdict.json", replaced('"pass"', '"fail"')), "verdict.json: expected the verdict .* got fail"
    ),
    "an unmeasured verdict, signed": (
        signed("verdict.json", replaced('"pass"', '"unmeasured"')), "verdict.json: .* got unmeasured"
    ),
    "an inconclusive verdict, signed": (
        signed("verdict.json", replaced('"pass"', '"inconclusive"')), "verdict.json: .* got inconclusive"
    ),
    "NaN in the verdict, signed": (
        signed("verdict.json", replaced('"limit_value": 350.0', '"limit_value": NaN')), "verdict.json: .*is nan"
    ),
}  # fmt: skip


@pytest.fixture
def intact(make_workspace: MakeWorkspace) -> Workspace:
    workspace = make_workspace(SIZE, DROP)
    workspace.set()
    return workspace


def test_an_intact_baseline_is_read(intact: Workspace) -> None:
    for name in digests(intact.baseline):
        signed(name, lambda path: path.touch())(intact.baseline)
    assert intact.read() is not None


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_baseline_is_refused_by_the_name_of_the_file(intact: Workspace, damage: Damage, message: str) -> None:
    assert intact.read() is not None
    damage(intact.baseline)
    with pytest.raises(ArtifactError, match=message) as caught:
        intact.read()
    assert str(intact.baseline) in caught.value.message
    assert "restore the folder" in str(caught.value.hint)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.data())
def test_any_bit_of_any_file_counts(intact: Workspace, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(digests(intact.baseline))))
    path = intact.baseline / name
    whole = path.read_bytes()
    content = bytearray(whole)
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{name}: its sha256"):
        intact.read()
    path.write_bytes(whole)


def test_the_baseline_of_another_project_is_refused(intact: Workspace) -> None:
    intact.with_project(name="other")
    with pytest.raises(ArtifactError, match="expected the project other; got demo"):
        intact.read()


def test_what_is_not_on_the_list_is_the_users(intact: Workspace) -> None:
    before = intact.read()
    (intact.baseline / "README.md").write_text("ours")
    (intact.baseline / ".gitattributes").write_text("*.tflite filter=lfs -text\n")
    assert intact.read() == before


def test_a_baseline_taken_off_the_list_is_not_there(intact: Workspace) -> None:
    listed(ARTIFACT, None)(intact.baseline)
    listed(MANIFEST, None)(intact.baseline)
    found = intact.read()
    assert found is not None
    assert found.artifact("int8", Format.TFLITE) is None
