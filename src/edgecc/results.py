"""What a bench writes and the gate and reports read: raw values with where and how they were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from edgecc.artifact import Artifact, Format, Record, StepRecord
from edgecc.metrics import Better, Metric, all_metrics

RESULTS_VERSION = 1


class Provenance(StrEnum):
    """How a value came to be. Only `measured` is a device's own."""

    MEASURED = "measured"
    EMULATED = "emulated"
    ESTIMATED = "estimated"


class Environment(Record):
    """Where something ran."""

    os: str
    machine: str
    cpu_model: str
    cores: int
    governor: str | None
    """CPU frequency governor, where Linux tells."""
    accelerator: str | None
    python: str
    runtimes: Mapping[str, str]
    """Version by runtime name: `litert`, `onnxruntime`."""
    emulated: bool
    load_average: float | None = None
    """One-minute load before the run started."""
    frequency_mhz: float | None = None
    """Of the first core it may use, at that moment, where Linux tells."""
    temperature_c: float | None = None
    """Of the hottest thermal zone, where Linux tells."""
    throttling: str | None = None
    """What slows the device down now, where it tells: under-voltage, a temperature limit."""
    accelerator_frequency_mhz: float | None = None
    """Of the accelerator's cores at that moment, where its driver tells."""
    accelerator_temperature_c: float | None = None


MOMENTARY = frozenset(
    {
        "load_average", "frequency_mhz", "temperature_c", "throttling", "accelerator_frequency_mhz",
        "accelerator_temperature_c",
    }
)  # fmt: skip
"""What of an environment is of one moment, and does not make it another environment."""


class FailureKind(StrEnum):
    """Why an artifact gave no numbers on a target."""

    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    REFUSED = "refused"
    """The runtime said no: not a model, an operator it does not know, a provider that is not there."""
    TARGET_LOST = "target_lost"


class Failure(Record):
    """A run that gave no numbers, with its cause."""

    kind: FailureKind
    message: str


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ProcessSample(Record):
    """Raw values of one fresh process on the target."""

    latencies_s: tuple[Seconds, ...]
    """One value an inference, in the order they ran, warm-ups left out."""
    computes_s: tuple[Seconds, ...] = ()
    """Of the same inferences, without the copies in and out; empty where the target does not tell these apart."""
    batch_size: Annotated[int, Field(gt=0, strict=True)] = 1
    """How many samples each inference took at once."""
    warmups: Annotated[int, Field(ge=0)]
    load_cold_s: Seconds
    load_warm_s: Seconds
    memory_peak_bytes: Annotated[int, Field(ge=0)] | None


class Estimate(Record):
    """One metric of one row."""

    value: float
    samples: Annotated[int, Field(gt=0, strict=True)]
    """How many raw values stand behind it."""
    low: float | None = None
    """Lower end of its 95 % confidence interval, where it has one."""
    high: float | None = None
    provenance: Provenance = Provenance.MEASURED


class Row(Record):
    """One artifact on one target."""

    variant: str
    only_for_steps: bool = False
    """It is there for a step to be compared with, and never ships."""
    artifact: Artifact
    target: str
    target_kind: str
    target_options: Mapping[str, Any] = {}
    """The target's other keys, as the project file had them."""
    emulated: bool
    """True where the target's wall clock is not a device's own. Known even where the target did not answer."""
    environment: Environment | None
    """None where the target did not answer."""
    runtime: str
    num_threads: Annotated[int, Field(gt=0, strict=True)]
    operators: Mapping[str, Annotated[int, Field(ge=0, strict=True)]] = {}
    """How many of the artifact's operators ran where, read back from the runtime: `xnnpack` and `builtin` of LiteRT, or
    ONNX Runtime's providers. Empty where the runtime does not tell."""
    processes: tuple[ProcessSample, ...] = ()
    instructions: tuple[Annotated[int, Field(gt=0, strict=True)], ...] = ()
    """Of single inferences, where they were counted."""
    instructions_counter: str = ""
    """What counted them, and on which processor."""
    predictions: tuple[int, ...] = ()
    """Top-1 class of every sample of the evaluation set, in its order."""
    estimates: Mapping[str, Estimate] = {}
    unmeasured: Mapping[str, str] = {}
    """Why a metric has no value here, by metric name."""
    failure: Failure | None = None
    warnings: tuple[str, ...] = ()

    @property
    def format(self) -> Format:
        """The artifact's format."""
        return self.artifact.format


class Ratio(Record):
    """A metric of one artifact over that of another: of a latency, below 1 the former is faster."""

    value: float
    low: float
    """Lower end of its confidence interval."""
    high: float
    processes: int
    """Of each artifact; they ran in turn."""
    confidence: float = 0.95
    """How often an interval made so holds the true ratio."""

    @property
    def visible(self) -> float:
        """The smallest relative change that these processes could have told from none."""
        return self.high / self.value - 1


