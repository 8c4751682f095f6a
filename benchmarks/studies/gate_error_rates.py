"""How often the gate is wrong, beside what people use instead, on the same recordings.

    python benchmarks/studies/gate_error_rates.py [MINUTES] [FOLDER] [LIVE_PAIRS]

Three untrained networks of about 10 µs, 0.5 ms and 10 ms are recorded for so many minutes each, on a quiet machine and
beside a busy process: beside themselves, and with 2 and 5 % spun inside every timed call. The recordings are replayed
1,000 times through the code that decides, with max_regression = "1 %" and 60 s for a pair; then LIVE_PAIRS benches of
the smallest are run for real. A second run in the same FOLDER replays what was recorded.

The others measure one artifact after the other. So what they get for the candidate ran after what they get for the
baseline.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edgecc.artifact import describe_file
from edgecc.benchmarks.doctor import MIN_PROCESSES, Recorder, by_medians, rate, record_in_turn
from edgecc.benchmarks.paired import run_side_by_side
from edgecc.benchmarks.plan import PlannedPair, Subject
from edgecc.benchmarks.regression import judge
from edgecc.benchmarks.replay import BLOCK, Recorded, replay
from edgecc.benchmarks.rows import Attempt
from edgecc.cli.console import TerminalProgress
from edgecc.progress import Progress, Silent
from edgecc.project import BenchSection, TargetSpec
from edgecc.results import ProcessSample, Status
from edgecc.targets.registry import open_target

LIMIT, TIME_LIMIT_S, TRIALS = 0.01, 60.0, 1000
ARMS = {"itself": 0.0, "2 % slower": 0.02, "5 % slower": 0.05}
Values = Sequence[Sequence[float]]


def networks(folder: Path) -> list[Path]:
    """Untrained, since only their time matters."""
    paths = [folder / f"{name}.tflite" for name in ("10us", "500us", "10ms")]
    if all(path.is_file() for path in paths):
        return paths
    import keras
    import tensorflow as tf

    def plain(*filters: int) -> keras.Model:
        layers = [keras.layers.Conv2D(each, 3, strides=2, activation="relu") for each in filters]
        return keras.Sequential([keras.Input((28, 28, 1)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)])

    wide = [keras.layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(2)]
    middle = keras.Sequential([keras.Input((24, 24, 1)), *wide, keras.layers.Flatten(), keras.layers.Dense(10)])
    large = keras.applications.MobileNetV2(weights=None)
    for path, model in zip(paths, (plain(8, 16), middle, large), strict=True):
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    return paths


@contextlib.contextmanager
def busy_neighbour() -> Iterator[None]:
    """A process that never rests."""
    process = multiprocessing.Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def recordings(
    path: Path, folder: Path, *, busy: bool, minutes: float, progress: Progress
) -> dict[str, list[Recorded]]:
    """By slowdown."""
    file = folder / f"{path.stem}-{'busy' if busy else 'quiet'}.json"
    if not file.is_file():
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(open_target("host", TargetSpec.model_validate({"kind": "x86_cpu"})))
            if busy:
                stack.enter_context(busy_neighbour())
            recorder = Recorder(target, Subject(path.stem, path, describe_file(path)), BenchSection(), 0)
            median_s = float(np.median(recorder.record(0.0).baseline.latencies_s))
            recorded = record_in_turn(recorder, [median_s * part for part in ARMS.values()], 60 * minutes, progress)
        file.write_text(json.dumps([[_stored(each) for each in recording] for recording in recorded]))
    stored = json.loads(file.read_text())
    return dict(zip(ARMS, [[_restored(*each) for each in recording] for recording in stored], strict=True))


def _stored(recorded: Recorded) -> tuple[Sequence[float], Sequence[float], float]:
    return recorded.baseline.latencies_s, recorded.candidate.latencies_s, recorded.duration_s


def _restored(baseline: Sequence[float], candidate: Sequence[float], duration_s: float) -> Recorded:
    return Recorded(_process(baseline), _process(candidate), duration_s)


def _process(latencies_s: Sequence[float]) -> ProcessSample:
    return ProcessSample(
        latencies_s=tuple(latencies_s), warmups=0, load_cold_s=0, load_warm_s=0, memory_peak_bytes=None
    )


def fixed_percentage(percentile: float) -> Callable[[Values, Values], bool]:
    """Five processes of each, all values together, and a fixed limit of 10 %."""
    return lambda before, after: bool(
        np.percentile(np.concatenate(after), percentile) > 1.1 * np.percentile(np.concatenate(before), percentile)
    )


def pytest_benchmark(before: Values, after: Values) -> bool:
    """`--benchmark-compare-fail=mean:1%`: one process of each, as pytest runs them, and their means."""
    return bool(np.mean(after[0]) > (1 + LIMIT) * np.mean(before[0]))


def asv(before: Values, after: Values) -> bool:
    """The test of asv: Mann and Whitney's on all values (p < 0.002) and a factor of 1.01 between the medians."""
    from scipy import stats

    old, new = np.concatenate(before), np.concatenate(after)
    differs = stats.mannwhitneyu(old, new).pvalue < 0.002
    return bool(differs and np.median(new) > (1 + LIMIT) * np.median(old))


