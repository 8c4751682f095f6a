"""How far the gate can be trusted on a target: how often it cries wolf there, and what it would miss.

One artifact is measured beside itself, and beside itself with a slowdown that is spun inside every timed call. The
processes are recorded, and what the gate says of them is replayed many times through the code that decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgecc.artifact import Record
from edgecc.benchmarks.paired import latency_task
from edgecc.benchmarks.plan import Subject
from edgecc.benchmarks.ratio import ratio_in_turn
from edgecc.benchmarks.replay import Recorded, replay
from edgecc.errors import TargetError
from edgecc.progress import Progress
from edgecc.project import BenchSection
from edgecc.results import Environment, ProcessSample, Ratio, Status
from edgecc.targets.target import Target
from edgecc.targets.wire import Beside, RunRequest

SLOWDOWNS = (0.0, 0.02, 0.05, 0.10)
LIMITS = (0.01, 0.02, 0.05, 0.10)
TRIALS = 300
MIN_PROCESSES = 12
MOST_FALSE_ALARMS, MOST_UNDECIDED, FEWEST_CAUGHT = 0.01, 0.05, 0.90


class Rate(Record):
    """How often something was seen, with the exact 95 % interval of Clopper and Pearson (1934)."""

    count: int
    trials: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share of the trials."""
        return self.count / self.trials


class Answers(Record):
    """What the gate says with one limit where the truth is known."""

    slowdown: float
    """What was spun, as a part of the median latency; 0 is the artifact against itself."""
    limit: float
    fail: Rate
    inconclusive: Rate


class Diagnosis(Record):
    """One target, seen through one artifact."""

    target: str
    environment: Environment
    artifact: str
    latency_p50_s: float
    processes: int
    """Of each arm."""
    pair_time_limit_s: float
    seen_slowdowns: Mapping[str, Ratio]
    """What was measured of each slowdown, over all processes of the recording."""
    answers: tuple[Answers, ...]

    @property
    def honest_limit(self) -> float | None:
        """The smallest limit that hardly ever cries wolf, hardly ever stays undecided, and sees twice itself."""
        return next((limit for limit in LIMITS if self._is_honest(limit)), None)

    def _is_honest(self, limit: float) -> bool:
        own = {each.slowdown: each for each in self.answers if each.limit == limit}
        alone = own[0.0]
        caught = [each.fail.value for slowdown, each in own.items() if slowdown >= 2 * limit]
        return (
            alone.fail.value <= MOST_FALSE_ALARMS
            and alone.inconclusive.value <= MOST_UNDECIDED
            and all(value >= FEWEST_CAUGHT for value in caught)
        )


def diagnose(
    target: Target, subject: Subject, bench: BenchSection, *, time_s: float, seed: int, progress: Progress
) -> Diagnosis:
    """Record for so long, and replay.

    Raises:
        TargetError: the target does not answer, the artifact does not run there, or the time was too short.
    """
    if target.settings.batch_size > 1:
        raise TargetError(f"{target.name}: expected single inferences; `batch_size` is {target.settings.batch_size}")
    recorder = Recorder(target, subject, bench, seed)
    environment = target.probe()
    median_s = float(np.median(recorder.record(0.0).baseline.latencies_s))
    recordings = record_in_turn(recorder, [slowdown * median_s for slowdown in SLOWDOWNS], time_s, progress)
    by_slowdown = dict(zip(SLOWDOWNS, recordings, strict=True))
    if len(recordings[0]) < MIN_PROCESSES:
        raise TargetError(
            f"{target.name}: expected time for {MIN_PROCESSES} processes of each kind; {time_s:g} s were enough for "
            f"{len(recordings[0])}",
            hint="give it a longer --time",
        )
    return Diagnosis(
        target=target.name,
        environment=environment,
        artifact=str(subject.path),
        latency_p50_s=median_s,
        processes=len(recordings[0]),
        pair_time_limit_s=bench.pair_time_limit,
        seen_slowdowns={
            f"{slowdown:.0%}": ratio
            for slowdown, recording in by_slowdown.items()
            if isinstance(ratio := _ratio(recording), Ratio)
        },
        answers=tuple(_answers(by_slowdown, bench.pair_time_limit, seed, progress)),
    )


