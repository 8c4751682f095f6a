"""Measures today's artifact and the baseline's in turn, A B B A ..., until it is known which budgets are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgecc.benchmarks.plan import PlannedPair
from edgecc.benchmarks.ratio import pairs_needed, ratio_in_turn
from edgecc.benchmarks.regression import LOOKS, confidence_for, judge
from edgecc.benchmarks.rows import Attempt
from edgecc.progress import Task
from edgecc.results import Environment, PairedRun, Ratio, Status

ENOUGH_S = 0.5
"""How long one process times inferences: more processes tell more than longer ones do."""

LOADS = 5
"""Over how many loads of the model they are spread: where a small model lies in memory is most of what makes one
process slower than another, and a load costs less than a process."""

TimeOnce = Callable[[Attempt], None]
"""Times an artifact in one fresh process: the attempt gets a process more, or a failure."""


def run_in_turn(
    pair: PlannedPair,
    time_once: TimeOnce,
    *,
    budgets: int,
    time_limit_s: float,
    environment: Environment | None,
    task: Task,
    clock: Callable[[], float] = time.monotonic,
) -> PairedRun:
    """Measure a pair until every limit is known to be kept or broken, or the time is spent.

    Args:
        pair: the two artifacts, and by how much the one may be worse than the other.
        time_once: measures one process; not called any more after a failure.
        budgets: how many the bench decides in all.
        time_limit_s: no process is started after so long.
        environment: where it runs.
        task: gets a step for each process.
        clock: in seconds.
    """
    start = clock()
    baseline, candidate = attempts = Attempt(pair.baseline), Attempt(pair.candidate)
    answers: dict[str, Ratio | str] = {}
    for index in range(max(LOOKS)):
        for attempt in attempts if index % 2 == 0 else reversed(attempts):
            time_once(attempt)
            task.advance()
            if attempt.failure is not None:
                whose = "the baseline" if attempt is baseline else "today's artifact"
                answers = dict.fromkeys(pair.limits, f"{whose} gave no numbers: {attempt.failure.message}")
                return _paired(pair, attempts, environment, answers, clock() - start)
        is_last = clock() - start >= time_limit_s or index + 1 == max(LOOKS)
        confidence = confidence_for(budgets, is_last=is_last)
        if is_last or (index + 1 in LOOKS and index + 1 >= pairs_needed(confidence)):
            answers = {
                metric: ratio_in_turn(metric, baseline.processes, candidate.processes, confidence)
                for metric in pair.limits
            }
            if is_last or not any(_is_open(metric, answers[metric], limit) for metric, limit in pair.limits.items()):
                break
    return _paired(pair, attempts, environment, answers, clock() - start)


def _is_open(metric: str, answer: Ratio | str, limit: float) -> bool:
    return isinstance(answer, Ratio) and judge(metric, answer, limit) is Status.INCONCLUSIVE


def _paired(
    pair: PlannedPair,
    attempts: tuple[Attempt, Attempt],
    environment: Environment | None,
    answers: Mapping[str, Ratio | str],
    duration_s: float,
) -> PairedRun:
    baseline, candidate = attempts
    return PairedRun(
        variant=pair.candidate.variant,
        format=pair.candidate.artifact.format,
        target=pair.target,
        baseline=pair.baseline.artifact,
        candidate=pair.candidate.artifact,
        environment=environment,
        ratios={metric: answer for metric, answer in answers.items() if isinstance(answer, Ratio)},
        unmeasured={metric: answer for metric, answer in answers.items() if isinstance(answer, str)},
        baseline_processes=tuple(baseline.processes),
        candidate_processes=tuple(candidate.processes),
        duration_s=duration_s,
    )
