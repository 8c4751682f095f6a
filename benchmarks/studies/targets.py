"""The same artifacts on every target of this machine: accuracy, instructions and latency, and what each target costs.

    python benchmarks/studies/targets.py [BOOTS] [FOLDER]

The examples `digits` and `fashion-mnist`, the latter trained for two epochs alone, are emitted in every scheme and
measured on x86, in an ARM64 container, and on emulated ARM64 machines with the cores of a Raspberry Pi 3, 4 and 5.
Printed are accuracy and latency, the instructions of one inference, how well these rank the artifacts as x86's latency
does, what BOOTS boots say of the same files, and how long one run takes on each target. It needs Docker and QEMU; a
second run in the same FOLDER takes up what was compiled.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from project_copies import copy_example, edgecc, edit, finish
from scipy.stats import spearmanr

from edgecc import api
from edgecc.artifact import describe_file
from edgecc.results import Results, Row
from edgecc.targets.registry import open_target
from edgecc.targets.target import Target
from edgecc.targets.wire import InstructionsTask, LatencyTask, RunRequest

EXAMPLES = ("digits", "fashion-mnist")
CORES = {"a53": "cortex-a53", "a72": "cortex-a72", "a76": "cortex-a76"}
SCHEMES = ("int16x8", "weight_only", "dynamic", "float16")
"""Of TFLite, beside the examples' own float32 and int8."""


def main(boots: int, folder: Path) -> None:
    projects = [_compiled(name, folder) for name in EXAMPLES]
    rows = [row for project in projects for row in _measured(project).rows]
    _print_table(rows)
    _print_ranks(rows)
    with _opened(projects[0], "a72") as machine:
        _print_boots(projects, machine, boots)
    _print_overhead(projects[0])


def _compiled(name: str, folder: Path) -> Path:
    project = folder / name
    if not project.exists():
        copy_example(name, folder)
        if name == "fashion-mnist":
            edit(project, "max_trials = 8", "max_trials = 1")
            edit(project, "epochs = 15", "epochs = 2")
        variants = [f'[variants.{name}]\nquantize = "{name}"\nformats = ["tflite"]\n' for name in SCHEMES]
        machines = [
            f'[targets.{name}]\nkind = "arm64_qemu"\ncpu = "{cpu}"\nbase_image = "local"\n'
            for name, cpu in CORES.items()
        ]
        container = '[targets.container]\nkind = "arm64_docker"\ncpu = "cortex-a72"\nbase_image = "local"\n'
        with (project / "edgecc.toml").open("a") as file:
            file.write("\n" + "\n".join([*variants, container, *machines]))
    finish(edgecc("compile", project, home=folder / "home"))
    start = time.perf_counter()
    api.set_up_targets(project, ["container", *CORES])
    print(f"{name}: targets set up in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return project


def _measured(project: Path) -> Results:
    start = time.perf_counter()
    results = api.bench(project)
    print(f"{project.name}: measured in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return results


def _print_table(rows: list[Row]) -> None:
    print(f"{'artifact':34s} {'x86 p50':>10s} {'x86':>9s} {'container':>9s}", *(f"{core:>12s}" for core in CORES))
    for name, by_target in _by_artifact(rows).items():
        host = by_target["host"].estimates
        accuracies = [_shown(by_target[target], "accuracy", "9.2%") for target in ("host", "container")]
        counts = [_shown(by_target[core], "instructions", "12,.0f") for core in CORES]
        print(f"{name:34s} {1e6 * host['latency.p50'].value:7.1f} µs", *accuracies, *counts)


def _shown(row: Row, metric: str, form: str) -> str:
    return format(row.estimates[metric].value, form) if metric in row.estimates else row.unmeasured[metric]


def _print_ranks(rows: list[Row]) -> None:
    artifacts = _by_artifact(rows)
    for format in ("tflite", "onnx", ""):
        chosen = [by_target for name, by_target in artifacts.items() if format in name]
        if len(chosen) < 3:
            continue
        times = [by_target["host"].estimates["latency.p50"].value for by_target in chosen]
        for core in CORES:
            counts = [by_target[core].estimates["instructions"].value for by_target in chosen]
            rank, kind = spearmanr(times, counts).statistic, f"{format} " if format else ""
            print(
                f"rank correlation of {core}'s instructions with x86's p50: {rank:.3f} ({len(chosen)} {kind}artifacts)"
            )


def _by_artifact(rows: list[Row]) -> dict[str, dict[str, Row]]:
    artifacts: dict[str, dict[str, Row]] = {}
    for row in rows:
        digest = row.artifact.sha256[:8]
        artifacts.setdefault(f"{row.variant} ({row.format}) {digest}", {})[row.target] = row
    return artifacts


def _print_boots(projects: list[Path], machine: Target, boots: int) -> None:
    paths = [path for project in projects for path in sorted((project / "build").rglob("*.tflite"))]
    requests = [_request(path, machine, InstructionsTask()) for path in paths]
    counts = [[min(reply.instructions) for reply in machine.run_all(requests, timeout_s=600)] for _ in range(boots)]
    for path, values in zip(paths, zip(*counts, strict=True), strict=True):
        spread = (max(values) - min(values)) / min(values)
        print(f"{path.parent.name}/{path.name}: {min(values):,} to {max(values):,} in {boots} boots ({spread:.4%})")


def _print_overhead(project: Path) -> None:
    path = next(iter(sorted((project / "build").rglob("*.tflite"))))
    for name in ("host", "container", "a72"):
        with _opened(project, name) as target:
            task = LatencyTask(inferences=1) if "latency" in target.abilities else InstructionsTask(inferences=1)
            target.probe()
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                reply = target.run(_request(path, target, task), timeout_s=600)
                seconds.append(time.perf_counter() - start)
                assert reply.failure is None, reply.failure
            print(f"one run of one inference on {name}: {min(seconds):.2f} to {max(seconds):.2f} s")


def _opened(project: Path, name: str) -> Target:
    return open_target(name, api.open_project(project).project.targets[name])


def _request(path: Path, target: Target, task: LatencyTask | InstructionsTask) -> RunRequest:
    artifact = describe_file(path)
    return RunRequest(
        artifact_path=str(path),
        artifact_sha256=artifact.sha256,
        runtime=target.runtime_of(artifact.format),
        settings=target.settings,
        task=task,
    )


if __name__ == "__main__":
    work = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="edgecc-targets-"))
    work.mkdir(parents=True, exist_ok=True)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, work.resolve())
