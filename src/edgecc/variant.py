"""`[variants.NAME]`: one way through the compression steps, and what each step may be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, model_validator

from edgecc.artifact import Format
from edgecc.section import (
    EntryPoint,
    HyperparameterValue,
    KeyFaultError,
    NonNegativeInt,
    PositiveInt,
    Section,
    each_once,
)
from edgecc.training import LearningRate
from edgecc.units import parse_points


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
    epochs: NonNegativeInt | None = None
    """Without it, those of `[train]`; so are the batch size and the learning rate. 0 leaves the student as it is."""
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


Formats = Annotated[tuple[Format, ...], AfterValidator(each_once)]


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
