"""A target that answers from a script, and results and projects to judge and to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import BaseModel

from edgecc.artifact import Artifact, Figures, Format, StepRecord, TensorSpec
from edgecc.benchmarks.built import Built
from edgecc.benchmarks.payoff import judge_steps
from edgecc.benchmarks.plan import BenchPlan, Subject
from edgecc.benchmarks.rows import Attempt, RowMaker
from edgecc.benchmarks.scoring import EvaluationSet
from edgecc.benchmarks.steps import PlannedStep
from edgecc.errors import TargetError
from edgecc.project import BenchSection, Project
from edgecc.results import ArtifactLayers, Environment, Estimate, Failure, LayerError, ProcessSample, Results
from edgecc.targets.target import Target
from edgecc.targets.wire import LatencyTask, RunReply, RunRequest

ENVIRONMENT = Environment(
    os="Linux 6.1",
    machine="x86_64",
    cpu_model="Fake CPU @ 2.0GHz",
    cores=4,
    governor=None,
    accelerator=None,
    python="3.11.7",
    runtimes={"litert": "2.3.0", "onnxruntime": "1.32.0"},
    emulated=False,
    load_average=0.1,
)
EVALUATION_SHA256 = "e" * 64


class FakeTarget(Target):
    """Answers each request as its script says, and remembers what it was asked."""

    kind: ClassVar[str] = "x86_cpu"
    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, name: str, script: Callable[[RunRequest], RunReply], *, lost: str | None = None) -> None:
        self.name = name
        self.requests: list[RunRequest] = []
        self._script = script
        self._lost = lost

    def probe(self) -> Environment:
        if self._lost:
            raise TargetError(self._lost)
        return ENVIRONMENT

    def run(self, request: RunRequest, *, timeout_s: float) -> RunReply:
        self.requests.append(request)
        return self._script(request)

    @property
    def order(self) -> list[str]:
        """The artifacts in the order in which they were timed, by file name."""
        return [Path(r.artifact_path).stem for r in self.requests if isinstance(r.task, LatencyTask)]


def process(*latencies_s: float, peak: int | None = 2_000_000) -> ProcessSample:
    return ProcessSample(
        latencies_s=latencies_s, warmups=10, load_cold_s=0.004, load_warm_s=0.002, memory_peak_bytes=peak
    )


def answer(request: RunRequest, scores: Sequence[Sequence[float]], latency_s: float = 0.001) -> RunReply:
    """Steady timings, and these raw outputs."""
    specs = (TensorSpec(name="out", shape=(1, len(scores[0])), dtype="float32"),)
    if isinstance(request.task, LatencyTask):
        return RunReply(outputs=specs, process=process(*[latency_s] * request.task.inferences))
    assert request.outputs_path is not None
    np.save(request.outputs_path, np.asarray(scores, np.float32))
    return RunReply(outputs=specs)


@pytest.fixture
def make_target() -> Callable[..., FakeTarget]:
    return FakeTarget


@pytest.fixture
def reply() -> Callable[..., RunReply]:
    return answer


@pytest.fixture
def make_process() -> Callable[..., ProcessSample]:
    return process


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., BenchPlan]:
    """A plan for files of these names, each the first letters of a variant, with an evaluation set of 4 samples."""

    def make(*names: str, processes: int = 3, inferences: int = 30, y: Sequence[float] = (0, 1, 0, 1)) -> BenchPlan:
        evaluation = tmp_path / "evaluation.npz"
        np.savez(evaluation, x=np.zeros((4, 2), np.float32), y=np.asarray(y))
        subjects = tuple(_subject(tmp_path / f"{name}.tflite", name) for name in names)
        bench = BenchSection(processes=processes, inferences=inferences)
        return BenchPlan("demo", subjects, bench, seed=0, evaluation=evaluation, reference_variant=names[0])

    return make


def _subject(path: Path, variant: str) -> Subject:
    path.write_bytes(variant.encode() * 100)
    artifact = Artifact(
        path=path.name, format=Format.TFLITE, sha256=variant[0].encode().hex() * 32, size_bytes=100 * len(variant)
    )
    return Subject(variant=variant, path=path, artifact=artifact)


PROJECT: dict[str, Any] = {
    "version": 1,
    "name": "demo",
    "model": {"builder": "models:cnn"},
    "data": {"loader": "edgecc:digits"},
    "variants": {"float32": {}, "int8": {"quantize": "int8"}},
    "targets": {"gateway": {"kind": "x86_cpu"}},
}


@pytest.fixture
def make_project() -> Callable[..., Project]:
    """A project with these budgets; other sections by name."""

    def make(*budgets: dict[str, Any], **sections: Any) -> Project:
        return Project.model_validate({**PROJECT, **sections, "budgets": budgets})

    return make


@pytest.fixture
def built() -> Built:
    """What `make_results` measured lies in build/, unchanged."""
    return Built(
        {
            ("float32", Format.TFLITE): "f" * 64,
            ("int8", Format.TFLITE): "a" * 64,
            ("float32", Format.ONNX): "1" * 64,
        },
        EVALUATION_SHA256,
    )


@pytest.fixture
def make_results(tmp_path: Path) -> Callable[..., Results]:
    """Results of float32 and int8 on targets: 100 samples, of which the float model gets 97 right, int8 `right`."""

    def make(
        targets: Sequence[str] = ("gateway",),
        *,
        right: int = 96,
        latencies_s: Sequence[float] = (0.001,) * 200,
        int8_failure: Failure | None = None,
        emulated: Sequence[str] = (),
        int8_name: str = "int8",
        int8_bytes: int = 350,
    ) -> Results:
        float32 = Subject("float32", tmp_path / "float32.tflite", _artifact("f", 1000))
        int8 = Subject(int8_name, tmp_path / "int8.tflite", _artifact("a", int8_bytes))
        for subject in (float32, int8):
            subject.path.write_bytes(b"x" * subject.artifact.size_bytes)
        plan = BenchPlan("demo", (float32, int8), BenchSection(processes=1), 0, None, "float32")
        evaluation = EvaluationSet(np.zeros((100, 1)), np.zeros(100, np.int64), EVALUATION_SHA256)
        rows = []
        for name in targets:
            target = FakeTarget(name, lambda request: RunReply())
            environment = ENVIRONMENT.model_copy(update={"emulated": name in emulated})
            attempts = [
                Attempt(float32, [process(*[0.003] * 200)], _classes(97), 2, done=True),
                Attempt(int8, [process(*latencies_s)], _classes(right), 2, int8_failure, done=True),
            ]
            rows += RowMaker(plan, target, environment, evaluation).rows(attempts)
        return Results(
            run_id="20261124T073512Z-0a1b2c",
            project="demo",
            started_at="2026-11-24T07:35:12+00:00",
            duration_s=12.5,
            edgecc_version="0.1.0",
            git_commit=None,
            evaluation_sha256=EVALUATION_SHA256,
            evaluation_samples=100,
            reference_variant="float32",
            rows=tuple(rows),
        )

    return make


def _artifact(digit: str, size_bytes: int) -> Artifact:
    return Artifact(path="demo.tflite", format=Format.TFLITE, sha256=digit * 64, size_bytes=size_bytes)


def _classes(right: int) -> Any:
    return np.asarray([0] * right + [1] * (100 - right))


def step_record(
    kind: str = "quantize",
    before: str = "float32",
    *,
    sizes: tuple[int, int] = (47_300, 13_200),
    compressed: tuple[int, int] = (44_000, 11_000),
    lost_gained: tuple[int, int] | None = (3, 2),
    scores: tuple[float | None, float | None] = (0.975, 0.974),
) -> StepRecord:
    """A step on 1,000 validation samples; without `lost_gained`, of a task that has no classes."""
    figures = [
        Figures(size_bytes=size, compressed_bytes=small, sparsity=0.25, score=score, samples=1000)
        for size, small, score in zip(sizes, compressed, scores, strict=True)
    ]
    lost, gained = lost_gained or (None, None)
    p_values = {(3, 2): 1.0, (20, 2): 1.2e-4, (2, 20): 1.2e-4}
    return StepRecord(
        kind=kind, before_variant=before, before=figures[0], after=figures[1], lost=lost, gained=gained,
        p_value=None if lost_gained is None else p_values[lost_gained],
    )  # fmt: skip


@pytest.fixture
def make_record() -> Callable[..., StepRecord]:
    return step_record


@pytest.fixture
def stepped(make_results: Callable[..., Results]) -> Results:
    """float32, int8 and small@prune on a gateway: int8 is smaller and 1.3 times slower, and pruning bought nothing."""
    row = make_results().rows[0]
    times = {
        "float32": (1.0, 1.01, 0.99, 1.0, 1.0), "int8": (1.3, 1.32, 1.28, 1.3, 1.3),
        "small@prune": (1.0, 1.0, 1.01, 1.0, 1.0),
    }  # fmt: skip
    rows = tuple(
        row.model_copy(
            update={
                "variant": name, "only_for_steps": "@" in name,
                "processes": tuple(process(*[0.001 * value] * 200) for value in values),
                "estimates": {**row.estimates, "latency.p50": Estimate(value=0.001 * values[0], samples=1000)},
            }
        )
        for name, values in times.items()
    )  # fmt: skip
    same = step_record("prune", sizes=(47_300, 47_300), compressed=(44_000, 43_900))
    steps = (
        PlannedStep("int8", Format.TFLITE, step_record(), "float32"),
        PlannedStep("small@prune", Format.TFLITE, same, None),
    )
    layers = [("conv1", "CONV_2D", 31.2, 0.9996, False), ("conv2", "CONV_2D", 8.4, 0.93, False),
              ("dense", "FULLY_CONNECTED", 22.0, 0.997, True), ("embedding", "GATHER", None, 1.0, False)]  # fmt: skip
    errors = [
        LayerError(layer=layer, operator=operator, sqnr_db=sqnr_db, cosine=cosine, kept=kept)
        for layer, operator, sqnr_db, cosine, kept in layers
    ]
    return make_results().model_copy(
        update={
            "rows": rows,
            "steps": judge_steps(steps, rows),
            "layers": (ArtifactLayers(variant="int8", format=Format.TFLITE, layers=tuple(errors)),),
        }
    )
