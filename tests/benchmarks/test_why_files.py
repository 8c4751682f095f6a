from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecc.artifact import Artifact, Format
from edgecc.benchmarks.why_files import FilePair, file_pairs
from edgecc.files import sha256_of_file
from edgecc.project import Project, ProjectFolder
from edgecc.results import Results


@pytest.fixture
def folder(tmp_path: Path, make_project: Callable[..., Project]) -> ProjectFolder:
    return ProjectFolder(root=tmp_path / "p", file=tmp_path / "p" / "edgecc.toml", project=make_project())


@pytest.fixture
def run(make_results: Callable[..., Results]) -> Callable[..., Results]:
    """A run that measured these files of float32, and of int8, on two targets."""

    def make(float32: Path, int8: Path) -> Results:
        results = make_results(["gateway", "board"])
        files = {"float32": float32, "int8": int8}
        rows = [
            row.model_copy(
                update={
                    "artifact": Artifact(
                        path="demo.tflite",
                        format=Format.TFLITE,
                        sha256=sha256_of_file(files[row.variant]),
                        size_bytes=files[row.variant].stat().st_size,
                    )
                }
            )
            for row in results.rows
        ]
        return results.model_copy(update={"rows": tuple(rows)})

    return make


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_files_are_found_in_build_and_baseline(folder: ProjectFolder, run: Callable[..., Results]) -> None:
    built = [write(folder.artifact(name, Format.TFLITE), f"new {name}") for name in ("float32", "int8")]
    kept = [write(folder.baseline / name / "demo.tflite", f"old {name}") for name in ("float32", "int8")]
    pairs = list(file_pairs(run(*kept), run(*built), folder))
    assert pairs == [FilePair(old, new) for old, new in zip(kept, built, strict=True)]


def test_the_same_file_and_a_missing_one_are_said(
    folder: ProjectFolder, run: Callable[..., Results], tmp_path: Path
) -> None:
    same = write(folder.artifact("float32", Format.TFLITE), "same")
    built = write(folder.artifact("int8", Format.TFLITE), "new")
    before = run(same, write(tmp_path / "elsewhere", "gone"))

    first, second = file_pairs(before, run(same, built), folder)

    assert first == "float32 (tflite) is the same file in both runs"
    assert isinstance(second, str)
    assert second.startswith(f"int8 (tflite): the file that run {before.run_id} measured is gone: it is not {built}")
    assert str(folder.baseline / "int8" / "demo.tflite") in second


def test_a_run_of_a_bare_file_knows_where_it_was(run: Callable[..., Results], tmp_path: Path) -> None:
    files = [write(tmp_path / name, name) for name in ("a", "b", "c", "d")]

    def at(results: Results, *paths: Path) -> Results:
        places = dict(zip(("float32", "int8"), paths, strict=True))
        rows = [
            row.model_copy(update={"artifact": row.artifact.model_copy(update={"path": str(places[row.variant])})})
            for row in results.rows
        ]
        return results.model_copy(update={"rows": tuple(rows)})

    before, after = at(run(*files[:2]), *files[:2]), at(run(*files[2:]), *files[2:])
    assert list(file_pairs(before, after, None)) == [FilePair(files[0], files[2]), FilePair(files[1], files[3])]
