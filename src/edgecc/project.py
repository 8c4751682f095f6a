"""The project file's contents: what the user asked for, checked, in base units.

`edgecc.project_file` reads `edgecc.toml` into these and reports whatever does not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    StringConstraints,
    model_validator,
)

from edgecc.artifact import Format
from edgecc.metrics import METRICS
from edgecc.units import (
    Duration,
    Percentage,
    Unit,
    parse,
    parse_points,
)

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
"""A name that is safe as a file name."""
EntryPoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
"""`module:function`, the module found from the project's folder."""
HyperparameterValue = Annotated[bool | int | float | str, Field(union_mode="smart")]
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]


class KeyFaultError(ValueError):
    """What is wrong with one key of a table that is checked as a whole."""

    def __init__(self, key: str, expected: str, given: object) -> None:
        super().__init__(expected)
        self.key = key
        self.given = given


_NameT = TypeVar("_NameT", bound=str)


class Section(BaseModel):
    """A table of the project file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSection(Section):
    """Where the Keras model comes from: a builder, or a file that is trained already."""

    builder: EntryPoint | None = None
    """`callable(hp) -> keras.Model`."""
    path: str | None = None
    """A `.keras` file; it is not trained."""
    allow_code: bool = False
    """Load a `.keras` file even if it carries Python code (Lambda layers), which then runs here."""
    files: tuple[str, ...] = ()
    """Files that the builder reads, relative to the project, whose contents belong to the cache key."""
    hp: Mapping[str, HyperparameterValue] = {}
    """Hyperparameters held fixed, by name."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.builder is None) == (self.path is None):
            raise ValueError("either `builder` or `path`, and not both")
        return self


class DataSection(Section):
    """Where the samples come from and how many of them calibrate a quantizer."""

    loader: EntryPoint
    files: tuple[str, ...] = ()
    """Data files, relative to the project, whose contents belong to the cache key."""
    representative_samples: PositiveInt = 300
    """Training samples that calibrate a quantizer, where the loader gives no representative set of its own."""
    allow_overlap: bool = False
    """Accept samples that are both in the test set and in the training or validation set."""


class TuneSection(Section):
    """The search for hyperparameters: Keras Tuner on `[model] builder`."""

    strategy: Literal["random", "hyperband", "bayesian", "grid"] = "random"
    max_trials: PositiveInt = 10
    epochs: PositiveInt = 10
    """Epochs of a trial; with hyperband, the most that a trial gets."""
    objective: Literal["val_accuracy", "val_loss"] = "val_accuracy"


class _Schedule(Section):
    initial: PositiveFloat = 1e-3
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the rate climbs linearly from nothing to `initial`."""


class ConstantThenExponential(_Schedule):
    """Constant for `constant_epochs`, then multiplied by `decay_rate` every epoch."""

    schedule: Literal["constant_then_exponential"]
    constant_epochs: NonNegativeInt = 10
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.9


class Cosine(_Schedule):
    """Falls along half a cosine from `initial` to `final` over the epochs there are."""

    schedule: Literal["cosine"]
    final: NonNegativeFloat = 0.0


class Step(_Schedule):
    """Multiplied by `factor` every `every_epochs`."""

    schedule: Literal["step"]
    every_epochs: PositiveInt = 10
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Plateau(_Schedule):
    """Multiplied by `factor` when the validation loss has not fallen for `patience` epochs."""

    schedule: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: PositiveInt = 3
    minimum: NonNegativeFloat = 1e-6


LearningRate = Annotated[ConstantThenExponential | Cosine | Step | Plateau, Field(discriminator="schedule")]


class EarlyStopping(Section):
    """Stop when the validation loss has not fallen for `patience` epochs, and go back to the best weights."""

    patience: PositiveInt = 5


class TrainSection(Section):
    """How the base model is trained."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "auto"
    initializer: Literal["auto", "as_built"] = "as_built"
    """`auto`: He for ReLU-like layers, Glorot for tanh, sigmoid and linear ones."""
    learning_rate: LearningRate | None = None
    """Without it, the optimizer's own constant rate."""
    early_stopping: EarlyStopping | None = None
    tensorboard: bool = False
    """Write TensorBoard logs to `.edgecc/log/tensorboard`."""


class Quantization(StrEnum):
    """How a variant's numbers are stored."""

    INT8 = "int8"
    """Weights, activations, inputs and outputs in int8."""


