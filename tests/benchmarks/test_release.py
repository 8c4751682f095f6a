"""A release holds what passed and nothing else; a refused one leaves everything as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc import api
from edgecc.artifact import Artifact, Format, Manifest, StageRecord, TensorSpec, read_manifest, write_manifest
from edgecc.benchmarks.release import pack, refusals
from edgecc.benchmarks.release_folder import ReleaseRecord, write_release
from edgecc.benchmarks.report.release_notes import render_notes
from edgecc.benchmarks.results_store import save
from edgecc.errors import ArtifactError, OutputError
from edgecc.project import ProjectFolder
from edgecc.results import Judgement, Results

MakeResults = Callable[..., Results]
PROJECT = """\
version = 1
name = "demo"
ship = ["int8"]
[model]
builder = "models:cnn"
[data]
loader = "my_data:load"
[variants.float32]
[variants.int8]
quantize = "int8"
[targets.gateway]
kind = "x86_cpu"
"""
SMALL = '[[budgets]]\nmetric = "size"\nmax = "1 kB"\n'
ACCURATE = '[[budgets]]\nmetric = "accuracy"\nmax_drop = "1 pp"\n'
BROKEN = '[[budgets]]\nmetric = "size"\nmax = "10 B"\n'
UNMEASURED = '[[budgets]]\nmetric = "latency.p99"\nmax = "2 ms"\n'
WARNS = '[[budgets]]\nmetric = "size"\nmax = "10 B"\nseverity = "warn"\n'
INPUT = TensorSpec(name="in_put", shape=(-1, 8), dtype="int8", scale=(0.003921568859368563,), zero_point=(-128,))
OUTPUT = TensorSpec(name="out", shape=(1, 2), dtype="float32")


@dataclass(frozen=True)
class Demo:
    """A project whose artifacts were built and measured."""

    folder: ProjectFolder
    results: Results

    def with_budgets(self, *budgets: str, project: str = PROJECT) -> Demo:
        self.folder.file.write_text(project + "".join(budgets))
        return replace(self, folder=api.open_project(self.folder.root))

    def judge(self) -> Judgement:
        return api.gate(self.folder)

    @property
    def place(self) -> Path:
        return self.folder.root / "release"


@pytest.fixture
def demo(tmp_path: Path, make_results: MakeResults) -> Demo:
    root = tmp_path / "demo"
    root.mkdir()
    (root / "edgecc.toml").write_text(PROJECT + SMALL + ACCURATE)
    folder = api.open_project(root)
    folder.build.mkdir()
    np.savez(folder.evaluation, x=np.zeros((100, 8), np.float32), y=np.zeros(100, np.int64))
    evaluation = hashlib.sha256(folder.evaluation.read_bytes()).hexdigest()
    sizes = {"float32": 1000, "int8": 350}
    built = {variant: _build(folder, variant, size, evaluation) for variant, size in sizes.items()}
    results = make_results()
    rows = tuple(
        row.model_copy(update={"artifact": built[row.variant], "target_kind": "x86_cpu"}) for row in results.rows
    )
    results = results.model_copy(update={"rows": rows, "evaluation_sha256": evaluation})
    save(results, folder.results)
    return Demo(folder, results)


def _build(folder: ProjectFolder, variant: str, size_bytes: int, evaluation: str) -> Artifact:
    path = folder.artifact(variant, Format.TFLITE)
    path.parent.mkdir(parents=True)
    content = variant.encode().ljust(size_bytes, b".")
    path.write_bytes(content)
    artifact = Artifact(
        path=path.name, format=Format.TFLITE, sha256=hashlib.sha256(content).hexdigest(), size_bytes=size_bytes
    )
    write_manifest(path, _manifest(folder, variant, artifact, evaluation))
    return artifact


def _manifest(folder: ProjectFolder, variant: str, artifact: Artifact, evaluation: str, **data: Any) -> Manifest:
    stage = StageRecord(
        name="data", options={"data": {"loader": "my_data:load"}}, inputs={}, outputs={}, duration_s=0.1,
        metrics={"classes": 2, **data},
    )  # fmt: skip
    return Manifest(
        project="demo", variant=variant, artifact=artifact, inputs=(INPUT,), outputs=(OUTPUT,),
        recipe=folder.project.variants[variant].recipe(), stages=(stage,), evaluation_sha256=evaluation, seed=0,
        tool_versions={}, git_commit="c0ffee" * 6 + "c0ff",
    )  # fmt: skip


def files_of(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_what_ships_is_packed_with_all_that_belongs_to_it(demo: Demo) -> None:
    released = api.release(demo.folder)
    assert released.refused == ()
    assert {str(path.relative_to(demo.place)) for path in released.files} == set(files_of(demo.place))
    assert set(files_of(demo.place)) == {
        "models/int8/demo.tflite", "models/int8/demo.tflite.manifest.json", "NOTES.md", "SHA256SUMS", "index.html",
        "release.json", "results.json", "summary.md", "verdict.json", f"demo-{demo.results.run_id}.tar.gz",
        f"demo-{demo.results.run_id}.tar.gz.sha256",
    }  # fmt: skip
    model = demo.place / "models/int8/demo.tflite"
    assert model.read_bytes() == demo.folder.artifact("int8", Format.TFLITE).read_bytes()
    assert read_manifest(model) == read_manifest(demo.folder.artifact("int8", Format.TFLITE))
    assert Results.model_validate_json((demo.place / "results.json").read_bytes()) == demo.results
    assert Judgement.model_validate_json((demo.place / "verdict.json").read_bytes()) == released.judgement
    record = ReleaseRecord.model_validate_json((demo.place / "release.json").read_bytes())
    assert [each.git_commit for each in record.artifacts] == ["c0ffee" * 6 + "c0ff"]
    assert [path.name for path in demo.folder.root.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_checks_every_file(demo: Demo) -> None:
    api.release(demo.folder)
    archive = f"demo-{demo.results.run_id}.tar.gz"
    for sums, files in (("SHA256SUMS", 8), (f"{archive}.sha256", 1)):
        command = ["sha256sum", "--strict", "-c", sums]
        answer = subprocess.run(command, cwd=demo.place, capture_output=True, text=True, check=True)
        assert answer.stdout.count(": OK\n") == files
    (demo.place / "models/int8/demo.tflite").write_bytes(b"other")
    damaged = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=demo.place, capture_output=True, check=False)
    assert damaged.returncode == 1


def test_the_archive_holds_the_same_files_and_nobodys_name(demo: Demo, tmp_path: Path) -> None:
    api.release(demo.folder)
    name = f"demo-{demo.results.run_id}"
    with tarfile.open(demo.place / f"{name}.tar.gz") as archive:
        assert {(each.uid, each.gid, each.uname, each.mtime, each.mode) for each in archive} == {(0, 0, "", 0, 0o644)}
        archive.extractall(tmp_path, filter="data")
    packed = files_of(tmp_path / name)
    assert packed == {file: content for file, content in files_of(demo.place).items() if ".tar.gz" not in file}


def test_the_same_inputs_give_the_same_bytes(demo: Demo, tmp_path: Path) -> None:
    api.release(demo.folder)
    api.release(demo.folder, output=tmp_path / "again")
    assert files_of(demo.place) == files_of(tmp_path / "again")


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [
        ([SMALL, BROKEN], "fail: int8 (tflite): size"),
        ([SMALL, UNMEASURED], "unmeasured: int8 (tflite) on gateway: latency.p99"),
        ([], "Unmeasured: the project has no budgets"),
        ([WARNS], "int8 (tflite) ships, and no budget judges it."),
        ([SMALL + 'variant = "float32"\n'], "int8 (tflite) ships, and no budget judges it."),
    ],
)
def test_what_did_not_pass_is_refused_by_name(demo: Demo, budgets: list[str], reason: str) -> None:
    before = files_of(demo.folder.root)
    released = api.release(demo.with_budgets(*budgets).folder)
    [refused] = released.refused
    assert refused.startswith(reason)
    assert released.files == ()
    before["edgecc.toml"] = demo.folder.file.read_bytes()
    assert files_of(demo.folder.root) == before


def test_every_verdict_that_failed_is_named(demo: Demo) -> None:
    judged = demo.with_budgets(BROKEN, UNMEASURED, ACCURATE)
    reasons = refusals(judged.folder.project, judged.judge())
    assert [reason.partition(":")[0] for reason in reasons] == ["fail", "unmeasured"]


def test_a_format_that_no_budget_judges_is_refused(demo: Demo) -> None:
    both = PROJECT + '[emit]\nformats = ["tflite", "onnx"]\n'
    released = api.release(demo.with_budgets(SMALL + 'format = "tflite"\n', project=both).folder)
    assert released.refused == ("int8 (onnx) ships, and no budget judges it.",)


def test_a_budget_that_only_warns_stops_nothing_and_is_told(demo: Demo) -> None:
    assert api.release(demo.with_budgets(SMALL, WARNS).folder).refused == ()
    assert "**fail (warn)**" in (demo.place / "NOTES.md").read_text()


def test_a_refused_release_leaves_the_last_one(demo: Demo) -> None:
    api.release(demo.folder)
    before = files_of(demo.place)
    assert api.release(demo.with_budgets(BROKEN).folder).refused
    assert files_of(demo.place) == before


def test_an_artifact_that_changed_is_not_released(demo: Demo) -> None:
    path = demo.folder.artifact("int8", Format.TFLITE)
    path.write_bytes(b"other")
    assert "unmeasured" in api.release(demo.folder).refused[0]
    assert not demo.place.exists()


def test_an_artifact_that_changes_after_it_was_judged_is_not_released(demo: Demo) -> None:
    judgement = demo.judge()
    evaluation = str(demo.results.evaluation_sha256)
    shutil.rmtree(demo.folder.build / "int8")
    _build(demo.folder, "int8", 351, evaluation)
    with pytest.raises(ArtifactError, match="expected the artifact that was judged"):
        pack(demo.folder, demo.results, judgement, demo.place)
    assert not demo.place.exists()


def test_an_older_release_is_replaced_whole(demo: Demo) -> None:
    api.release(demo.folder)
    newer = demo.results.model_copy(update={"run_id": "20271124T073512Z-0a1b2c"})
    save(newer, demo.folder.results)
    api.release(demo.folder)
    archives = [name for name in files_of(demo.place) if name.endswith(".tar.gz")]
    assert archives == ["demo-20271124T073512Z-0a1b2c.tar.gz"]


def _a_file(place: Path) -> None:
    place.write_text("mine")


def _a_folder_of_anothers(place: Path) -> None:
    place.mkdir()
    (place / "thesis.txt").write_text("mine")


def _lookalike(place: Path) -> None:
    place.mkdir()
    (place / "SHA256SUMS").write_text("mine")
    (place / "release.json").write_text(json.dumps({"schema_version": 1, "project": "demo"}))


@pytest.mark.parametrize("occupy", [_a_file, _a_folder_of_anothers, _lookalike])
def test_nothing_of_anybody_elses_is_overwritten(demo: Demo, occupy: Callable[[Path], None]) -> None:
    occupy(demo.place)
    before = files_of(demo.folder.root)
    with pytest.raises(OutputError, match="expected no folder, or one that holds a release"):
        api.release(demo.folder)
    assert files_of(demo.folder.root) == before


def test_a_file_added_to_a_release_is_not_lost(demo: Demo) -> None:
    api.release(demo.folder)
    (demo.place / "signature.asc").write_text("mine")
    with pytest.raises(OutputError, match=r"`signature\.asc` as well"):
        api.release(demo.folder)
    assert (demo.place / "signature.asc").read_text() == "mine"


def test_the_project_itself_is_no_place(demo: Demo) -> None:
    with pytest.raises(OutputError):
        api.release(demo.folder, output=demo.folder.root)
    assert demo.folder.file.is_file()


def test_an_empty_folder_and_a_link_to_one_will_do(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert api.release(demo.folder, output=tmp_path / "link").files
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/SHA256SUMS").is_file()


def test_what_was_there_stays_where_the_new_cannot_come_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "release"
    write_release({"a.txt": b"old"}, place)
    renamed = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return renamed(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_release({"a.txt": b"new"}, place)
    assert files_of(tmp_path) == {"release/a.txt": b"old"}


def test_results_that_cannot_name_a_release_are_refused(demo: Demo) -> None:
    hostile = demo.results.model_copy(update={"run_id": "../../out"})
    with pytest.raises(ArtifactError, match="run_id"):
        pack(demo.folder, hostile, demo.judge(), demo.place)
    assert not demo.place.exists()


def test_the_notes_say_how_to_feed_the_model(demo: Demo) -> None:
    api.release(demo.folder)
    notes = (demo.place / "NOTES.md").read_text()
    assert "| input | in\\_put | any × 8 | int8 (-128 to 127) | 0.003921568859368563 | -128 |" in notes
    assert "| output | out | 1 × 2 | float32 | – | – |" in notes
    assert "`q = round(x / scale) + zero_point`" in notes
    assert "- classes: 2, without names" in notes
    assert "the loader my\\_data:load does it" in notes
    assert "- built from commit c0ffee" in notes
    assert "| accuracy | 96.00 % |" in notes
    assert "gateway (x86\\_cpu): 1 thread on Fake CPU @ 2.0GHz (x86\\_64), 4 cores" in notes
    assert "float32 (tflite)" not in notes


def test_the_classes_are_named_where_the_manifest_names_them(demo: Demo) -> None:
    artifact = demo.results.rows[1].artifact
    manifest = _manifest(demo.folder, "int8", artifact, "e" * 64, labels=["cat", "dog<br>"])
    notes = render_notes(demo.results, demo.judge(), {"models/int8/demo.tflite": manifest})
    assert "- classes: 0 cat, 1 dog\\<br\\>" in notes


def test_a_model_without_scales_has_no_formula(demo: Demo) -> None:
    manifest = _manifest(demo.folder, "float32", demo.results.rows[0].artifact, "e" * 64)
    manifest = manifest.model_copy(update={"inputs": (OUTPUT,)})
    notes = render_notes(demo.results, demo.judge(), {"models/float32/demo.tflite": manifest})
    assert "zero_point`" not in notes
