"""The pytest plugin: models measured in tests of one's own, and silence where pytest-benchmark is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scipy.stats  # noqa: F401 - numpy and scipy bear one import in a process

import edgecc.benchmarks.measure  # noqa: F401
from edgecc.files import sha256_of_file

pytest_plugins = "pytester"

MODEL = Path(__file__).parents[1] / "data/cnn_float32.tflite"
FAKE_TARGET = """
from pathlib import Path

import pytest
from edgecc.errors import TargetError
from edgecc.results import Environment, Failure, ProcessSample
from edgecc.targets.target import Target
from edgecc.targets.wire import RunReply

class FakeTarget(Target):
    kind, name = "fake", "board"
    requests = []

    def __init__(self):
        pass

    def probe(self):
        return Environment(
            os="RTOS", machine="armv7", cpu_model="M7", cores=2, governor=None, accelerator=None, python="3.11",
            runtimes={}, emulated=False,
        )

    def run(self, request, *, timeout_s):
        self.requests.append(request)
        if Path(request.artifact_path).read_bytes() == b"crash":
            return RunReply(failure=Failure(kind="crashed", message="the process was killed by SIGSEGV"))
        seconds = 0.001 * len(self.requests)
        process = ProcessSample(
            latencies_s=[seconds] * request.task.inferences, warmups=3, load_cold_s=0.1, load_warm_s=0.1,
            memory_peak_bytes=None,
        )
        return RunReply(process=process)

@pytest.fixture(scope="session")
def edgecc_target():
    return FakeTarget()
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run the tests that were written, in this process, without the plugins that take seconds to load."""
    without = [flag for name in ("cacheprovider", "hypothesispytest", "xdist") for flag in ("-p", f"no:{name}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_XDIST_WORKER", raising=False)  # by which pytest-benchmark would know these tests' own
        return pytester.runpytest_inprocess("-W", "error", "--strict-markers", *without, *arguments)


def benchmarks(pytester: pytest.Pytester) -> dict[str, Any]:
    found = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    return {each["name"]: each for each in found}


@pytest.fixture
def with_fake_target(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(FAKE_TARGET)
    (pytester.path / "good.tflite").write_bytes(b"model")
    (pytester.path / "bad.tflite").write_bytes(b"crash")
    return pytester


@pytest.mark.dev
def test_a_real_model_on_this_machine(pytester: pytest.Pytester) -> None:
    shutil.copy(MODEL, pytester.path / "cnn.tflite")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.edgecc_artifact("cnn.tflite")
        def test_latency(edgecc_benchmark, edgecc_artifact):
            row = edgecc_benchmark(edgecc_artifact, processes=2, inferences=5)
            assert row.estimates["latency.p50"].samples == 10
        """
    )
    run(pytester, "--benchmark-only", "--benchmark-json=out.json").assert_outcomes(passed=1)
    (found,) = benchmarks(pytester).values()
    row = found["extra_info"]["edgecc"]
    raw = [value for process in row["processes"] for value in process["latencies_s"]]
    assert found["stats"]["data"] == raw
    assert (len(raw), found["stats"]["rounds"], found["stats"]["iterations"]) == (10, 10, 1)
    assert [len(process["latencies_s"]) for process in row["processes"]] == [5, 5]
    assert row["artifact"]["sha256"] == sha256_of_file(MODEL)
    assert row["environment"]["machine"] == "x86_64"
    assert row["estimates"]["latency.p50"]["value"] == pytest.approx(found["stats"]["median"])
    assert row["unmeasured"]["latency.p90"] == "needs 64 values, has 10"


@pytest.mark.dev
def test_values_of_every_process_in_order(with_fake_target: pytest.Pytester) -> None:
    with_fake_target.makepyfile(
        """
        def test_latency(edgecc_benchmark):
            edgecc_benchmark("good.tflite", processes=3, inferences=2, shapes=[(1, 4)])

        def test_request(edgecc_target):
            assert [request.shapes for request in edgecc_target.requests] == [((1, 4),)] * 3
        """
    )
    run(with_fake_target, "--benchmark-json=out.json").assert_outcomes(passed=2)
    found = benchmarks(with_fake_target)["test_latency"]
    assert found["stats"]["data"] == [0.001, 0.001, 0.002, 0.002, 0.003, 0.003]
    assert found["options"] == {"timer": "edgecc"}
    assert found["extra_info"]["edgecc"]["target"] == "board"


