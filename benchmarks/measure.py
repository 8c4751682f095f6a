"""Measuring artifacts on targets: latency in fresh processes, interleaved, then the whole evaluation set.

What fails on one artifact or target is a row with its cause; the others go on.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock
from zipfile import BadZipFile

from edgecc import scoring
from edgecc.benchmarks.paired import latency_task, run_side_by_side
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
from edgecc.targets.wire import Beside, InstructionsTask, LatencyTask, OutputsTask, RunReply, RunRequest

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
        targets: open targets; the caller closes them. Those of different devices are measured side by side.
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
        measured = _side_by_side(bench, targets)
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


def _side_by_side(bench: _Bench, targets: Sequence[Target]) -> list[tuple[list[Row], list[PairedRun]]]:
    """What each target gave, in their order: a thread for each device, and its targets one after the other."""
    by_device: dict[str, list[int]] = {}
    for index, target in enumerate(targets):
        by_device.setdefault(target.device, []).append(index)
    measured: dict[int, tuple[list[Row], list[PairedRun]]] = {}

    def measure_device(device: str) -> None:
        for index in by_device[device]:
            measured[index] = bench.measure_target(targets[index])

    if len(by_device) == 1:
        measure_device(targets[0].device)
    else:
        with ThreadPoolExecutor(max_workers=len(by_device), thread_name_prefix="device") as pool:
            try:
                deque(pool.map(measure_device, by_device), maxlen=0)
            except BaseException:
                # Interrupted, or one failed: the others are not waited for longer than the process they wait for.
                bench.stopped.set()
                for target in targets:
                    target.close()
                raise
    return [measured[index] for index in range(len(targets))]


@dataclass(frozen=True)
class _Bench:
    plan: BenchPlan
    evaluation: EvaluationSet | None
    metrics: tuple[UserMetric, ...]
    folder: Path
    """Scratch space, where samples and raw outputs lie while they are needed."""
    progress: Progress
    stopped: Event = field(default_factory=Event)
    scoring_lock: Lock = field(default_factory=Lock)
    """The project's own metrics need not be made for threads."""

    @property
    def samples_path(self) -> Path:
        return self.folder / "samples.npy"

    @property
    def timed_samples_path(self) -> Path:
        return self.folder / "timed_samples.npy"

    @property
    def _timed_inputs(self) -> Path | None:
        return None if self.evaluation is None else self.timed_samples_path

    def measure_target(self, target: Target) -> tuple[list[Row], list[PairedRun]]:
        attempts = [Attempt(subject) for subject in self.plan.subjects]
        paired: list[PairedRun] = []
        environment = None
        try:
            if holder := target.held_by():
                self.progress.note(f"{target.name}: {holder}; the two take turns")
            environment = target.probe()
            steps = len(attempts) * self._steps(target)
            with self.progress.task(f"measuring on {target.name}", steps) as task:
                self._time(target, attempts, task)
                self._count(target, attempts, task)
                self._score(target, attempts, task)
            has_clock = "latency" in target.abilities and not (target.emulated or environment.emulated)
            for pair in self.plan.pairs:
                if pair.target == target.name and has_clock:
                    paired.append(self._beside_baseline(target, pair, environment))  # noqa: PERF401 - kept one by one
        except TargetError as error:
            self._lose(target, attempts, error)
        return RowMaker(self.plan, target, environment, self.evaluation).rows(attempts), paired

    def _steps(self, target: Target) -> int:
        """Of the progress bar, for each artifact."""
        once = {"latency": self.plan.bench.processes, "outputs": int(self.evaluation is not None), "instructions": 1}
        return sum(once.get(ability, 0) for ability in target.abilities)

    def _beside_baseline(self, target: Target, pair: PlannedPair, environment: Environment) -> PairedRun:
        name = f"{pair.candidate.variant} ({pair.candidate.artifact.format}) beside its baseline on {target.name}"
        budgets = sum(len(each.limits) for each in self.plan.pairs)
        with self.progress.task(f"measuring {name}", max(LOOKS)) as task:
            return run_side_by_side(
                pair,
                lambda first, second: self._time_both(target, first, second),
                lambda attempt: self._time_once(target, attempt),
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
        if "latency" not in target.abilities:
            return
        for attempt in interleaved(attempts, self.plan.bench.processes):
            # One failed process condemns the row, so that no number comes from the survivors alone.
            if attempt.failure is None:
                task.describe(f"timing {attempt.variant} ({attempt.format})")
                self._time_once(target, attempt)
            task.advance()

    def _time_once(self, target: Target, attempt: Attempt) -> None:
        inferences, seed = self.plan.bench.inferences, self.plan.seed
        task = LatencyTask(inferences=inferences, cold_caches=target.cold_caches, seed=seed)
        request = self._request(target, attempt, task, self._timed_inputs)
        reply = self._run(target, request, self.plan.bench.time_limit)
        attempt.failure = reply.failure
        if reply.process is not None:
            attempt.operators = reply.operators
            if reply.environment is not None and reply.environment.accelerator is not None:
                attempt.environment = reply.environment
            attempt.processes.append(reply.process)
            attempt.logs.append(reply.log)
        elif reply.failure is None:
            attempt.failure = Failure(kind=FailureKind.CRASHED, message="the runner answered without timings")

    def _time_both(self, target: Target, first: Attempt, second: Attempt) -> Failure | None:
        subject = second.subject
        task = latency_task(target, self.plan.seed)
        beside = Beside(artifact_path=str(subject.path), artifact_sha256=subject.artifact.sha256, shapes=subject.shapes)
        request = self._request(target, first, task, self._timed_inputs).model_copy(update={"beside": beside})
        reply = self._run(target, request, 2 * self.plan.bench.time_limit)
        if reply.failure is not None:
            return reply.failure
        if reply.process is None or reply.beside is None:
            return Failure(kind=FailureKind.CRASHED, message="the runner answered without timings of both")
        first.processes.append(reply.process)
        second.processes.append(reply.beside)
        return None

    def _count(self, target: Target, attempts: Sequence[Attempt], task: Task) -> None:
        if "instructions" not in target.abilities:
            return
        counted = [attempt for attempt in attempts if attempt.failure is None]
        instructions = InstructionsTask(seed=self.plan.seed)
        requests = [self._request(target, attempt, instructions, self._timed_inputs) for attempt in counted]
        task.describe("counting instructions")
        replies = target.run_all(requests, timeout_s=COUNTING_FACTOR * self.plan.bench.time_limit)
        for attempt, reply in zip(counted, replies, strict=True):
            _keep_count(attempt, reply)
            task.advance()
        task.advance(len(attempts) - len(counted))

    def _score(self, target: Target, attempts: Sequence[Attempt], task: Task) -> None:
        for attempt in attempts:
            if "outputs" not in target.abilities:
                attempt.classes = "the target runs no evaluation set"
            elif self.evaluation is not None:
                if attempt.failure is None:
                    task.describe(f"scoring {attempt.variant} ({attempt.format})")
                    self._score_once(target, attempt, self.evaluation)
                task.advance()
            attempt.done = True

    def _score_once(self, target: Target, attempt: Attempt, evaluation: EvaluationSet) -> None:
        samples = sample_count(evaluation.x)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            outputs = Path(folder) / "outputs.npy"
            request = self._request(target, attempt, OutputsTask(), self.samples_path, outputs)
            # In proportion: the limit is for a process that runs `inferences` of them.
            times = max(1.0, samples / self.plan.bench.inferences)
            reply = self._run(target, request, times * self.plan.bench.time_limit)
            raw = reply.failure or _read_outputs(outputs, samples)
        if isinstance(raw, Failure):
            attempt.failure = raw
            return
        values = [dequantize(*pair) for pair in zip(raw, reply.outputs, strict=True)]
        attempt.classes = scoring.top1(values) if evaluation.is_classification else "the labels are not classes"
        attempt.class_count = scoring.class_count(values)
        with self.scoring_lock:
            attempt.scores = {metric.name: own_score(metric, values, evaluation) for metric in self.metrics}

    def _run(self, target: Target, request: RunRequest, timeout_s: float) -> RunReply:
        if self.stopped.is_set():
            raise TargetError(f"{target.name}: measuring was stopped")
        return target.run(request, timeout_s=timeout_s)

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
            runtime=target.runtime_of(attempt.format),
            settings=target.settings,
            inputs_path=None if inputs is None else str(inputs),
            shapes=subject.shapes,
            outputs_path=None if outputs is None else str(outputs),
            task=task,
        )


def _keep_count(attempt: Attempt, reply: RunReply) -> None:
    """What cannot be counted can still be timed and scored."""
    if reply.failure is not None:
        attempt.instructions = f"{reply.failure.kind.replace('_', ' ')}: {reply.failure.message}"
    else:
        attempt.instructions = reply.instructions or "the target answered without a count"
        attempt.operators = attempt.operators or reply.operators
    attempt.instructions_counter = reply.instructions_counter


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
