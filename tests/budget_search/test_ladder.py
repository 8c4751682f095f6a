"""The rungs: what is made and measured on each, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgecc.artifact import Artifact, Figures, Format
from edgecc.benchmarks.plan import BenchPlan
from edgecc.budget_search.ladder import Ladder
from edgecc.budget_search.recipe import Recipe
from edgecc.compiler.candidate import Candidate
from edgecc.errors import ArtifactError, DataError, TargetError
from edgecc.progress import Silent
from edgecc.project import Project, ProjectFolder
from edgecc.results import Environment, Estimate, Failure, FailureKind, ProcessSample, Row
from edgecc.search_outcome import Objective, Rung
from edgecc.search_space import OpenVariant
from edgecc.targets.target import Target
from edgecc.units import Unit

SIZE = Objective(metric="size", target=None, unit=Unit.BYTES, better="lower")
COMPRESSED = SIZE.model_copy(update={"metric": "size.compressed"})
P90 = Objective(metric="latency.p90", target="host", unit=Unit.SECONDS, better="lower")
P99 = P90.model_copy(update={"metric": "latency.p99"})
ACCURACY = Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
ENVIRONMENT = Environment(
    os="Linux 6.1", machine="x86_64", cpu_model="Fake CPU", cores=4, governor=None, accelerator=None, python="3.11.7",
    runtimes={"litert": "2.3.0"}, emulated=False, load_average=0.1,
)  # fmt: skip
FIGURES = Figures(size_bytes=500, compressed_bytes=300, sparsity=0.0, score=0.9, samples=100)
ESTIMATES = {"latency.p90": Estimate(value=1e-3, samples=600, low=0.9e-3, high=1.1e-3)}


def process(latency_s: float, count: int = 200) -> ProcessSample:
    return ProcessSample(
        latencies_s=(latency_s,) * count, warmups=3, load_cold_s=0.1, load_warm_s=0.1, memory_peak_bytes=None
    )


@dataclass
class Seams:
    """What stands in for the compiler and the bench, and what each was asked."""

    figures: Figures = FIGURES
    score_metric: str | None = "accuracy"
    sha256: str = "a" * 64
    estimates: Mapping[str, Estimate] = field(default_factory=lambda: dict(ESTIMATES))
    processes: tuple[ProcessSample, ...] = ()
    failure: Failure | None = None
    made: list[tuple[Project, str, Format, bool]] = field(default_factory=list)
    plans: list[BenchPlan] = field(default_factory=list)

    def make_candidate(
        self, folder: ProjectFolder, variant: str, format: Format, *, evaluate: bool, **_others: Any
    ) -> Candidate:
        self.made.append((folder.project, variant, format, evaluate))
        artifact = Artifact(path="artifact", format=format, sha256=self.sha256, size_bytes=500)
        return Candidate(
            path=Path("artifact"), artifact=artifact, operators=7, parameters=1234, trainings_s={"model": 12.0},
            figures=self.figures if evaluate else None, score_metric=self.score_metric,
        )  # fmt: skip

    def measure(self, plan: BenchPlan, targets: list[Target], _progress: Any) -> Any:
        self.plans.append(plan)
        row = Row(
            variant=plan.subjects[0].variant, artifact=plan.subjects[0].artifact, target=targets[0].name,
            target_kind="x86_cpu", emulated=False, environment=ENVIRONMENT, runtime="litert", num_threads=1,
            processes=self.processes, estimates=self.estimates, failure=self.failure,
            unmeasured={"latency.p99": "needs 662 values, has 600"},
        )  # fmt: skip
        return SimpleNamespace(rows=(row,))


@pytest.fixture
def seams(monkeypatch: pytest.MonkeyPatch) -> Seams:
    found = Seams()
    monkeypatch.setattr("edgecc.budget_search.ladder.make_candidate", found.make_candidate)
    monkeypatch.setattr("edgecc.budget_search.ladder.measure", found.measure)
    return found


@pytest.fixture
def ladder(make_project: Callable[..., Project], make_target: Any, tmp_path: Path) -> Callable[..., Ladder]:
    """A ladder over the same folder; sections of the project by name."""

    def make(*objectives: Objective, environment: Environment = ENVIRONMENT, **sections: Any) -> Ladder:
        folder = ProjectFolder(root=tmp_path, file=tmp_path / "edgecc.toml", project=make_project(**sections))
        targets = cast("list[Target]", [make_target("host"), make_target("unjudged")])
        environments = {"host": environment}
        return Ladder(folder, objectives or (SIZE, P90, ACCURACY), targets, environments, Silent(), cast("Any", None))

    return make


def recipe_of(**table: Any) -> Recipe:
    table = {"formats": ["onnx"], "distill": {"student": "models:student", "epochs": 16}, **table}
    return Recipe.of(OpenVariant("small", table, ()), {})


RECIPE = recipe_of()


def values(ladder: Ladder, rung: Rung, recipe: Recipe = RECIPE) -> dict[str, float]:
    return {key: figure.value for key, figure in ladder.look(recipe, rung).figures.items()}


# What is made


def test_each_rung_makes_the_recipe_alone_and_as_it_is_there(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    verify, train = {"min_agreement_float": "99 %"}, {"epochs": 33}
    own = ladder(verify=verify, train=train, search={"short": 0.25})
    for rung in Rung:
        own.look(RECIPE, rung)
    for (project, name, format, evaluate), rung in zip(seams.made, Rung, strict=True):
        assert (name, format, evaluate) == (RECIPE.name, Format.ONNX, rung is not Rung.UNTRAINED)
        assert project.variants == {RECIPE.name: RECIPE.at(rung, own.folder.project.train, 0.25)}
        assert project.train.epochs == (0 if rung is Rung.UNTRAINED else 33)
        assert project.verify.min_agreement_float == (0.99 if rung is Rung.FULL else 0.0)
        assert project.shipped == (RECIPE.name,)


def test_what_has_no_shape_without_weights_is_cut_from_the_trained_model(
    seams: Seams, ladder: Callable[..., Ladder]
) -> None:
    pruned = recipe_of(distill=None, prune={"method": "channel", "sparsity": 0.5, "scope": "global"})
    ladder(train={"epochs": 33}).look(pruned, Rung.UNTRAINED)
    assert seams.made[0][0].train.epochs == 33


# What is known


def test_each_rung_tells_what_can_be_known_there(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    own = ladder(SIZE, COMPRESSED, P90, ACCURACY)
    cost, size = {"size": 500, "latency.p90@host": 1e-3}, {"size": 500, "size.compressed": 300}
    assert values(own, Rung.UNTRAINED) == cost
    assert values(own, Rung.SHORT) == {**size, "accuracy": 0.9}
    seams.sha256 = "b" * 64
    assert values(own, Rung.FULL) == {**size, **cost, "accuracy": 0.9}
    look = own.look(RECIPE, Rung.FULL)
    assert (look.parameters, look.operators, look.trainings_s) == (1234, 7, {"model": 12.0})
    assert look.figures["latency.p90@host"].low == 0.9e-3


def test_only_targets_that_a_budget_speaks_of_are_asked(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    ladder(SIZE, ACCURACY).look(RECIPE, Rung.FULL)
    assert seams.plans == []


def test_the_score_of_a_variant_is_that_of_its_first_format(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    own = ladder(emit={"formats": ["onnx", "tflite"]})
    assert own.score("float32", "accuracy") == 0.9
    project, *asked = seams.made[0]
    assert asked == ["float32", Format.ONNX, True]
    assert project is own.folder.project


@pytest.mark.parametrize(
    ("metric", "score", "words"),
    [
        ("user.f1", 0.9, "validation data are scored by user.f1"),
        (None, None, "validation data are scored by nothing"),
        ("accuracy", None, "it cannot be measured on validation data"),
    ],
)
def test_a_score_that_validation_data_do_not_have(
    seams: Seams, ladder: Callable[..., Ladder], metric: str | None, score: float | None, words: str
) -> None:
    seams.score_metric, seams.figures = metric, seams.figures.model_copy(update={"score": score})
    with pytest.raises(DataError, match=f"a budget limits accuracy.*{words}"):
        ladder().look(RECIPE, Rung.SHORT)


# What is kept


def test_the_same_bytes_are_measured_once(seams: Seams, ladder: Callable[..., Ladder], tmp_path: Path) -> None:
    before = values(ladder(), Rung.UNTRAINED)
    seams.estimates = {"latency.p90": Estimate(value=5.0, samples=600)}
    assert values(ladder(), Rung.UNTRAINED) == before
    assert values(ladder(), Rung.UNTRAINED, recipe_of(quantize="int8")) == before
    assert values(ladder(environment=ENVIRONMENT.model_copy(update={"load_average": 3.0})), Rung.FULL)
    assert len(seams.plans) == 1
    (kept,) = (tmp_path / ".edgecc" / "search").iterdir()
    kept.write_text(kept.read_text()[:100])
    assert values(ladder(), Rung.UNTRAINED)["latency.p90@host"] == 5.0


@pytest.mark.parametrize(
    "other",
    [
        {"bench": {"inferences": 100}},
        {"environment": ENVIRONMENT.model_copy(update={"runtimes": {"litert": "2.4.0"}})},
        {"targets": {"host": {"kind": "x86_cpu", "num_threads": 2}}},
    ],
    ids=["bench", "environment", "target"],
)
def test_another_way_of_measuring_is_measured_anew(
    seams: Seams, ladder: Callable[..., Ladder], other: dict[str, Any]
) -> None:
    ladder().look(RECIPE, Rung.UNTRAINED)
    ladder(**other).look(RECIPE, Rung.UNTRAINED)
    assert len(seams.plans) == 2


def test_other_bytes_are_measured_anew(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    ladder().look(RECIPE, Rung.UNTRAINED)
    seams.sha256 = "b" * 64
    ladder().look(RECIPE, Rung.FULL)
    assert len(seams.plans) == 2


def test_what_was_unmeasured_is_tried_again(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    """The user may have brought what the target lacked."""
    seams.estimates = {}
    with pytest.raises(TargetError, match=r"latency\.p90 on host is limited by a budget, and unmeasured"):
        ladder().look(RECIPE, Rung.UNTRAINED)
    seams.estimates = ESTIMATES
    assert values(ladder(), Rung.UNTRAINED)["latency.p90@host"] == 1e-3


def test_a_metric_that_has_a_budget_now_is_measured(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    ladder().look(RECIPE, Rung.UNTRAINED)
    memory = P90.model_copy(update={"metric": "memory.peak", "unit": Unit.BYTES})
    seams.estimates = {**ESTIMATES, "memory.peak": Estimate(value=2e6, samples=3)}
    assert values(ladder(SIZE, P90, memory), Rung.UNTRAINED)["memory.peak@host"] == 2e6


# How it is measured


@pytest.mark.parametrize(
    ("objective", "bench", "processes"),
    [
        (P90, {}, 5),
        (P90, {"processes": 2}, 2),
        (P90, {"processes": 9, "inferences": 10}, 7),
        (P99, {}, 5),
        (P99, {"processes": 3}, 3),
        (P99, {"processes": 9, "inferences": 100}, 7),
    ],
)
def test_a_percentile_has_the_values_it_needs_where_the_bench_has_them(
    seams: Seams, ladder: Callable[..., Ladder], objective: Objective, bench: dict[str, int], processes: int
) -> None:
    seams.estimates = {objective.metric: Estimate(value=1e-3, samples=700)}
    ladder(SIZE, objective, bench=bench).look(RECIPE, Rung.UNTRAINED)
    (plan,) = seams.plans
    assert plan.bench.processes == processes
    assert plan.evaluation is None
    assert plan.subjects[0].variant == RECIPE.name


def test_a_slow_process_does_not_decide(seams: Seams, ladder: Callable[..., Ladder]) -> None:
    """Of all values together p90 would be the slow process's."""
    seams.processes = tuple(process(1e-3 * level) for level in (1.0, 1.1, 2.0, 0.9, 1.2))
    figure = ladder(SIZE, P90).look(RECIPE, Rung.UNTRAINED).figures[P90.key]
    assert (figure.value, figure.low, figure.high) == pytest.approx((1.1e-3, 0.9e-3, 2e-3))
    seams.estimates = {"latency.p90": ESTIMATES["latency.p90"].model_copy(update={"low": 0.8e-3, "high": 3e-3})}
    seams.sha256 = "b" * 64
    figure = ladder(SIZE, P90).look(RECIPE, Rung.UNTRAINED).figures[P90.key]
    assert (figure.value, figure.low, figure.high) == pytest.approx((1.1e-3, 0.8e-3, 3e-3))


def test_a_percentile_that_a_process_alone_does_not_tell_is_that_of_all(
    seams: Seams, ladder: Callable[..., Ladder]
) -> None:
    seams.processes = (process(1e-3, count=100), process(2e-3, count=60))
    assert ladder(SIZE, P90).look(RECIPE, Rung.UNTRAINED).figures[P90.key] == ESTIMATES["latency.p90"]


@pytest.mark.parametrize("kind", list(FailureKind))
def test_a_crash_is_the_recipes_and_a_lost_target_is_not(
    seams: Seams, ladder: Callable[..., Ladder], kind: FailureKind
) -> None:
    seams.failure, seams.estimates = Failure(kind=kind, message="why"), {}
    expected = TargetError if kind is FailureKind.TARGET_LOST else ArtifactError
    with pytest.raises(expected, match=f"on host: {kind.replace('_', ' ')}: why"):
        ladder().look(RECIPE, Rung.UNTRAINED)
    seams.failure, seams.estimates = None, ESTIMATES
    assert values(ladder(), Rung.UNTRAINED)["latency.p90@host"] == 1e-3
