"""What about the processes of one artifact makes its latency hard to trust, in sentences that say what to do.

A thing is named only where it is large (`SLOW_PROCESS_RATIO`, `RISE`, `LEVELS_RATIO`), so that what noise alone does
is passed over in silence, and everything compares medians, so that single slow inferences count for nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgecc.results import ProcessSample
from edgecc.units import Unit, format_value

Array = npt.NDArray[np.float64]
SLOW_PROCESS_RATIO = 1.2
RISE = 0.05
"""By how much latencies must rise from the first to the last before it is called a drift."""
RISE_P_VALUE = 0.01
LEVELS_RATIO = 1.05
"""How far apart two levels must be."""
LEVEL_SHARE = 0.15
"""The least part of a process's inferences that makes a level; fewer are outliers."""
LEVELS_SEPARATION = 5.0
"""How far apart two levels must be in their own spreads. A normal distribution cut in two has 2.7, a flat one 3.5."""
_BLOCKS = 20
_MIN_LATENCIES = 2 * _BLOCKS
_MIN_TREND = 5
"""Of fewer values even those that all rise may do so by chance."""
_NOT_SETTLED = "warm-up: no two blocks in a row"
"""What the runner says in its log."""
_FIX_CLOCK = "`sudo cpupower frequency-set -g performance` holds the clock"


@dataclass(frozen=True)
class Levels:
    """Two latencies between which a process went to and fro."""

    low_s: float
    high_s: float
    share_high: float
    """The part of its inferences that took the longer time."""


def timing_warnings(processes: Sequence[ProcessSample], inferences: int, logs: Sequence[str] = ()) -> list[str]:
    """One sentence for each trouble of the processes of one artifact, in the order in which they ran.

    Args:
        processes: what was timed.
        inferences: how many each was asked for.
        logs: what the runners of these processes wrote to stderr.
    """
    return [
        *_slow_processes(processes),
        *_rise_within(processes),
        *_rise_between(processes),
        *_two_levels(processes),
        *_not_settled(logs),
        *_short_processes(processes, inferences),
    ]


def rise(values: Sequence[float]) -> float | None:
    """By which part values rise from the first to the last: 0.1 for 10 %; None where it is little, or may be chance.

    The size is Theil and Sen's slope (Sen 1968, JASA 63:324), the test Mann and Kendall's, one-sided (Mann 1945,
    "Nonparametric Tests Against Trend", Econometrica 13:3).
    """
    if len(values) < _MIN_TREND:
        return None
    y, last = np.asarray(values), len(values) - 1
    early, late = np.triu_indices(len(y), 1)
    total = last * float(np.median((y[late] - y[early]) / (late - early)))
    first = float(np.median(y)) - total / 2
    if total <= RISE * first:
        return None
    from scipy import stats

    is_chance = stats.kendalltau(np.arange(len(y)), y, alternative="greater").pvalue >= RISE_P_VALUE
    return None if is_chance else total / first


def two_levels(latencies_s: Sequence[float]) -> Levels | None:
    """The two levels of one process's latencies; None where there is one.

    The logarithms are cut in two where the parts' squared deviations are least (Otsu 1979, IEEE Transactions on
    Systems, Man, and Cybernetics 9:1), the outermost 5 % drawn in. The parts are levels if Ashman's D (Ashman, Bird
    and Zepf 1994, The Astronomical Journal 108:6) of their medians and median absolute deviations is large.
    """
    if len(latencies_s) < _MIN_LATENCIES or min(latencies_s) <= 0:
        return None
    logs = np.sort(np.log(latencies_s))
    cut = _best_cut(np.clip(logs, *np.quantile(logs, [0.05, 0.95])), math.ceil(LEVEL_SHARE * len(logs)))
    parts = logs[:cut], logs[cut:]
    low, high = (float(np.median(part)) for part in parts)
    spread = math.hypot(*(1.4826 * float(np.median(np.abs(part - np.median(part)))) for part in parts))
    if high - low < math.log(LEVELS_RATIO) or math.sqrt(2) * (high - low) < LEVELS_SEPARATION * spread:
        return None
    return Levels(math.exp(low), math.exp(high), 1 - cut / len(logs))