class PairedRun(Record):
    """The baseline's artifact and today's, measured side by side on one target."""

    variant: str
    format: Format
    target: str
    baseline: Artifact
    candidate: Artifact
    environment: Environment | None
    """None where the target did not answer."""
    ratios: Mapping[str, Ratio] = {}
    """Today's over the baseline's, by metric."""
    baseline_processes: tuple[ProcessSample, ...] = ()
    candidate_processes: tuple[ProcessSample, ...] = ()
    duration_s: float = 0.0
    unmeasured: Mapping[str, str] = {}
    """Why a metric has no ratio, by metric."""


class Pays(StrEnum):
    """Whether a compression step is worth what it costs."""

    YES = "pays"
    NO = "does not pay"
    UNKNOWN = "cannot tell"


class StepResult(Record):
    """One compression step on one target."""

    variant: str
    """What the step makes: a variant of the project, or `VARIANT@STEP`."""
    format: Format
    target: str
    record: StepRecord
    """What is there before it and after it, on validation samples."""
    latency: Ratio | None
    latency_unmeasured: str | None = None
    """Why there is no ratio."""
    pays: Pays
    marks: tuple[str, ...]
    """What it does, in words such as `smaller` and `slower`; none where nothing clear changes."""
    without: str | None
    """The variant that goes without this step."""
    reason: str
    """One sentence that stands alone."""


class LayerError(Record):
    """How far one layer of a quantized artifact is from the float one, on calibration samples."""

    layer: str
    operator: str
    sqnr_db: float | None
    """Signal-to-quantization-noise ratio; None where there is no error at all."""
    cosine: float
    kept: bool
    """It was kept in float."""


class ArtifactLayers(Record):
    """The layers of one quantized artifact, in the order in which they run."""

    variant: str
    format: Format
    layers: tuple[LayerError, ...]

    def worst_first(self) -> list[LayerError]:
        """The layers with the lowest SQNR first."""
        return sorted(self.layers, key=lambda layer: math.inf if layer.sqnr_db is None else layer.sqnr_db)


class Results(Record):
    """One bench: every artifact on every target it was asked to measure."""

    schema_version: Literal[1] = 1
    run_id: str
    """UTC time of the start, with a random tail: sorts by time, and no two are the same."""
    project: str
    started_at: str
    duration_s: float
    edgecc_version: str
    git_commit: str | None
    evaluation_sha256: str | None
    evaluation_samples: int
    reference_variant: str | None
    """The variant that `agreement.top1` compares with."""
    metrics: Mapping[str, Better] = {}
    """Which way each of the project's own metrics is better, by its name."""
    rows: tuple[Row, ...]
    steps: tuple[StepResult, ...] = ()
    """Every compression step of what was measured, on every target."""
    layers: tuple[ArtifactLayers, ...] = ()
    baseline_run_id: str | None = None
    """The run that the baseline is, where there is one."""
    paired: tuple[PairedRun, ...] = ()
    """What was measured beside the baseline."""

    @property
    def variant_rows(self) -> tuple[Row, ...]:
        """The rows of the project's variants, without those that are there for steps to be compared with."""
        return tuple(row for row in self.rows if not row.only_for_steps)

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """What could be measured, by name: the built-in metrics and `user.NAME`."""
        return all_metrics(self.metrics)


class Status(StrEnum):
    """What the gate says of one budget on one row."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNMEASURED = "unmeasured"


class Verdict(Record):
    """One budget judged on one artifact and target."""

    status: Status
    severity: Literal["error", "warn"]
    metric: str
    variant: str
    format: Format | None
    target: str | None
    """None for what does not depend on a target."""
    limit: str
    """The budget in words, such as `at most 2 ms` or `at most 1 pp below float32`."""
    observed: str
    """What was seen, in words; `unmeasured` where nothing was."""
    observed_value: float | None
    limit_value: float
    reason: str
    """One sentence that stands alone."""


class Judgement(Record):
    """The gate's answer to one bench."""

    schema_version: Literal[1] = 1
    run_id: str
    project: str
    verdicts: tuple[Verdict, ...]
    left_out: tuple[str, ...] = ()
    """What a budget did not judge and why, in sentences."""

    @property
    def status(self) -> Status:
        """The worst of the verdicts that count: fail, then unmeasured, then inconclusive, then pass.

        Where nothing was judged, nothing passed: unmeasured.
        """
        if not self.verdicts:
            return Status.UNMEASURED
        counting = {verdict.status for verdict in self.verdicts if verdict.severity == "error"}
        for status in (Status.FAIL, Status.UNMEASURED, Status.INCONCLUSIVE):
            if status in counting:
                return status
        return Status.PASS
