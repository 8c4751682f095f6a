"""From what one target did with each artifact to the rows of the results: every metric has a value or a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from edgecc import scoring
from edgecc.artifact import Format
from edgecc.benchmarks import statistics
from edgecc.benchmarks.intervals import with_intervals
from edgecc.benchmarks.plan import BenchPlan, Subject
from edgecc.benchmarks.reference import counterpart
from edgecc.benchmarks.scoring import EvaluationSet
from edgecc.benchmarks.stability import timing_warnings
from edgecc.benchmarks.statistics import Answers
from edgecc.metrics import all_metrics, user_metric
from edgecc.results import Environment, Failure, ProcessSample, Provenance, Row
from edgecc.samples import sample_count
from edgecc.scoring import Classes
from edgecc.targets.noise import noise_warnings
from edgecc.targets.target import Target

_NO_EVALUATION = "no evaluation set was given"


@dataclass
class Attempt:
    """What one target did with one artifact so far."""

    subject: Subject
    processes: list[ProcessSample] = field(default_factory=list)
    classes: Classes | str = _NO_EVALUATION
    """The class of every sample, or why there are none."""
    class_count: int = 0
    failure: Failure | None = None
    done: bool = False
    scores: Mapping[str, float | str] = field(default_factory=dict)
    """By the project's own metric, without `user.`."""
    instructions: tuple[int, ...] | str = (
        'the target was not asked to count: instructions = "callgrind", of the kind x86_cpu'
    )
    """Of single inferences, or why there are none."""
    instructions_counter: str = ""
    operators: Mapping[str, int] = field(default_factory=dict)
    """How many ran where."""
    environment: Environment | None = None
    """Of the last timed process, where the target has an accelerator: its clock is an idle one's before and after."""
    logs: list[str] = field(default_factory=list)
    """What the runner of each process wrote to stderr."""

    @property
    def variant(self) -> str:
        """The artifact's variant."""
        return self.subject.variant

    @property
    def format(self) -> Format:
        """The artifact's format."""
        return self.subject.artifact.format

    @property
    def predictions(self) -> tuple[int, ...]:
        """The class of every sample as the results keep it; empty where there are none."""
        return () if isinstance(self.classes, str) else tuple(self.classes.tolist())


@dataclass(frozen=True)
class RowMaker:
    """Makes the rows of one target."""

    plan: BenchPlan
    target: Target
    environment: Environment | None
    evaluation: EvaluationSet | None

    def rows(self, attempts: Sequence[Attempt]) -> list[Row]:
        """A row for each attempt, failed ones included."""
        return [self._row(attempt, attempts) for attempt in attempts]

    def _row(self, attempt: Attempt, attempts: Sequence[Attempt]) -> Row:
        names = all_metrics(self.plan.directions)
        on_target = self._measured(attempt, attempts) if attempt.failure is None else _failed(attempt.failure, names)
        estimates, unmeasured = statistics.split(on_target | statistics.sizes(attempt.subject.path), names)
        return Row(
            variant=attempt.variant,
            only_for_steps=attempt.subject.only_for_steps,
            artifact=attempt.subject.artifact,
            target=self.target.name,
            target_kind=self.target.kind,
            target_options=self.plan.target_options.get(self.target.name, {}),
            emulated=self._emulated,
            environment=attempt.environment or self.environment,
            runtime=self.target.runtime_of(attempt.format),
            num_threads=self.target.settings.num_threads,
            operators=attempt.operators,
            processes=tuple(attempt.processes),
            instructions=() if isinstance(attempt.instructions, str) else attempt.instructions,
            instructions_counter=attempt.instructions_counter,
            predictions=attempt.predictions,
            estimates=estimates,
            unmeasured=unmeasured,
            failure=attempt.failure,
            warnings=tuple(self._warnings(attempt)),
        )

    def _measured(self, attempt: Attempt, attempts: Sequence[Attempt]) -> Answers:
        provenance = Provenance.EMULATED if self._emulated else Provenance.MEASURED
        accuracy, agreement = self._accuracy(attempt), self._agreement(attempt, attempts)
        samples = len(attempt.predictions)
        answers = {
            **statistics.timings(attempt.processes, provenance),
            **statistics.memory(attempt.processes, provenance),
            "accuracy": statistics.score(accuracy, samples),
            "agreement.top1": statistics.score(agreement, samples),
            **self._own_scores(attempt),
            "instructions": statistics.instructions(attempt.instructions),
        }
        return with_intervals(answers, attempt.processes)

    def _own_scores(self, attempt: Attempt) -> Answers:
        samples = 0 if self.evaluation is None else sample_count(self.evaluation.x)
        scores = {name: attempt.scores.get(name, _NO_EVALUATION) for name in self.plan.metrics}
        return {user_metric(name): statistics.score(score, samples) for name, score in scores.items()}

    @property
    def _emulated(self) -> bool:
        return self.target.emulated or (self.environment is not None and self.environment.emulated)

    def _accuracy(self, attempt: Attempt) -> float | str:
        if isinstance(attempt.classes, str) or self.evaluation is None:
            return str(attempt.classes)
        return scoring.accuracy(attempt.classes, self.evaluation.y, attempt.class_count)

    def _agreement(self, attempt: Attempt, attempts: Sequence[Attempt]) -> float | str:
        if isinstance(attempt.classes, str):
            return attempt.classes
        variant = self.plan.reference_variant
        reference = counterpart(attempts, variant, attempt.format)
        if reference is None:
            return "there is no reference variant to agree with" if variant is None else f"{variant} was not measured"
        name = f"the reference {reference.variant} ({reference.format})"
        if reference.failure is not None:
            return f"{name} failed here: {reference.failure.message}"
        if isinstance(reference.classes, str):
            return f"{name} gave no classes: {reference.classes}"
        return scoring.agreement(attempt.classes, reference.classes)

    def _warnings(self, attempt: Attempt) -> list[str]:
        undefined = _undefined_outputs(attempt.predictions)
        if self._emulated:
            return undefined  # its times are nobody's, however steady
        pinned = "pin" in self.plan.target_options.get(self.target.name, {})
        threads = self.target.settings.num_threads
        environment = attempt.environment or self.environment
        noise = () if environment is None else noise_warnings(environment, threads, pinned=pinned)
        timing = timing_warnings(attempt.processes, self.plan.bench.inferences, attempt.logs)
        return [*noise, *timing, *undefined]


def _undefined_outputs(predictions: tuple[int, ...]) -> list[str]:
    undefined = predictions.count(scoring.NO_CLASS)
    return [f"{undefined} of {len(predictions)} outputs hold NaN and count as wrong"] if undefined else []


def _failed(failure: Failure, names: Iterable[str]) -> Answers:
    return dict.fromkeys(names, f"{failure.kind.replace('_', ' ')}: {failure.message}")
