"""The project file's contents: what the user asked for, checked, in base units.

`edgecc.project_file` reads `edgecc.toml` into these and reports whatever does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainValidator,
    PositiveFloat,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from edgecc.artifact import Format
from edgecc.metrics import METRICS, USER_PREFIX, Better, Metric, all_metrics
from edgecc.units import (
    Duration,
    Percentage,
    Unit,
    parse,
    parse_difference,
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
    """A `.keras` or `.h5` file; it is not trained."""
    allow_code: bool = False
    """Load a model file even if it carries Python code (Lambda layers), which then runs here."""
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


class DistillSection(Section):
    """A student learns from a teacher's softened outputs (Hinton et al. 2015, arXiv:1503.02531).

    The loss is alpha * (the student's own, on the labels) + (1 - alpha) * temperature^2 * KL(teacher || student).
    """

    student: EntryPoint
    """`callable(hp) -> keras.Model`, with outputs like the teacher's."""
    hp: Mapping[str, HyperparameterValue] = {}
    """The student's hyperparameters, by name."""
    teacher: str | None = None
    """A trained `.keras` or `.h5` file; without it, the project's base model teaches."""
    temperature: PositiveFloat = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Weight of the true labels; 1 trains the same student for as many steps without its teacher."""
    augment: EntryPoint | None = None
    """`callable(x, generator) -> x`: a changed copy of training samples, seen by teacher and student alike."""
    views: PositiveInt = 1
    """Copies that `augment` draws, one an epoch in turn; the teacher's outputs on each are computed once."""
    epochs: PositiveInt | None = None
    """Without it, those of `[train]`; so are the batch size and the learning rate."""
    batch_size: PositiveInt | None = None
    learning_rate: LearningRate | None = None

    @model_validator(mode="after")
    def _views_differ(self) -> Self:
        if self.views > 1 and self.augment is None:
            raise KeyFaultError("views", "1, unless `augment` makes the views differ", self.views)
        return self


class Healing(Section):
    """How a pruned model is trained on, and by whom."""

    epochs: NonNegativeInt = 5
    """Epochs of fine-tuning; each iteration of channel pruning has as many."""
    learning_rate: PositiveFloat = 1e-3
    """Falls along half a cosine to nothing."""
    batch_size: PositiveInt | None = None
    """Without it, that of `[train]`."""
    temperature: PositiveFloat = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the true labels; what is left of 1 is learnt from the unpruned model. Without it, 1 for classes and
    0 for other tasks, whose loss is not known here."""
    exclude: tuple[str, ...] = ()
    """Layers left whole, by name."""


class MagnitudePruning(Healing):
    """The smallest weights become zero and stay so (Zhu and Gupta 2017, arXiv:1710.01878).

    No file gets smaller by it before it is compressed, and no inference faster.
    """

    method: Literal["magnitude"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of each pruned kernel's weights that are zero at the end; with `scope = "global"`, of all of them."""
    schedule: Literal["polynomial_decay", "constant"] = "polynomial_decay"
    initial_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Where polynomial decay begins."""
    scope: Literal["layer", "global"] = "layer"
    block: tuple[PositiveInt, PositiveInt] = (1, 1)
    """Height and width of the blocks of weights that stand or fall together, in the kernel seen as a matrix."""
    m_by_n: tuple[PositiveInt, PositiveInt] | None = None
    """Such as [2, 4]: of every 4 weights along the inputs, the 2 smallest are zero."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.epochs == 0 and self.schedule == "polynomial_decay":
            raise KeyFaultError("epochs", "at least 1: polynomial decay prunes while it trains", self.epochs)
        if self.initial_sparsity >= self.sparsity:
            raise KeyFaultError("initial_sparsity", f"less than the sparsity {self.sparsity}", self.initial_sparsity)
        if self.m_by_n is not None:
            m, n = self.m_by_n
            if m >= n or abs(self.sparsity - m / n) > 1e-6:
                raise KeyFaultError("m_by_n", f"m of n zeros that make the sparsity {self.sparsity}", self.m_by_n)
            if self.block != (1, 1) or self.scope != "layer":
                raise KeyFaultError("m_by_n", "no `block` and no global `scope` beside it", self.m_by_n)
        if self.scope == "global" and self.block != (1, 1):
            raise KeyFaultError("block", '[1, 1] with scope = "global"', self.block)
        return self


class ChannelPruning(Healing):
    """Whole channels and neurons go: the model becomes really smaller and faster."""

    method: Literal["channel"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of the channels of each group of layers that hang together which is removed."""
    importance: Literal["l1", "l2", "batch_norm", "taylor"] = "l2"
    """By the kernels' norm (Li et al. 2017, arXiv:1608.08710), the batch normalization's scale (Liu et al. 2017,
    arXiv:1708.06519) or the first-order Taylor expansion of the loss (Molchanov et al. 2019, arXiv:1906.10771)."""
    scope: Literal["layer", "global"] = "layer"
    """`global` removes the least important channels of the whole model, wherever they are."""
    iterations: PositiveInt = 1
    """Steps in which the sparsity is reached, each followed by fine-tuning."""


Pruning = Annotated[MagnitudePruning | ChannelPruning, Field(discriminator="method")]


class Quantization(StrEnum):
    """How a variant's numbers are stored."""

    INT8 = "int8"
    """Weights, activations, inputs and outputs in int8; in ONNX as QuantizeLinear/DequantizeLinear pairs (QDQ)."""
    INT16X8 = "int16x8"
    """Weights in int8, activations, inputs and outputs in int16."""
    WEIGHT_ONLY = "weight_only"
    """Weights in int8, all computing in float32: where a processor has no fast int8, as small and faster."""
    DYNAMIC = "dynamic"
    """Weights in int8; activations are quantized while it runs."""
    FLOAT16 = "float16"
    """Weights in float16."""


STATIC = frozenset({Quantization.INT8, Quantization.INT16X8})
"""Schemes that need representative samples."""
SUPPORTED_QUANTIZATION: Mapping[Format, frozenset[Quantization]] = {
    Format.TFLITE: frozenset(Quantization),
    Format.ONNX: frozenset({Quantization.INT8, Quantization.DYNAMIC, Quantization.FLOAT16}),
}
"""What each format can be quantized to. Whatever is not here is an error, never float in disguise."""


class QuantizeSection(Section):
    """How a trained model's numbers become smaller. `quantize = "int8"` is short for `{ scheme = "int8" }`."""

    scheme: Quantization
    calibration: Literal["min_max", "percentile", "entropy", "mse"] = "min_max"
    """How the range of an activation is chosen from what representative samples make of it."""
    percentile: Annotated[float, Field(gt=50, le=100)] = 99.99
    """Share of an activation's values, in percent, that stay inside its range, with calibration = "percentile"."""
    per_channel: bool = True
    """A scale for each output channel of a kernel, rather than one for all."""
    keep: tuple[str, ...] = ()
    """Layers kept in float, by name."""
    max_drop: str | None = None
    """Most that may be lost on validation data, such as "0.2 pp": the fewest layers that reach it are kept in float."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.scheme not in STATIC:
            for key in ("calibration", "percentile", "max_drop"):
                given = getattr(self, key)
                if given != type(self).model_fields[key].default:
                    raise KeyFaultError(key, f"a scheme that calibrates beside it, and not {self.scheme}", given)
        if self.percentile != type(self).model_fields["percentile"].default and self.calibration != "percentile":
            raise KeyFaultError("percentile", 'calibration = "percentile" beside it', self.percentile)
        if self.max_drop is not None:
            try:
                parse_points(self.max_drop)
            except ValueError as error:
                raise KeyFaultError("max_drop", str(error), self.max_drop) from None
        return self

    @property
    def max_drop_fraction(self) -> float | None:
        """`max_drop` as a fraction."""
        return None if self.max_drop is None else parse_points(self.max_drop)


def _spelled_out(quantize: Any) -> Any:
    return {"scheme": quantize} if isinstance(quantize, str) else quantize


def _each_once(names: tuple[_NameT, ...]) -> tuple[_NameT, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("at least one, and each once")
    return names


Formats = Annotated[tuple[Format, ...], AfterValidator(_each_once)]


StepKind = Literal["distill", "prune", "quantize"]
STEP_KINDS: tuple[StepKind, ...] = ("distill", "prune", "quantize")


class VariantSection(Section):
    """One way through the stages: distill, prune, quantize, in this order."""

    distill: DistillSection | None = None
    prune: Pruning | None = None
    quantize: Annotated[
        QuantizeSection | None,
        BeforeValidator(_spelled_out, json_schema_input_type=Quantization | QuantizeSection | None),
    ] = None
    formats: Formats | None = None
    """The formats this variant is emitted in, where they are not `[emit] formats`."""

    @property
    def steps(self) -> tuple[StepKind, ...]:
        """The compression steps it takes, in order."""
        return tuple(kind for kind in STEP_KINDS if getattr(self, kind) is not None)

    def recipe(self, count: int | None = None) -> dict[str, Any]:
        """The options of each step, or of the first `count` of them, as JSON values."""
        left_out = dict.fromkeys(kind for kind in STEP_KINDS if kind not in self.steps[:count])
        return self.model_dump(mode="json", exclude={"formats"}) | left_out


@dataclass(frozen=True)
class CompressionStep:
    """One compression step of a variant: which artifact it is compared with, and which it makes."""

    kind: StepKind
    before: str
    """A variant of the project, or `VARIANT@STEP`: a variant as it is after that step; `VARIANT@base` before all."""
    after: str


class EmitSection(Section):
    """What is written."""

    formats: Formats = (Format.TFLITE,)


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
    """Longest time for which an artifact and its baseline are measured in turn on one target before a regression is
    left inconclusive."""
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


def _text_or_number(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('a quantity like "2 ms", or a number for a metric of your own')
    return value


Limit = Annotated[
    str | float, PlainValidator(_text_or_number), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
]
"""As it was written. A plain number only for a metric of the user's own."""


class Budget(Section):
    """A limit on one metric. Without `target`, `variant` or `format` it judges all that ship."""

    metric: str
    target: str | None = None
    variant: str | None = None
    format: Format | None = None
    max: Limit | None = None
    min: Limit | None = None
    max_drop: Limit | None = None
    """What may be lost against another variant: of accuracy in percentage points, of a metric of the user's own in
    its unit, in the direction that is worse."""
    against: str | None = None
    """The variant that `max_drop` compares with; `float32` where none is named."""
    max_regression: Limit | None = None
    """How much worse than in the baseline: in percent; accuracy in percentage points, a metric of the user's own in its
    unit."""
    emulated: bool = False
    """Judge the time and memory of an emulated processor too, which no device takes."""
    severity: Literal["error", "warn"] = "error"

    @model_validator(mode="after")
    def _limit_fits_metric(self) -> Self:
        if self.metric not in METRICS and not self.is_users:
            return self  # reported with the nearest spelling by project_file
        given = [key for key in _LIMITS if getattr(self, key) is not None]
        allowed = self._allowed()
        if len(given) != 1 or given[0] not in allowed:
            raise ValueError(f"exactly one of {', '.join(f'`{key}`' for key in allowed)} for {self.metric}")
        if self.against is not None and self.max_drop is None:
            raise ValueError("`against` only together with `max_drop`")
        if self.max_drop is not None and self.metric != "accuracy" and not self.is_users:
            raise ValueError("`max_drop` only for accuracy and metrics of your own")
        try:
            self._parse_limit()
        except ValueError as error:
            raise KeyFaultError(given[0], str(error), self.written) from None
        return self

    def _allowed(self) -> tuple[str, ...]:
        """The keys that can limit the metric; of the user's own, project_file knows the direction."""
        if self.is_users:
            return _LIMITS
        metric = METRICS[self.metric]
        bound = "max" if metric.better == "lower" else "min"
        return (bound, "max_drop", _REGRESSION) if metric.unit is Unit.FRACTION else (bound, _REGRESSION)

    def _parse_limit(self) -> float:
        if self.loses_points:
            return parse_points(self.written)
        is_loss = self.max_drop is not None or self.max_regression is not None
        return parse_difference(self.written) if is_loss and self.is_users else parse(self.written, self.limit_unit)

    @property
    def is_users(self) -> bool:
        """Whether it is on a metric of the user's own."""
        return self.metric.startswith(USER_PREFIX)

    @property
    def is_difference(self) -> bool:
        """Whether two values of the metric are told apart by their difference rather than their ratio."""
        return self.unit in (Unit.FRACTION, Unit.NUMBER)

    @property
    def loses_points(self) -> bool:
        """Whether the limit is in percentage points."""
        return self.unit is Unit.FRACTION and self.max is None and self.min is None

    @property
    def limit_unit(self) -> Unit:
        """The limit's base unit."""
        is_relative = self.max_regression is not None and not self.is_difference
        return Unit.FRACTION if is_relative else self.unit

    @property
    def unit(self) -> Unit:
        """The metric's base unit."""
        return Unit.NUMBER if self.is_users else METRICS[self.metric].unit

    @property
    def written(self) -> str | float:
        """The limit as the project file has it."""
        given = (self.max, self.min, self.max_drop, self.max_regression)
        return next(limit for limit in given if limit is not None)

    @property
    def limit(self) -> float:
        """The limit in the metric's base unit; of a drop or regression, a fraction, or in the metric's own unit."""
        return self._parse_limit()

    @property
    def reference(self) -> str:
        """The variant that `max_drop` compares with."""
        return self.against or "float32"

    def in_words(self) -> str:
        """The limit as a table shows it: as it was written, since a rounded limit could contradict a verdict."""
        limit = str(self.written).strip()
        if self.max_drop is not None:
            return f"at most {limit} {'worse than' if self.is_users else 'below'} {self.reference}"
        if self.max_regression is not None:
            return f"at most {limit} worse than the baseline"
        return f"{'at most' if self.max is not None else 'at least'} {limit}"


_REGRESSION = "max_regression"
_LIMITS = ("max", "min", "max_drop", _REGRESSION)


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
    metrics: Mapping[Name, MetricSection] = {}
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