OTHERS = {
    "p50, fixed +10 %": fixed_percentage(50),
    "p99, fixed +10 %": fixed_percentage(99),
    "pytest-benchmark mean:1%": pytest_benchmark,
    "asv, factor 1.01": asv,
}


def alarms(test: Callable[[Values, Values], bool], recording: list[Recorded]) -> int:
    """How often another test says slower, on five processes of the baseline, each with the candidate's next one."""
    random = np.random.default_rng(0)
    count = 0
    for _ in range(TRIALS):
        start = random.integers(0, len(recording))
        chosen = [recording[(start + step) % len(recording)] for step in range(BLOCK + 2)]
        before = [each.baseline.latencies_s for each in chosen[:-1]]
        count += test(before, [each.candidate.latencies_s for each in chosen[1:]])
    return count


def told(count: int, trials: int = TRIALS) -> str:
    """A share with its exact bounds."""
    found = rate(count, trials)
    return f"{found.value:6.1%} ({found.low:.1%} to {found.high:.1%})"


def main(minutes: float, folder: Path, live_pairs: int) -> None:
    with TerminalProgress() as progress:
        paths = networks(folder)
        for busy in (False, True):
            for path in paths:
                _tell(path.stem, busy, recordings(path, folder, busy=busy, minutes=minutes, progress=progress))
        _run_live(paths[0], live_pairs)


def _tell(name: str, busy: bool, recorded: dict[str, list[Recorded]]) -> None:
    itself = recorded["itself"]
    if len(itself) < MIN_PROCESSES:
        raise SystemExit(f"{name}: {len(itself)} processes of each were recorded; give it more MINUTES")
    median_us = 1e6 * np.median([np.median(each.baseline.latencies_s) for each in itself])
    where = "beside a busy process" if busy else "quiet"
    print(f"\n{name}, {where}: p50 {median_us:.1f} µs, {len(itself)} processes of each recorded")
    print(f"  {'':26s} {'against':12s} {'fail':26s} inconclusive")
    for arm, recording in recorded.items():
        random, medians = np.random.default_rng(0), by_medians(recording)
        said = [replay(medians, LIMIT, time_limit_s=TIME_LIMIT_S, random=random) for _ in range(TRIALS)]
        counts = [told(said.count(status)) for status in (Status.FAIL, Status.INCONCLUSIVE)]
        print(f"  {'edgecc max_regression 1 %':26s} {arm:12s} {counts[0]:26s} {counts[1]}")
    for other, test in OTHERS.items():
        for arm, recording in recorded.items():
            print(f"  {other:26s} {arm:12s} {told(alarms(test, recording))}")


def _run_live(path: Path, pairs: int) -> None:
    """Benches of an artifact against itself, and against itself 5 % slower, for real."""
    subject = Subject(path.stem, path, describe_file(path))
    with open_target("host", TargetSpec.model_validate({"kind": "x86_cpu"})) as target:
        recorder = Recorder(target, subject, BenchSection(), 0)
        median_s = float(np.median(recorder.record(0.0).baseline.latencies_s))
        for slowdown in (0.0, 0.05) if pairs else ():
            said = [_live(recorder, subject, slowdown * median_s) for _ in range(pairs)]
            fail, undecided = (told(said.count(status), pairs) for status in (Status.FAIL, Status.INCONCLUSIVE))
            print(f"\nlive, {path.stem}, {slowdown:.0%} slower: fail {fail}, inconclusive {undecided}")


def _live(recorder: Recorder, subject: Subject, spin_s: float) -> Status:
    def time_both(first: Attempt, second: Attempt) -> None:
        recorded = recorder.record(spin_s, candidate_first=first.variant == "new")
        for attempt in (first, second):
            attempt.processes.append(recorded.baseline if attempt.variant == "old" else recorded.candidate)

    old, new = (Subject(name, subject.path, subject.artifact) for name in ("old", "new"))
    with Silent().task("", None) as task:
        paired = run_side_by_side(
            PlannedPair("host", old, new, {"latency.p50": LIMIT}),
            time_both,
            lambda _: None,
            budgets=1,
            time_limit_s=TIME_LIMIT_S,
            environment=None,
            task=task,
        )
    ratio = paired.ratios.get("latency.p50")
    return Status.INCONCLUSIVE if ratio is None else judge("latency.p50", ratio, LIMIT)


if __name__ == "__main__":
    work = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="edgecc-gate-"))
    work.mkdir(parents=True, exist_ok=True)
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 5.0,
        work.resolve(),
        int(sys.argv[3]) if len(sys.argv) > 3 else 30,
    )
