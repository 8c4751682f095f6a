"""How often the gate is wrong, beside what people use instead, on the same recordings.

    python benchmarks/studies/gate_error_rates.py [MINUTES] [FOLDER] [LIVE_PAIRS]

Three untrained networks of about 10 µs, 0.5 ms and 10 ms are recorded for so many minutes each, on a quiet machine and
beside a busy process: against themselves, and with 2 and 5 % spun inside every timed call. The recordings are replayed
1,000 times through the code that decides, with max_regression = "1 %" and 60 s for a pair; then LIVE_PAIRS benches of
the smallest are run for real. A second run in the same FOLDER replays what was recorded.
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
from edgecc.benchmarks.doctor import MIN_PROCESSES, Recorder, rate, record_in_turn
from edgecc.benchmarks.paired import run_in_turn
from edgecc.benchmarks.plan import PlannedPair, Subject
from edgecc.benchmarks.regression import judge
from edgecc.benchmarks.replay import BLOCK, Recorded, replay
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
    """Of each arm, and of the artifact alone, as `baseline`."""
    file = folder / f"{path.stem}-{'busy' if busy else 'quiet'}.json"
    if not file.is_file():
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(open_target("host", TargetSpec.model_validate({"kind": "x86_cpu"})))
            if busy:
                stack.enter_context(busy_neighbour())
            recorder = Recorder(target, Subject(path.stem, path, describe_file(path)), BenchSection(), 0)
            median_s = float(np.median(recorder.record(0.0).process.latencies_s))
            spins_s = [median_s * part for part in (0.0, *ARMS.values())]
            arms = record_in_turn(recorder, spins_s, 60 * minutes, progress)
        file.write_text(json.dumps([[(each.process.latencies_s, each.duration_s) for each in arm] for arm in arms]))
    stored = json.loads(file.read_text())
    arms = [[Recorded(_process(values), duration_s) for values, duration_s in arm] for arm in stored]
    return dict(zip(("baseline", *ARMS), arms, strict=True))


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


def alarms(test: Callable[[Values, Values], bool], before: list[Recorded], after: list[Recorded]) -> int:
    """How often another test says slower, on five neighbouring processes of each."""
    random = np.random.default_rng(0)
    count = 0
    for _ in range(TRIALS):
        start = random.integers(0, len(before))
        chosen = [(start + step) % len(before) for step in range(BLOCK + 1)]
        count += test(*([arm[index].process.latencies_s for index in chosen] for arm in (before, after)))
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


def _tell(name: str, busy: bool, arms: dict[str, list[Recorded]]) -> None:
    baseline = arms["baseline"]
    if len(baseline) < MIN_PROCESSES:
        raise SystemExit(f"{name}: {len(baseline)} processes of each were recorded; give it more MINUTES")
    median_us = 1e6 * np.median([np.median(each.process.latencies_s) for each in baseline])
    where = "beside a busy process" if busy else "quiet"
    print(f"\n{name}, {where}: p50 {median_us:.1f} µs, {len(baseline)} processes of each recorded")
    print(f"  {'':26s} {'against':12s} {'fail':26s} inconclusive")
    for arm in ARMS:
        random = np.random.default_rng(0)
        said = [
            replay(_medians(baseline), _medians(arms[arm]), LIMIT, time_limit_s=TIME_LIMIT_S, random=random)
            for _ in range(TRIALS)
        ]
        counts = [told(said.count(status)) for status in (Status.FAIL, Status.INCONCLUSIVE)]
        print(f"  {'edgecc max_regression 1 %':26s} {arm:12s} {counts[0]:26s} {counts[1]}")
    for other, test in OTHERS.items():
        for arm in ARMS:
            print(f"  {other:26s} {arm:12s} {told(alarms(test, baseline, arms[arm]))}")


def _medians(arm: list[Recorded]) -> list[Recorded]:
    return [Recorded(_process([float(np.median(each.process.latencies_s))]), each.duration_s) for each in arm]


def _run_live(path: Path, pairs: int) -> None:
    """Benches of an artifact against itself, and against itself 5 % slower, for real."""
    subject = Subject(path.stem, path, describe_file(path))
    with open_target("host", TargetSpec.model_validate({"kind": "x86_cpu"})) as target:
        recorder = Recorder(target, subject, BenchSection(), 0)
        median_s = float(np.median(recorder.record(0.0).process.latencies_s))
        for slowdown in (0.0, 0.05):
            spins_s = {"baseline": 0.0, "candidate": slowdown * median_s}
            said = [_live(recorder, subject, spins_s) for _ in range(pairs)]
            fail, undecided = (said.count(status) for status in (Status.FAIL, Status.INCONCLUSIVE))
            if pairs:
                print(f"\nlive, {slowdown:.0%} slower: fail {told(fail, pairs)}, inconclusive {told(undecided, pairs)}")


def _live(recorder: Recorder, subject: Subject, spins_s: dict[str, float]) -> Status:
    old, new = (Subject(name, subject.path, subject.artifact) for name in spins_s)
    pair = PlannedPair("host", old, new, {"latency.p50": LIMIT})
    with Silent().task("", None) as task:
        paired = run_in_turn(
            pair,
            lambda attempt: attempt.processes.append(recorder.record(spins_s[attempt.variant]).process),
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
