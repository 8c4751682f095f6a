"""Measures models in a pytest run: edgecc's protocol, pytest-benchmark's statistics, comparison and files.

    @pytest.mark.edgecc_artifact("cnn.tflite")
    def test_latency(edgecc_benchmark, edgecc_artifact):
        row = edgecc_benchmark(edgecc_artifact)
        assert row.estimates["latency.p90"].value < 2e-3  # seconds

Every pytest run imports this file, so what is heavy is imported when a fixture is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from edgecc.errors import ArtifactError, EdgeccError, TargetError

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from edgecc.project import TargetSpec
    from edgecc.results import Row
    from edgecc.targets.target import Target

_MARKER = "edgecc_artifact"
_OPENED = pytest.StashKey[tuple["Target", "TargetSpec"]]()
_DEFAULT_NAME = "host"


class MeasureArtifact(Protocol):
    """What the fixture `edgecc_benchmark` is."""

    def __call__(
        self,
        artifact: str | Path,
        *,
        processes: int = 5,
        inferences: int = 200,
        shapes: Sequence[tuple[int, ...]] = (),
        evaluation: str | Path | None = None,
    ) -> Row:
        """Measure a model file on `edgecc_target`, once in a test.

        Args:
            artifact: a `.tflite` or `.onnx`, relative to the test's file.
            processes: fresh processes.
            inferences: timed inferences in each.
            shapes: of the model's inputs, where they are open.
            evaluation: an `.npz` with `x` and `y`, relative to the test's file; without it accuracy is unmeasured.

        Returns:
            All that was measured: raw values, estimates with their intervals, environment, warnings.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and the ini keys of the same names."""
    group = parser.getgroup("edgecc", "measuring models with edgecc")
    texts = {
        "edgecc_project": "project whose targets edgecc measures on; without it, this machine's CPU",
        "edgecc_target": "which of that project's targets; may be left out where there is only one",
    }
    for name, text in texts.items():
        group.addoption(f"--{name.replace('_', '-')}", dest=name, help=text)
        parser.addini(name, text)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", f"{_MARKER}(path, ...): model files; the test runs once for each")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each file of its marker."""
    marker = metafunc.definition.get_closest_marker(_MARKER)
    if marker is not None and _MARKER in metafunc.fixturenames:
        metafunc.parametrize(_MARKER, marker.args, ids=[Path(path).name for path in marker.args], indirect=True)


@pytest.fixture
def edgecc_artifact(request: pytest.FixtureRequest) -> Path:
    """The model file of the marker `edgecc_artifact`, its path relative to the test's file."""
    if not hasattr(request, "param"):
        pytest.fail(f'expected @pytest.mark.{_MARKER}("MODEL.tflite") on the test; there is none', pytrace=False)
    return request.path.parent / str(request.param)


@pytest.fixture(scope="session")
def edgecc_target(pytestconfig: pytest.Config) -> Iterator[Target]:
    """The target that is measured on: this machine's CPU with one thread, or what the options say."""
    from edgecc.targets.registry import open_target

    with _errors_in_words():
        name, spec = _chosen_target(_option(pytestconfig, "edgecc_project"), _option(pytestconfig, "edgecc_target"))
        opened = open_target(name, spec)
    with opened as target:
        pytestconfig.stash[_OPENED] = target, spec
        yield target


@pytest.fixture
def edgecc_benchmark(
    benchmark: BenchmarkFixture, edgecc_target: Target, request: pytest.FixtureRequest
) -> MeasureArtifact:
    """Measures a model file as `edgecc bench` does, and hands the raw values to pytest-benchmark.

    Where benchmarks are disabled, one inference in one process shows that the model still runs.
    """

    def measure_artifact(
        artifact: str | Path,
        *,
        processes: int = 5,
        inferences: int = 200,
        shapes: Sequence[tuple[int, ...]] = (),
        evaluation: str | Path | None = None,
    ) -> Row:
        _use(benchmark)
        folder = request.path.parent
        count = (1, 1) if benchmark.disabled else (processes, inferences)
        options = _options_of(edgecc_target, request.config)
        with _errors_in_words():
            found = None if evaluation is None else folder / evaluation
            row = _measure(folder / artifact, edgecc_target, options, count, tuple(shapes), found)
        _fill(benchmark, _latencies(row), edgecc=row.model_dump(mode="json", exclude={"predictions"}))
        return row

    return measure_artifact


