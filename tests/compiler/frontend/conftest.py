"""A project folder, and stage contexts to run the front end's stages in without a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgecc.compiler.frontend.data import prepare
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.progress import Silent
from edgecc.project_code import importable

MakeContext = Callable[..., StageContext]

CLASSES = 3
LOADER = f"""
import numpy as np

def blobs(samples, seed):
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % {CLASSES}
    centres = np.random.default_rng(7).normal(size=({CLASSES}, 6, 6, 1))
    return (centres[y] + 0.7 * generator.normal(size=(samples, 6, 6, 1))).astype("float32"), y

def load():
    return {{"train": blobs(96, 1), "validation": blobs(48, 2), "test": blobs(30, 3)}}
"""


# Keras on TensorFlow gives numpy 2 arrays the numpy 1 way; Keras Tuner names a thread by a method renamed long ago.
THIRD_PARTY_WARNINGS = (
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras",
    r"ignore:currentThread\(\) is deprecated:DeprecationWarning:keras_tuner",
    r"ignore:getName\(\) is deprecated:DeprecationWarning:keras_tuner",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("tf"):
            for warning in THIRD_PARTY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


class Notes(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0
        self.descriptions: list[str] = []

    def advance(self, steps: int = 1) -> None:
        self.steps += steps

    def describe(self, text: str) -> None:
        self.descriptions.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def project_dir(tmp_path: Path) -> Iterator[Path]:
    """An empty project's folder, importable as the pipeline makes it."""
    folder = tmp_path / "project"
    folder.mkdir()
    with importable(folder):
        yield folder


def _no_runner(*_args: Any) -> Any:
    raise AssertionError("the front end runs no artifact")


@pytest.fixture
def make_context(tmp_path: Path, project_dir: Path) -> MakeContext:
    """Make a context: options, input files by role, and the name of its own folders."""

    def make(options: Any, inputs: Any = None, name: str = "stage", seed: int = 0) -> StageContext:
        folders = {part: tmp_path / name / part for part in ("output", "work", "log")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return StageContext(
            options=options,
            inputs=inputs or {},
            output_dir=folders["output"],
            work_dir=folders["work"],
            log_dir=folders["log"],
            project_dir=project_dir,
            seed=seed,
            progress=Notes(),
            run_artifact=_no_runner,
        )

    return make


def files_in(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def data_files(make_context: MakeContext, project_dir: Path) -> dict[str, Path]:
    """The data stage's output for a small, learnable set of three classes."""
    (project_dir / "my_data.py").write_text(LOADER)
    context = make_context({"data": {"loader": "my_data:load", "representative_samples": 20}}, name="data")
    prepare(context)
    return files_in(context.output_dir)


@pytest.fixture
def write_builder(project_dir: Path) -> Callable[[str], None]:
    """Write models.py: the body of a builder, with `keras` and `hp` at hand."""

    def write(body: str, before: str = "") -> None:
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        (project_dir / "models.py").write_text(f"import keras\n{before}\n\ndef build(hp):\n{lines}\n")

    return write
