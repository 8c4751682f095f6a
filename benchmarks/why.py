"""Where the bytes and the time of an artifact go, operator by operator, and what changed from one to another.

Each operator's time is the median over processes, which ran in turn with those of the other artifact. An interval lies
between the smallest and the largest of them: of six, it holds the true median 97 times in 100, whatever the
distribution (the sign test's interval: Hollander, Wolfe and Chicken 2014, "Nonparametric Statistical Methods", 3.6).
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgecc.artifact import Artifact, Format, Record
from edgecc.benchmarks.matching import Operator, match_operators, operator_of
from edgecc.errors import ExitCode
from edgecc.targets.profile import ProcessProfile
from edgecc.units import Unit, format_value

PROCESSES = 6
BY_PREFIXES = "by differences of prefixes: the model was cut after each operator, and the cuts were timed in turn"
BY_PROFILER = "by ONNX Runtime's profiler, which writes whole microseconds and cuts the rest off"

_TOLERANCE = 1.1
"""By how much the operators together may exceed the inference before they are disbelieved: both are noisy."""


class Span(Record):
    """A median in seconds, and the interval it lies in."""

    value: float
    low: float
    high: float

    @property
    def is_told_from_zero(self) -> bool:
        """The whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


class OperatorChange(Record):
    """One operator in two artifacts. Where one of them has it not, its values are None, and count as 0."""

    name: str
    layer: str | None
    """The Keras layer it came from, where the manifest tells."""
    kind_before: str | None
    kind_after: str | None
    size_before_bytes: int | None
    size_after_bytes: int | None
    time_before: Span | None
    time_after: Span | None
    time_change: Span | None

    @property
    def size_change_bytes(self) -> int:
        """How many bytes more it has."""
        return (self.size_after_bytes or 0) - (self.size_before_bytes or 0)

    @property
    def kind(self) -> str:
        """One or both, as a table shows it."""
        kinds = dict.fromkeys(kind for kind in (self.kind_before, self.kind_after) if kind)
        return " → ".join(kinds)


class FileWhy(Record):
    """All of one artifact: its operators and what is not theirs."""

    path: str
    sha256: str
    size_bytes: int
    structure_bytes: int
    """What belongs to no operator: the graph itself, names, metadata."""
    latency: Span | None
    """One inference of the file as it is."""
    profiled: Span | None
    """The same under a profiler, where there is one."""
    outside_s: float | None
    """What of `profiled`, else of `latency`, is in no operator: the call, copies, the profiler itself."""


class Why(Record):
    """Two artifacts of one format, operator by operator."""

    format: Format
    before: FileWhy
    after: FileWhy
    operators: tuple[OperatorChange, ...]
    """The largest change first."""
    latency_change: Span | None
    processes: int
    method: str | None
    """How the operators were timed."""
    unmeasured: str | None
    """Why there are no times."""


class WhyReport(Record):
    """Pairs of artifacts, and those that could not be compared."""

    schema_version: Literal[1] = 1
    pairs: tuple[Why, ...]
    left_out: tuple[str, ...] = ()
    """Which, and why, in sentences without a stop."""

    @property
    def exit_code(self) -> ExitCode:
        """3 where something was left out or not timed."""
        is_whole = self.pairs and not self.left_out and not any(why.unmeasured for why in self.pairs)
        return ExitCode.PASSED if is_whole else ExitCode.UNDECIDED


@dataclass(frozen=True)
class Measured:
    """One artifact with what was read and measured of it."""

    artifact: Artifact
    operators: tuple[Operator, ...]
    structure_bytes: int
    layers: Mapping[int, str]
    """The Keras layer by an operator's position."""
    profiles: tuple[ProcessProfile, ...] = ()
    """One a process; the artifacts' were run in turn, the first with the first."""


@dataclass(frozen=True)
class _Added:
    """What a runtime put into the graph, of one name."""

    name: str
    kind: str
    size_bytes: int = 0
    outputs: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()


def explain(before: Measured, after: Measured, unmeasured: str | None) -> Why:
    """Compare two artifacts of one format; `unmeasured` says why they have no profiles, where they have none."""
    old, new = _Times(before), _Times(after)
    unmeasured = unmeasured or old.disbelief() or new.disbelief()
    if unmeasured:
        old, new = _Times(before, are_told=False), _Times(after, are_told=False)
    changes = [_change(old, new, *pair) for pair in match_operators(old.operators, new.operators)]
    method = BY_PREFIXES if before.artifact.format is Format.TFLITE else BY_PROFILER
    return Why(
        format=before.artifact.format,
        before=_file(before, old),
        after=_file(after, new),
        operators=_largest_first(changes),
        latency_change=_difference(old.latencies_s, new.latencies_s) if old.latencies_s and new.latencies_s else None,
        processes=len(before.profiles),
        method=None if unmeasured else method,
        unmeasured=unmeasured,
    )


