"""What can be measured: one table, read by the project file, the gate and the reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgecc.units import Unit

Better = Literal["lower", "higher"]
Ability = Literal["latency", "outputs", "instructions", "copies"]
"""What a target can do: time inferences, run an evaluation set, count instructions, tell the copies to and from an
accelerator from the computing between them."""
USER_PREFIX = "user."


@dataclass(frozen=True)
class Metric:
    """A metric's unit, which direction is better, and what it takes to measure it."""

    name: str
    unit: Unit
    better: Better
    meaning: str
    on_target: bool = True
    """False where the artifact alone tells, whatever the target."""
    wall_clock: bool = False
    """True where an emulated clock would tell nothing about the device."""
    min_samples: int = 1
    """How many values a percentile needs before it is reported at all."""

    @property
    def device_only(self) -> bool:
        """True where an emulation would tell of itself: its clock is nobody's, and its memory holds translated code."""
        return self.wall_clock or self.name.startswith("memory.")

    @property
    def ability(self) -> Ability | None:
        """What a target must be able to do to measure it; None where the artifact alone tells."""
        if not self.on_target:
            return None
        if self.name == "latency.compute":
            return "copies"
        if self.wall_clock or self.name.startswith("memory."):
            return "latency"
        return "instructions" if self.name == "instructions" else "outputs"


def _percentile(name: str, min_samples: int) -> Metric:
    return Metric(
        f"latency.{name}", Unit.SECONDS, "lower", f"{name} of one inference at batch 1",
        wall_clock=True, min_samples=min_samples,
    )  # fmt: skip


# p90 needs 64 values and p99 needs 662: MLPerf Inference's LoadGen, early-stopping criterion at 99 % confidence.
_ALL = (
    _percentile("p50", 1),
    _percentile("p90", 64),
    _percentile("p99", 662),
    Metric("latency.mean", Unit.SECONDS, "lower", "mean of one inference, or of a share of a batch", wall_clock=True),
    Metric("latency.min", Unit.SECONDS, "lower", "fastest inference at batch 1", wall_clock=True),
    Metric(
        "latency.compute",
        Unit.SECONDS,
        "lower",
        "median of one inference without the copies in and out, on an accelerator",
        wall_clock=True,
    ),
    Metric("throughput", Unit.PER_SECOND, "higher", "samples a second, one inference after the other", wall_clock=True),
    Metric("load.cold", Unit.SECONDS, "lower", "first load in a fresh process, to a ready model", wall_clock=True),
    Metric("load.warm", Unit.SECONDS, "lower", "second load in the same process", wall_clock=True),
    Metric("size", Unit.BYTES, "lower", "bytes of the artifact's file", on_target=False),
    Metric("size.compressed", Unit.BYTES, "lower", "bytes after gzip -9: what an update sends", on_target=False),
    Metric("memory.peak", Unit.BYTES, "lower", "peak resident memory that loading and running added"),
    Metric("memory.arena", Unit.BYTES, "lower", "the runtime's tensor arena, where it tells"),
    Metric("instructions", Unit.COUNT, "lower", "machine instructions of one inference, under emulation; never a time"),
    Metric("accuracy", Unit.FRACTION, "higher", "top-1 accuracy on the whole evaluation set, on the target"),
    Metric("agreement.top1", Unit.FRACTION, "higher", "same top-1 class as the reference variant, on the target"),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def user_metric(name: str) -> str:
    """What a budget and the results call a metric of the project's own."""
    return f"{USER_PREFIX}{name}"


def all_metrics(own: Mapping[str, Better]) -> dict[str, Metric]:
    """What a project can measure, by name: the built-in metrics, then its own, given with their directions."""
    return METRICS | {
        user_metric(name): Metric(user_metric(name), Unit.NUMBER, better, "the project's own, on the target")
        for name, better in own.items()
    }