SUPPORTED_QUANTIZATION: Mapping[Format, frozenset[Quantization]] = {
    Format.TFLITE: frozenset({Quantization.INT8}),
    Format.ONNX: frozenset(),
}
"""What each format can be quantized to. Whatever is not here is an error, never float in disguise."""


def _each_once(names: tuple[_NameT, ...]) -> tuple[_NameT, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("at least one, and each once")
    return names


Formats = Annotated[tuple[Format, ...], AfterValidator(_each_once)]


class VariantSection(Section):
    """One way through the stages."""

    quantize: Quantization | None = None
    formats: Formats | None = None
    """The formats this variant is emitted in, where they are not `[emit] formats`."""


class EmitSection(Section):
    """What is written."""

    formats: Formats = (Format.TFLITE,)


class VerifySection(Section):
    """How far an artifact may be from its Keras model, on validation samples, before it is refused."""

    samples: PositiveInt = 1000
    """Validation samples to compare on, or all where there are fewer."""
    min_agreement_float: Percentage = 0.999
    min_agreement_int8: Percentage = 0.98


class BenchSection(Section):
    """How much is measured."""

    processes: PositiveInt = 5
    """Fresh processes for each artifact on each target: most of the variance is between processes."""
    inferences: PositiveInt = 200
    """Timed inferences in each process."""
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


class Budget(Section):
    """A limit on one metric. Without `target`, `variant` or `format` it judges all that ship."""

    metric: str
    target: str | None = None
    variant: str | None = None
    format: Format | None = None
    max: str | None = None
    min: str | None = None
    max_drop: str | None = None
    against: str | None = None
    """The variant that `max_drop` compares with; `float32` where none is named."""
    severity: Literal["error", "warn"] = "error"

    @model_validator(mode="after")
    def _limit_fits_metric(self) -> Self:
        metric = METRICS.get(self.metric)
        if metric is None:
            return self  # reported with the nearest spelling by project_file
        given = [key for key in ("max", "min", "max_drop") if getattr(self, key) is not None]
        allowed = ["max"] if metric.better == "lower" else ["min"]
        if metric.unit is Unit.FRACTION:
            allowed.append("max_drop")
        if len(given) != 1 or given[0] not in allowed:
            raise ValueError(f"exactly one of {', '.join(f'`{key}`' for key in allowed)} for {self.metric}")
        if self.against is not None and self.max_drop is None:
            raise ValueError("`against` only together with `max_drop`")
        if self.max_drop is not None and self.metric != "accuracy":
            raise ValueError("`max_drop` only for accuracy")
        key = given[0]
        try:
            self._parse_limit()
        except ValueError as error:
            raise KeyFaultError(key, str(error), getattr(self, key)) from None
        return self

    def _parse_limit(self) -> float:
        if self.max_drop is not None:
            return parse_points(self.max_drop)
        return parse(self.max if self.max is not None else self.min, METRICS[self.metric].unit)

    @property
    def limit(self) -> float:
        """The limit in the metric's base unit; for `max_drop`, the drop as a fraction."""
        return self._parse_limit()

    @property
    def reference(self) -> str:
        """The variant that `max_drop` compares with."""
        return self.against or "float32"

    def in_words(self) -> str:
        """The limit as a table shows it: as it was written, since a rounded limit could contradict a verdict."""
        if self.max_drop is not None:
            return f"at most {self.max_drop.strip()} below {self.reference}"
        bound, limit = ("at most", self.max) if self.max is not None else ("at least", self.min)
        return f"{bound} {str(limit).strip()}"


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
    ship: Annotated[tuple[str, ...], AfterValidator(_each_once)] | None = None
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
    targets: Mapping[Name, TargetSpec] = {}
    budgets: tuple[Budget, ...] = ()

    @property
    def shipped(self) -> tuple[str, ...]:
        """The variants that ship."""
        return tuple(self.variants) if self.ship is None else self.ship

    @property
    def reference_variant(self) -> str | None:
        """The float variant that others are compared with: `float32`, or else the first that is not quantized."""
        floats = [name for name, variant in self.variants.items() if variant.quantize is None]
        return "float32" if "float32" in floats else next(iter(floats), None)

    def formats_of(self, variant: str) -> tuple[Format, ...]:
        """The formats a variant is emitted in."""
        own = self.variants[variant].formats
        return self.emit.formats if own is None else own

    def emitted(self) -> Iterator[tuple[str, Format]]:
        """Every (variant, format) the project emits, in its order."""
        for variant in self.variants:
            for format in self.formats_of(variant):
                yield variant, format


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
