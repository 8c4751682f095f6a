"""Measures today's artifact and the baseline's side by side until it is known which budgets are kept.

One fresh process of each runs at a time, and their inferences take turns, block by block: whatever the machine does
meanwhile, it does to both. Which of the two begins alternates from run to run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from edgecc.benchmarks.plan import PlannedPair
from edgecc.benchmarks.ratio import pairs_needed, ratio_in_turn
from edgecc.benchmarks.regression import LOOKS, confidence_for, judge
from edgecc.benchmarks.rows import Attempt
from edgecc.progress import Task
from edgecc.results import Environment, Failure, PairedRun, Ratio, Status
from edgecc.targets.target import Target
from edgecc.targets.wire import LatencyTask

INFERENCES, ENOUGH_S = 1000, 1.0
"""How many inferences a process times, and how long at most: more processes tell more than longer ones do, until their
starts cost more than their inferences."""

LOADS = 5
"""Over how many loads of the model they are spread: where a small model lies in memory is most of what makes one
process slower than another, and a load costs less than a process."""

TimeOnce = Callable[[Attempt], None]
"""Times an artifact in one fresh process: the attempt gets a process more, or a failure."""
TimeBoth = Callable[[Attempt, Attempt], Failure | None]
"""Times two artifacts side by side, the first one beginning: both attempts get a process more, or neither does and the
failure says why."""


def latency_task(target: Target, seed: int, spin_s: float | None = None) -> LatencyTask:
    """What is asked of two artifacts side by side."""
    return LatencyTask(
        inferences=INFERENCES,
        enough_s=ENOUGH_S,
        loads=LOADS,
        cold_caches=target.cold_caches,
        seed=seed,
        spin_s=spin_s,
    )


def run_side_by_side(
    pair: PlannedPair,
    time_both: TimeBoth,
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
        time_both: measures one process of each; not called any more after a failure.
        time_once: measures either alone, to tell which of the two has failed.
        budgets: how many the bench decides in all.
        time_limit_s: no process is started after so long.
        environment: where it runs.
        task: gets a step for each process of either.
        clock: in seconds.
    """
    start = clock()
    baseline, candidate = attempts = Attempt(pair.baseline), Attempt(pair.candidate)
    answers: dict[str, Ratio | str] = {}
    for index in range(max(LOOKS)):
        failure = time_both(*(attempts if index % 2 == 0 else reversed(attempts)))
        task.advance()
        if failure is not None:
            answers = dict.fromkeys(pair.limits, _blamed(pair, time_once, failure))
            break
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


def _blamed(pair: PlannedPair, time_once: TimeOnce, failure: Failure) -> str:
    """Which of the two does not run alone either; a process that died does not tell."""
    for subject, whose in ((pair.baseline, "the baseline"), (pair.candidate, "today's artifact")):
        alone = Attempt(subject)
        time_once(alone)
        if alone.failure is not None:
            return f"{whose} gave no numbers: {alone.failure.message}"
    return f"the baseline and today's artifact run alone, and gave no numbers side by side: {failure.message}"


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
