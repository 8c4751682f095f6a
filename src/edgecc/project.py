"""The project file's contents: what the user asked for, checked, in base units.

`edgecc.project_file` reads `edgecc.toml` into these and reports whatever does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgecc.artifact import Format
from edgecc.budget import Budget
from edgecc.metrics import Better, Metric, all_metrics
from edgecc.search_space import SearchSection
from edgecc.section import EntryPoint, Name, PositiveInt, Section, Seed, each_once
from edgecc.training import DataSection, ModelSection, TrainSection, TuneSection
from edgecc.units import Duration, Percentage
from edgecc.variant import CompressionStep, Formats, StepKind, VariantSection


class EmitSection(Section):
    """What is written."""

    formats: Formats = (Format.TFLITE,)
    dynamic_batch: bool = False
    """Whether ONNX takes any number of samples at once. TFLite always takes one."""


class VerifySection(Section):
    """How far an artifact may be from its Keras model, on validation samples, before it is refused."""

    samples: PositiveInt = 1000
    """Validation samples to compare on, or all where there are fewer."""
    min_agreement_float: Percentage = 0.999
    min_agreement_quantized: Percentage = 0.98


class MetricSection(Section):
    """A metric of the user's own, scored on the raw outputs of a target: `user.NAME` in a budget."""

    function: EntryPoint
    """`callable(outputs, y) -> float`, or `callable(outputs, y, inputs)`: arrays (samples, ...), or lists of them
    where the model has several; `y` is the loader's."""
    better: Better = "higher"


class BenchSection(Section):
    """How much is measured."""

    processes: PositiveInt = 5
    """Fresh processes for each artifact on each target: most of the variance is between processes."""
    inferences: PositiveInt = 200
    """Timed inferences in each process."""
    pair_time_limit: Duration = 60.0
    """Longest time for which an artifact and its baseline are measured side by side on one target before a regression
    is left inconclusive."""
    time_limit: Duration = 120.0
    """Longest time one process may take for `inferences` of them before it is killed; more samples get more."""


class TargetSpec(BaseModel):
    """A target's kind; the other keys belong to the kind and are checked by it."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `kind`."""
        return dict(self.model_extra or {})


_BASE = "base"
EVALUATION, TRIALS = "evaluation.npz", "trials.json"


def _no_file_of_the_build_folder(variants: Mapping[str, VariantSection]) -> Mapping[str, VariantSection]:
    if taken := {EVALUATION, TRIALS} & set(variants):
        raise ValueError(f"names that no file of the build folder has, unlike {', '.join(taken)}")
    return variants


class Project(Section):
    """A project file, checked."""

    version: Literal[1]
    name: Name
    seed: Seed = 0
    ship: Annotated[tuple[str, ...], AfterValidator(each_once)] | None = None
    """The variants a budget without `variant` judges; all of them where nothing is said."""
    model: ModelSection
    data: DataSection
    tune: TuneSection | None = None
    train: TrainSection = TrainSection()
    variants: Annotated[
        Mapping[Name, VariantSection], Field(min_length=1), AfterValidator(_no_file_of_the_build_folder)
    ]
    emit: EmitSection = EmitSection()
    verify: VerifySection = VerifySection()
    bench: BenchSection = BenchSection()
    metrics: Mapping[Name, MetricSection] = {}
    targets: Mapping[Name, TargetSpec] = {}
    budgets: tuple[Budget, ...] = ()
    search: SearchSection | None = None

    @property
    def shipped(self) -> tuple[str, ...]:
        """The variants that ship."""
        return tuple(self.variants) if self.ship is None else self.ship

    @property
    def reference_variant(self) -> str | None:
        """The float variant that others are compared with: `float32`, or else the first that is not quantized."""
        floats = [name for name, variant in self.variants.items() if variant.quantize is None]
        return "float32" if "float32" in floats else next(iter(floats), None)

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """What can be measured, by name: the built-in metrics and `user.NAME`."""
        return all_metrics({name: section.better for name, section in self.metrics.items()})

    def formats_of(self, variant: str) -> tuple[Format, ...]:
        """The formats a variant is emitted in."""
        own = self.variants[variant].formats
        return self.emit.formats if own is None else own

    def emitted(self) -> Iterator[tuple[str, Format]]:
        """Every (variant, format) the project emits, in its order."""
        for variant in self.variants:
            for format in self.formats_of(variant):
                yield variant, format

    def steps_of(self, variant: str, format: Format) -> tuple[CompressionStep, ...]:
        """The compression steps on the way to one artifact, each with what is there before it and after it."""
        kinds = self.variants[variant].steps
        names = [self._name_of(variant, count, format) for count in range(len(kinds))] + [variant]
        return tuple(CompressionStep(*each) for each in zip(kinds, names, names[1:], strict=False))

    def with_steps(self, emitted: Iterable[tuple[str, Format]]) -> list[tuple[str, Format]]:
        """These (variant, format) pairs, and what their steps are compared with, each once."""
        pairs = list(emitted)
        befores = [(step.before, format) for name, format in pairs for step in self.steps_of(name, format)]
        return list(dict.fromkeys([*pairs, *befores]))

    def section_of(self, name: str) -> tuple[VariantSection, int]:
        """The variant behind a name of `CompressionStep`, and how many of its steps are taken."""
        variant, _, last = name.partition("@")
        section = self.variants[variant]
        if not last:
            return section, len(section.steps)
        return section, 0 if last == _BASE else section.steps.index(cast("StepKind", last)) + 1

    def _name_of(self, variant: str, count: int, format: Format) -> str:
        """What has the same recipe in this format: a variant, or else the first that takes the same steps so far."""
        recipe = self.variants[variant].recipe(count)
        able = {name: section for name, section in self.variants.items() if format in self.formats_of(name)}
        whole = [name for name, section in able.items() if section.recipe() == recipe]
        if whole:
            return whole[0]
        first = next(name for name, section in able.items() if section.recipe(count) == recipe)
        return f"{first}@{self.variants[first].steps[count - 1] if count else _BASE}"


class ProjectFolder(BaseModel):
    """A project and the folder it lies in: where everything that belongs to it is read and written."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    root: Path
    file: Path
    project: Project

    @property
    def build(self) -> Path:
        """Artifacts with their manifests, by variant."""
        return self.root / "build"

    @property
    def results(self) -> Path:
        """What benches measured."""
        return self.root / "results"

    @property
    def baseline(self) -> Path:
        """The release that regressions are judged against, artifacts included: to be committed."""
        return self.root / "baseline"

    @property
    def report(self) -> Path:
        """Reports for people and for CI."""
        return self.root / "report"

    @property
    def state(self) -> Path:
        """What edgecc keeps for itself: the stage cache and logs."""
        return self.root / ".edgecc"

    @property
    def evaluation(self) -> Path:
        """The evaluation set as `.npz` with `x` and `y`: scored on targets, without TensorFlow."""
        return self.build / EVALUATION

    @property
    def trials(self) -> Path:
        """The tuning's trials, for the report."""
        return self.build / TRIALS

    def artifact(self, variant: str, format: Format) -> Path:
        """Where a variant's artifact lies."""
        return self.build / variant / f"{self.project.name}.{format}"