def _best_cut(values: Array, least: int) -> int:
    """Where to cut sorted values in two, at least so many on either side."""
    cuts = np.arange(least, len(values) - least + 1)
    sums = np.cumsum(values)
    between = sums[cuts - 1] ** 2 / cuts + (sums[-1] - sums[cuts - 1]) ** 2 / (len(values) - cuts)
    return int(cuts[np.argmax(between)])


def _slow_processes(processes: Sequence[ProcessSample]) -> Iterable[str]:
    for index, process in enumerate(processes):
        others = [value for other in processes if other is not process for value in other.latencies_s]
        if not others or not process.latencies_s:
            continue
        own, usual = statistics.median(process.latencies_s), statistics.median(others)
        if own > SLOW_PROCESS_RATIO * usual:
            yield (
                f"process {index + 1} of {len(processes)} was slow throughout: median "
                f"{_seconds(own)}, the others' {_seconds(usual)}; raise `bench.processes`, so that one counts for "
                "little, and where it comes back stop other work, or give the target cores of its own"
            )


def _rise_within(processes: Sequence[ProcessSample]) -> Iterable[str]:
    rises = [rise([float(np.median(block)) for block in _blocks(process)]) for process in processes]
    large = [value for value in rises if value is not None]
    if large and 2 * len(large) >= len(processes):
        yield (
            f"latencies rose while {_counted(len(large), processes)} ran, by {_percent(statistics.median(large))} from "
            "the first to the last: the device warms up and throttles; cool it, and fix a clock that it can hold "
            f"({_FIX_CLOCK})"
        )


def _rise_between(processes: Sequence[ProcessSample]) -> Iterable[str]:
    value = rise([statistics.median(process.latencies_s) for process in processes if process.latencies_s])
    if value is not None:
        yield (
            f"latencies rose from process to process, by {_percent(value)} from the first to the last: the device "
            f"warms up and throttles, or other work grew; cool it, fix its clock ({_FIX_CLOCK}), and bench again"
        )


def _two_levels(processes: Sequence[ProcessSample]) -> Iterable[str]:
    found = [levels for process in processes if (levels := two_levels(process.latencies_s))]
    if found:
        levels = found[0]
        yield (
            f"{_counted(len(found), processes)} ran at two levels, such as {_percent(levels.share_high)} of the "
            f"inferences near {_seconds(levels.high_s)} and the others near {_seconds(levels.low_s)}: the clock "
            f"switched, or a neighbour was busy; fix the clock ({_FIX_CLOCK}), and stop other work"
        )


def _not_settled(logs: Sequence[str]) -> Iterable[str]:
    count = sum(_NOT_SETTLED in log for log in logs)
    if count:
        yield (
            f"the warm-up of {_counted(count, logs)} never settled, and timing began all the same; stop other work and "
            f"fix the clock ({_FIX_CLOCK})"
        )


def _short_processes(processes: Sequence[ProcessSample], inferences: int) -> Iterable[str]:
    for index, process in enumerate(processes):
        if len(process.latencies_s) < inferences:
            yield (
                f"process {index + 1} of {len(processes)} timed {len(process.latencies_s)} inferences; "
                f"{inferences} were asked for"
            )


def _blocks(process: ProcessSample) -> list[Array]:
    """Its latencies in order, in blocks of at least 2; none where there are too few."""
    values = np.asarray(process.latencies_s)
    return np.array_split(values, _BLOCKS) if len(values) >= _MIN_LATENCIES else []


def _counted(count: int, of: Sequence[object]) -> str:
    return f"{count} of {len(of)} processes"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _seconds(value: float) -> str:
    return format_value(value, Unit.SECONDS)
