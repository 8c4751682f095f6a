"""`[model]`, `[data]`, `[tune]` and `[train]`: where the model and the samples come from, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from edgecc.section import EntryPoint, HyperparameterValue, NonNegativeInt, PositiveInt, Section


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

    epochs: NonNegativeInt = 20
    """0 leaves the model as its builder made it."""
    batch_size: PositiveInt = 64
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16", "auto"] = "auto"
    initializer: Literal["auto", "as_built"] = "as_built"
    """`auto`: He for ReLU-like layers, Glorot for tanh, sigmoid and linear ones."""
    learning_rate: LearningRate | None = None
    """Without it, the optimizer's own constant rate."""
    early_stopping: EarlyStopping | None = None
    tensorboard: bool = False
    """Write TensorBoard logs to `.edgecc/log/tensorboard`."""