@pytest.mark.dev
def test_a_test_runs_once_for_each_file_of_its_marker(with_fake_target: pytest.Pytester) -> None:
    with_fake_target.makepyfile(
        """
        import pytest

        @pytest.mark.edgecc_artifact("good.tflite", "bad.tflite", "missing.tflite")
        def test_latency(edgecc_benchmark, edgecc_artifact):
            edgecc_benchmark(edgecc_artifact, processes=1, inferences=2)
        """
    )
    result = run(with_fake_target, "--benchmark-json=out.json")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*bad.tflite on board gave no numbers: crashed: the process was killed by SIGSEGV",
            "*missing.tflite: no such file",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert list(benchmarks(with_fake_target)) == ["test_latency[good.tflite]"]


@pytest.mark.dev
def test_disabled_benchmarks_run_one_inference(with_fake_target: pytest.Pytester) -> None:
    with_fake_target.makepyfile(
        """
        def test_latency(edgecc_benchmark, edgecc_target):
            edgecc_benchmark("good.tflite")
            assert [request.task.inferences for request in edgecc_target.requests] == [1]
        """
    )
    run(with_fake_target, "--benchmark-disable").assert_outcomes(passed=1)


@pytest.mark.dev
def test_one_measurement_in_a_test(with_fake_target: pytest.Pytester) -> None:
    with_fake_target.makepyfile(
        """
        def test_latency(edgecc_benchmark):
            for _ in range(2):
                edgecc_benchmark("good.tflite", processes=1, inferences=2)
        """
    )
    result = run(with_fake_target)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*FixtureAlreadyUsed: expected one measurement in a test*"])


PROJECT = """
version = 1
name = "demo"
[model]
builder = "models:cnn"
[data]
loader = "edgecc:digits"
[variants.float32]
[targets.one]
kind = "x86_cpu"
[targets.two]
kind = "x86_cpu"
memory_limit = "1 GB"
"""
SHOW_TARGET = """
def test_target(edgecc_target):
    print("it is", edgecc_target.kind, edgecc_target.name, edgecc_target.settings.num_threads)
"""


@pytest.mark.dev
@pytest.mark.parametrize(
    ("ini", "arguments", "said"),
    [
        ("", [], "it is x86_cpu host 1"),
        ("", ["--edgecc-project", ".", "--edgecc-target", "two"], "it is x86_cpu two 1"),
        ("edgecc_project = .\nedgecc_target = one", [], "it is x86_cpu one 1"),
        ("edgecc_project = .\nedgecc_target = one", ["--edgecc-target", "two"], "it is x86_cpu two 1"),
        ("", ["--edgecc-project", "."], "expected --edgecc-target out of those of .: `one`, `two`; got ``"),
        ("", ["--edgecc-project", ".", "--edgecc-target", "tow"], "*: `one`, `two`; got `tow`"),
        ("", ["--edgecc-target", "two"], "expected --edgecc-project beside --edgecc-target two; got none"),
    ],
)
def test_which_target(pytester: pytest.Pytester, ini: str, arguments: list[str], said: str) -> None:
    (pytester.path / "edgecc.toml").write_text(PROJECT)
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile(SHOW_TARGET)
    result = run(pytester, "-s", *arguments)
    result.assert_outcomes(**({"passed": 1} if said.startswith("it is") else {"errors": 1}))
    result.stdout.fnmatch_lines([f"*{said}"])


@pytest.mark.dev
def test_a_test_without_the_marker_is_told_so(with_fake_target: pytest.Pytester) -> None:
    with_fake_target.makepyfile("def test_it(edgecc_artifact): pass")
    result = run(with_fake_target)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['expected @pytest.mark.edgecc_artifact("MODEL.tflite") on the test; there is none'])


def test_silent_without_pytest_benchmark() -> None:
    hidden = 'import sys; sys.modules["pytest_benchmark"] = None; import edgecc.pytest_plugin as plugin\n'
    code = (
        hidden + "print(plugin.pytest_plugins, [name for name in ('pytest', 'edgecc.errors') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[] []"


@pytest.mark.dev
def test_importing_the_fixtures_is_light() -> None:
    code = "import sys, edgecc.pytest_plugin, edgecc.pytest_fixtures\n"
    code += "print([name for name in ('numpy', 'pydantic', 'edgecc.api', 'pytest_benchmark') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