class _Times:
    """An artifact's operators, and those that the runtime added, with the seconds each took in every process."""

    def __init__(self, measured: Measured, *, are_told: bool = True) -> None:
        self.path, self.layers = measured.artifact.path, measured.layers
        self.latencies_s = [profile.inference_s for profile in measured.profiles]
        known: dict[Hashable, Operator] = dict(enumerate(measured.operators))
        by_process = [_seconds(profile, measured.operators) for profile in measured.profiles] if are_told else []
        added = dict.fromkeys(key for times in by_process for key in times if isinstance(key, _Added))
        self.operators = [*known.values(), *added]
        self.seconds = [[times.get(key, 0.0) for times in by_process] for key in (*known, *added)]
        self._processes = len(by_process)
        self._is_profiled = any(profile.profiled_s is not None for profile in measured.profiles)

    def of(self, index: int | None) -> list[float]:
        """The seconds of one operator in each process; 0 where it is not there, none where nothing is told."""
        return [0.0] * self._processes if index is None else self.seconds[index]

    def all_s(self) -> float | None:
        """The seconds of all operators together; None where nothing is told."""
        return sum(map(statistics.median, self.seconds)) if self._processes else None

    def disbelief(self) -> str | None:
        """Why a profiler's times cannot be true: they come to more than the inference takes when nobody looks."""
        together_s, whole_s = self.all_s(), statistics.median(self.latencies_s or [0.0])
        if not self._is_profiled or together_s is None or together_s <= _TOLERANCE * whole_s:
            return None
        took, takes = (format_value(seconds, Unit.SECONDS) for seconds in (together_s, whole_s))
        return (
            f"{self.path}: one inference takes {takes}, but under the profiler its operators took {took} together: "
            "what was timed is the profiler"
        )


def _seconds(profile: ProcessProfile, operators: Sequence[Operator]) -> dict[Hashable, float]:
    """By the operator's position, or by what the runtime added."""
    if profile.prefixes_s:
        ends_s = (0.0, *profile.prefixes_s)
        return {index: end - start for index, (start, end) in enumerate(itertools.pairwise(ends_s))}
    times: dict[Hashable, float] = {}
    for node in profile.operators:
        index = operator_of(node, operators)
        key = _Added(node.name, node.kind) if index is None else index
        times[key] = times.get(key, 0.0) + node.seconds
    return times


def _change(old: _Times, new: _Times, before: int | None, after: int | None) -> OperatorChange:
    one = None if before is None else old.operators[before]
    other = None if after is None else new.operators[after]
    seconds = (old.of(before), new.of(after))
    layers = (old.layers.get(-1 if before is None else before), new.layers.get(-1 if after is None else after))
    is_timed = bool(seconds[0])
    return OperatorChange(
        name=(other or one).name,  # type: ignore[union-attr]  # one of them is there
        layer=layers[1] or layers[0],
        kind_before=one and one.kind,
        kind_after=other and other.kind,
        size_before_bytes=None if one is None else one.size_bytes,
        size_after_bytes=None if other is None else other.size_bytes,
        time_before=_span(seconds[0]) if is_timed and one else None,
        time_after=_span(seconds[1]) if is_timed and other else None,
        time_change=_difference(*seconds) if is_timed else None,
    )


def _span(values: Sequence[float]) -> Span:
    return Span(value=statistics.median(values), low=min(values), high=max(values))


def _difference(before: Sequence[float], after: Sequence[float]) -> Span:
    """The change of the medians; its interval is that of the change from each process to the one run beside it."""
    value = statistics.median(after) - statistics.median(before)
    pairs = [new - old for old, new in zip(before, after, strict=True)]
    return Span(value=value, low=min(value, *pairs), high=max(value, *pairs))


def _file(measured: Measured, times: _Times) -> FileWhy:
    profiled = [profile.profiled_s for profile in measured.profiles if profile.profiled_s is not None]
    together_s = times.all_s()
    return FileWhy(
        path=measured.artifact.path,
        sha256=measured.artifact.sha256,
        size_bytes=measured.artifact.size_bytes,
        structure_bytes=measured.structure_bytes,
        latency=_span(times.latencies_s) if times.latencies_s else None,
        profiled=_span(profiled) if profiled else None,
        outside_s=None if together_s is None else _span(profiled or times.latencies_s).value - together_s,
    )


def _largest_first(changes: Sequence[OperatorChange]) -> tuple[OperatorChange, ...]:
    """By the share of all changed bytes, or of all changes of time that noise cannot explain, whichever is larger."""
    all_bytes = sum(abs(change.size_change_bytes) for change in changes) or 1
    all_s = sum(map(_told_s, changes)) or 1.0

    def share(change: OperatorChange) -> float:
        return max(abs(change.size_change_bytes) / all_bytes, _told_s(change) / all_s)

    return tuple(sorted(changes, key=share, reverse=True))


def _told_s(change: OperatorChange) -> float:
    span = change.time_change
    return abs(span.value) if span is not None and span.is_told_from_zero else 0.0