@dataclass(frozen=True)
class Recorder:
    """Times one artifact beside itself on one target, a fresh process at a time."""

    target: Target
    subject: Subject
    bench: BenchSection
    seed: int

    def record(self, spin_s: float, *, candidate_first: bool = False) -> Recorded:
        """One fresh process; what is spun makes the candidate slower."""
        path, sha256, shapes = str(self.subject.path), self.subject.artifact.sha256, self.subject.shapes
        spins_s = (spin_s, 0.0) if candidate_first else (0.0, spin_s)
        request = RunRequest(
            artifact_path=path,
            artifact_sha256=sha256,
            runtime=self.target.runtime_of(self.subject.artifact.format),
            settings=self.target.settings,
            shapes=shapes,
            task=latency_task(self.target, self.seed, spins_s[0]),
            beside=Beside(artifact_path=path, artifact_sha256=sha256, shapes=shapes, spin_s=spins_s[1]),
        )
        start = time.monotonic()
        reply = self.target.run(request, timeout_s=2 * self.bench.time_limit)
        if reply.process is None or reply.beside is None:
            cause = reply.failure.message if reply.failure else "no timings of both"
            raise TargetError(f"{self.target.name}: {self.subject.path.name} gave no numbers: {cause}")
        processes = (reply.beside, reply.process) if candidate_first else (reply.process, reply.beside)
        return Recorded(*processes, time.monotonic() - start)


def record_in_turn(
    recorder: Recorder, spins_s: Sequence[float], time_s: float, progress: Progress
) -> list[list[Recorded]]:
    """Processes with each spin in turn, forth and back, until the time is spent; as many of each."""
    recordings: list[list[Recorded]] = [[] for _ in spins_s]
    start = time.monotonic()
    with progress.task(f"recording on {recorder.target.name}, {time_s:.0f} s", None) as task:
        while time.monotonic() - start <= time_s:
            order = list(zip(recordings, spins_s, strict=True))
            for recording, spin_s in order if len(recordings[0]) % 2 == 0 else order[::-1]:
                recording.append(recorder.record(spin_s, candidate_first=len(recording) % 2 == 1))
                task.advance()
    return recordings


def _ratio(recording: Sequence[Recorded]) -> Ratio | str:
    baseline, candidate = zip(*((each.baseline, each.candidate) for each in recording), strict=True)
    return ratio_in_turn("latency.p50", baseline, candidate)


def _answers(
    by_slowdown: Mapping[float, Sequence[Recorded]], time_limit_s: float, seed: int, progress: Progress
) -> list[Answers]:
    cases = [(slowdown, limit) for limit in LIMITS for slowdown in SLOWDOWNS if slowdown == 0 or slowdown > limit]
    found = []
    with progress.task("replaying", len(cases)) as task:
        short = {slowdown: by_medians(recording) for slowdown, recording in by_slowdown.items()}
        for slowdown, limit in cases:
            random = np.random.default_rng(seed)
            said = [replay(short[slowdown], limit, time_limit_s=time_limit_s, random=random) for _ in range(TRIALS)]
            fail, undecided = (said.count(status) for status in (Status.FAIL, Status.INCONCLUSIVE))
            found.append(
                Answers(slowdown=slowdown, limit=limit, fail=rate(fail, TRIALS), inconclusive=rate(undecided, TRIALS))
            )
            task.advance()
    return found


def by_medians(recording: Sequence[Recorded]) -> list[Recorded]:
    """The same with the median of each process for its latencies: all that is judged here, and quicker to draw."""
    return [Recorded(_by_median(each.baseline), _by_median(each.candidate), each.duration_s) for each in recording]


def _by_median(process: ProcessSample) -> ProcessSample:
    return process.model_copy(update={"latencies_s": (float(np.median(process.latencies_s)),)})


def rate(count: int, trials: int) -> Rate:
    """A share of trials with its exact interval."""
    from scipy import stats

    interval = stats.binomtest(count, trials).proportion_ci(confidence_level=0.95, method="exact")
    return Rate(count=count, trials=trials, low=float(interval.low), high=float(interval.high))