def record_latencies(benchmark: BenchmarkFixture, latencies_s: Sequence[float], **extra_info: Any) -> None:
    """Give values that were timed elsewhere to a test's `benchmark` fixture, as if it had timed them.

    Args:
        benchmark: the fixture, not used yet.
        latencies_s: one a round.
        extra_info: what stands beside them in `--benchmark-json`.

    Raises:
        FixtureAlreadyUsed: the test has used the fixture before.
    """
    _use(benchmark)
    _fill(benchmark, latencies_s, **extra_info)


def _use(benchmark: BenchmarkFixture) -> None:
    from pytest_benchmark.fixture import FixtureAlreadyUsed

    # pytest-benchmark has no public way in for values of another clock.
    if benchmark._mode:
        benchmark.has_error = True
        raise FixtureAlreadyUsed(f"expected one measurement in a test; there was one before, by {benchmark._mode}")
    benchmark._mode = "edgecc"


def _fill(benchmark: BenchmarkFixture, latencies_s: Sequence[float], **extra_info: Any) -> None:
    benchmark.extra_info.update(extra_info)
    if benchmark.disabled:
        return
    stats = benchmark._make_stats(1)  # type: ignore[no-untyped-call]
    stats.options = {"timer": "edgecc"}  # rounds and times of pytest-benchmark's own were not used
    for latency_s in latencies_s:
        stats.update(latency_s)


def _measure(
    artifact: Path,
    target: Target,
    options: dict[str, Any],
    count: tuple[int, int],
    shapes: tuple[tuple[int, ...], ...],
    evaluation: Path | None,
) -> Row:
    from edgecc.benchmarks.measure import measure
    from edgecc.benchmarks.plan import plan_file
    from edgecc.project import BenchSection

    bench = BenchSection(processes=count[0], inferences=count[1])
    plan = plan_file(artifact, bench, shapes=shapes, evaluation=evaluation)
    (row,) = measure(dataclasses.replace(plan, target_options={target.name: options}), [target]).rows
    if row.failure is not None:
        kind = row.failure.kind.replace("_", " ")
        raise ArtifactError(f"{artifact} on {target.name} gave no numbers: {kind}: {row.failure.message}")
    return row


def _latencies(row: Row) -> list[float]:
    """One a sample."""
    return [latency_s / process.batch_size for process in row.processes for latency_s in process.latencies_s]


def _options_of(target: Target, config: pytest.Config) -> dict[str, Any]:
    """What the project file says of a target; nothing of one that the tests' own `edgecc_target` gives."""
    opened = config.stash.get(_OPENED, None)
    return opened[1].options if opened is not None and opened[0] is target else {}


def _option(config: pytest.Config, name: str) -> str:
    return str(config.getoption(name) or config.getini(name))


def _chosen_target(project: str, target: str) -> tuple[str, TargetSpec]:
    from edgecc.api import open_project
    from edgecc.project import TargetSpec

    if not project:
        if target:
            raise TargetError(f"expected --edgecc-project beside --edgecc-target {target}; got none")
        return _DEFAULT_NAME, TargetSpec(kind="x86_cpu")
    targets = open_project(project).project.targets
    names = [target] if target else list(targets)
    if len(names) != 1 or names[0] not in targets:
        known = ", ".join(f"`{name}`" for name in targets) or "none"
        raise TargetError(f"expected --edgecc-target out of those of {project}: {known}; got `{target}`")
    return names[0], targets[names[0]]


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """An error of edgecc's is for people, and its traceback is not."""
    try:
        yield
    except EdgeccError as error:
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        raise pytest.fail.Exception(message, pytrace=False) from None
