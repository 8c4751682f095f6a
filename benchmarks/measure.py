"""Measuring artifacts on targets: latency in fresh processes, interleaved, then the whole evaluation set.

What fails on one artifact or target is a row with its cause; the others go on.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zipfile import BadZipFile

from edgecc import scoring
from edgecc.benchmarks.paired import ENOUGH_S, run_in_turn
from edgecc.benchmarks.payoff import judge_steps
from edgecc.benchmarks.plan import BenchPlan, PlannedPair
from edgecc.benchmarks.regression import LOOKS
from edgecc.benchmarks.results_store import new_run_id
from edgecc.benchmarks.rows import Attempt, RowMaker
from edgecc.benchmarks.scoring import EvaluationSet, load_evaluation, own_metrics, own_score
from edgecc.errors import TargetError
from edgecc.files import writing_to
from edgecc.progress import Progress, Silent, Task
from edgecc.quantization import dequantize
from edgecc.results import Environment, Failure, FailureKind, PairedRun, Results, Row
from edgecc.samples import by_name, sample_count, take
from edgecc.scoring import UserMetric
from edgecc.targets.arrays import read_outputs, write_inputs
from edgecc.targets.target import Target
from edgecc.targets.wire import RUNTIME_OF, InstructionsTask, LatencyTask, OutputsTask, RunRequest

TIMED_SAMPLES = 32
"""How many samples the timed inferences get: the runner goes round no more, and a slow link need not carry them all."""

COUNTING_FACTOR = 10
"""How much longer a process may take in which instructions are counted: its processor is emulated."""


def measure(plan: BenchPlan, targets: Sequence[Target], progress: Progress | None = None) -> Results:
    """Measure every artifact of a plan on every target.

    A target that does not answer, and an artifact that crashes, hangs, runs out of memory or is refused, is a row
    with its Failure.

    Args:
        plan: what to measure, and how much.
        targets: open targets; the caller closes them.
        progress: where to report; silent without it.

    Raises:
        DataError: the evaluation set cannot be read.
        UserCodeError: a metric of the project's own is missing, or its module raised.
        OutputError: the temporary folder cannot be written to.
    """
    started_at, start = datetime.now(UTC), time.monotonic()
    evaluation = None if plan.evaluation is None else load_evaluation(plan.evaluation)
    with (
        tempfile.TemporaryDirectory(prefix="edgecc-bench-") as folder,
        own_metrics(plan.metrics, plan.project_dir) as metrics,
    ):
        bench = _Bench(plan, evaluation, metrics, Path(folder), progress or Silent())
        if evaluation is not None:
            with writing_to(bench.folder):
                write_inputs(bench.samples_path, by_name(evaluation.x))
                write_inputs(bench.timed_samples_path, by_name(take(evaluation.x, slice(TIMED_SAMPLES))))
        measured = [bench.measure_target(target) for target in targets]
    rows = [row for rows, _ in measured for row in rows]
    return Results(
        run_id=new_run_id(started_at),
        project=plan.project,
        started_at=started_at.isoformat(timespec="seconds"),
        duration_s=time.monotonic() - start,
        edgecc_version=importlib.metadata.version("edgecc"),
        git_commit=plan.git_commit,
        evaluation_sha256=None if evaluation is None else evaluation.sha256,
        evaluation_samples=0 if evaluation is None else sample_count(evaluation.x),
        reference_variant=plan.reference_variant,
        metrics=plan.directions,
        rows=tuple(rows),
        steps=judge_steps(plan.steps, rows),
        layers=plan.layers,
        baseline_run_id=plan.baseline_run_id,
        paired=tuple(pair for _, pairs in measured for pair in pairs),
    )


def interleaved(attempts: Sequence[Attempt], processes: int) -> Iterator[Attempt]:
    """A B C, C B A, A B C, ...: a machine that drifts while it is measured drifts for all alike."""
    for index in range(processes):
        yield from attempts if index % 2 == 0 else reversed(attempts)


@dataclass(frozen=True)
class _Bench:
    plan: BenchPlan
    evaluation: EvaluationSet | None
    metrics: tuple[UserMetric, ...]
    folder: Path
    """Scratch space, where samples and raw outputs lie while they are needed."""
    progress: Progress

    @property
    def samples_path(self) -> Path:
        return self.folder / "samples.npy"

    @property
    def timed_samples_path(self) -> Path:
        return self.folder / "timed_samples.npy"

    def measure_target(self, target: Target) -> tuple[list[Row], list[PairedRun]]:
        attempts = [Attempt(subject) for subject in self.plan.subjects]
        paired: list[PairedRun] = []
        environment = None
        try:
            environment = target.probe()
            kinds = (self.evaluation is not None) + target.counts_instructions
            steps = len(attempts) * (self.plan.bench.processes + kinds)
            with self.progress.task(f"measuring on {target.name}", steps) as task:
                self._time(target, attempts, task)
                self._count(target, attempts, task)
                self._score(target, attempts, task)
            for pair in self.plan.pairs:
                if pair.target == target.name:
                    paired.append(self._measure_in_turn(target, pair, environment))  # noqa: PERF401 - kept one by one
        except TargetError as error:
            self._lose(target, attempts, error)
        return RowMaker(self.plan, target, environment, self.evaluation).rows(attempts), paired

    def _measure_in_turn(self, target: Target, pair: PlannedPair, environment: Environment) -> PairedRun:
        name = f"{pair.candidate.variant} ({pair.candidate.artifact.format}) and its baseline on {target.name}"
        budgets = sum(len(each.limits) for each in self.plan.pairs)
        with self.progress.task(f"measuring {name} in turn", 2 * max(LOOKS)) as task:
            return run_in_turn(
                pair,
                lambda attempt: self._time_once(target, attempt, ENOUGH_S),
                budgets=budgets,
                time_limit_s=self.plan.bench.pair_time_limit,
                environment=environment,
                task=task,
            )

    def _lose(self, target: Target, attempts: Sequence[Attempt], error: TargetError) -> None:
        self.progress.note(f"{target.name} was lost: {error.message}")
        for attempt in attempts:
            if attempt.failure is None and not attempt.done:
                attempt.failure = Failure(kind=FailureKind.TARGET_LOST, message=error.message)

    def _time(self, target: Target, attempts: Sequence[Attempt], task: Task) -> None:
        for attempt in interleaved(attempts, self.plan.bench.processes):
            # One failed process condemns the row, so that no number comes from the survivors alone.
            if attempt.failure is None:
                task.describe(f"timing {attempt.variant} ({attempt.format})")
                self._time_once(target, attempt)
            task.advance()

    def _time_once(self, target: Target, attempt: Attempt, enough_s: float | None = None) -> None:
        task = LatencyTask(inferences=self.plan.bench.inferences, enough_s=enough_s, seed=self.plan.seed)
        inputs = None if self.evaluation is None else self.timed_samples_path
        reply = target.run(self._request(target, attempt, task, inputs), timeout_s=self.plan.bench.time_limit)
        attempt.failure = reply.failure
        if reply.process is not None:
            attempt.processes.append(reply.process)
            attempt.logs.append(reply.log)
        elif reply.failure is None:
            attempt.failure = Failure(kind=FailureKind.CRASHED, message="the runner answered without timings")

    def _count(self, target: Target, attempts: Sequence[Attempt], task: Task) -> None:
        for attempt in attempts if target.counts_instructions else ():
            if attempt.failure is None:
                task.describe(f"counting {attempt.variant} ({attempt.format})")
                self._count_once(target, attempt)
            task.advance()

    def _count_once(self, target: Target, attempt: Attempt) -> None:
        """What cannot be counted can still be timed and scored."""
        inputs = None if self.evaluation is None else self.timed_samples_path
        request = self._request(target, attempt, InstructionsTask(seed=self.plan.seed), inputs)
        reply = target.run(request, timeout_s=COUNTING_FACTOR * self.plan.bench.time_limit)
        if reply.failure is not None:
            attempt.instructions = f"{reply.failure.kind.replace('_', ' ')}: {reply.failure.message}"
        else:
            attempt.instructions = reply.instructions or "the target answered without a count"
        attempt.instructions_counter = reply.instructions_counter

    def _score(self, target: Target, attempts: Sequence[Attempt], task: Task) -> None:
        for attempt in attempts:
            if self.evaluation is not None:
                if attempt.failure is None:
                    task.describe(f"scoring {attempt.variant} ({attempt.format})")
                    self._score_once(target, attempt, self.evaluation)
                task.advance()
            attempt.done = True

    def _score_once(self, target: Target, attempt: Attempt, evaluation: EvaluationSet) -> None:
        samples = sample_count(evaluation.x)
        outputs = self.folder / "outputs.npy"
        outputs.unlink(missing_ok=True)
        request = self._request(target, attempt, OutputsTask(), self.samples_path, outputs)
        # In proportion: the limit is for a process that runs `inferences` of them.
        times = max(1.0, samples / self.plan.bench.inferences)
        reply = target.run(request, timeout_s=times * self.plan.bench.time_limit)
        raw = reply.failure or _read_outputs(outputs, samples)
        if isinstance(raw, Failure):
            attempt.failure = raw
            return
        values = [dequantize(*pair) for pair in zip(raw, reply.outputs, strict=True)]
        attempt.classes = scoring.top1(values) if evaluation.is_classification else "the labels are not classes"
        attempt.class_count = scoring.class_count(values)
        attempt.scores = {metric.name: own_score(metric, values, evaluation) for metric in self.metrics}

    def _request(
        self,
        target: Target,
        attempt: Attempt,
        task: LatencyTask | OutputsTask | InstructionsTask,
        inputs: Path | None,
        outputs: Path | None = None,
    ) -> RunRequest:
        subject = attempt.subject
        return RunRequest(
            artifact_path=str(subject.path),
            artifact_sha256=subject.artifact.sha256,
            runtime=RUNTIME_OF[attempt.format],
            num_threads=target.num_threads,
            inputs_path=None if inputs is None else str(inputs),
            shapes=subject.shapes,
            outputs_path=None if outputs is None else str(outputs),
            task=task,
        )


def _read_outputs(path: Path, samples: int) -> tuple[scoring.Array, ...] | Failure:
    try:
        raw = read_outputs(path)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        message = f"the runner wrote no outputs that can be read: {error}"
        return Failure(kind=FailureKind.CRASHED, message=message)
    for output in raw:
        if output.ndim == 0 or len(output) != samples:
            message = f"expected {samples} outputs, one a sample; got {len(output) if output.ndim else 'a scalar'}"
            return Failure(kind=FailureKind.CRASHED, message=message)
    return raw
