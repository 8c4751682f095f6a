"""What ships from one teacher: edgecc's student beside what other tools make of the teacher, in one run.

    python benchmarks/studies/compression.py [SEEDS] [FOLDER]

For each seed the example `fashion-mnist-distilled` is compiled (the teacher and its student trained, everything chosen
on validation data), as many at once as there are cores; the same teacher is converted by TensorFlow Lite's
converter, litert-quantizer and ONNX Runtime, and all the files are measured in turn on this machine, on the whole test
set. Printed are the figures of each file as means over the seeds, beside the teacher in float32 TFLite of the same run;
`frontier.svg` shows them. A second run in the same FOLDER takes up what was trained.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from project_copies import copy_example, edgecc, edit, finish

from edgecc import api
from edgecc.artifact import describe_file
from edgecc.benchmarks.measure import measure
from edgecc.benchmarks.plan import BenchPlan, Subject
from edgecc.project import BenchSection, TargetSpec
from edgecc.results import Results

EXAMPLE = "fashion-mnist-distilled"
TEACHER = "edgecc float32 (tflite)"
TRAINED = ("float32", "student", "alone")
CONVERTERS = Path(__file__).with_name("converters.py")


def main(seeds: int, folder: Path) -> None:
    projects = [_project(folder, seed) for seed in range(seeds)]
    # The teachers first, then what learns from them side by side, then the rest.
    jobs = [(project, variant) for variant in TRAINED for project in projects]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda job: _compile(*job), jobs))
    for project in projects:
        _compile(project)
    runs = [_measured(project, folder / f"peers{seed}") for seed, project in enumerate(projects)]
    (folder / "results.json").write_text(json.dumps([run.model_dump(mode="json") for run in runs]))
    table = _table(runs)
    _print(table, seeds)
    _plot(table, folder / "frontier.svg")


def _project(folder: Path, seed: int) -> Path:
    project = folder / f"seed{seed}" / EXAMPLE
    if not project.exists():
        copy_example(EXAMPLE, folder / f"seed{seed}")
        edit(project, "version = 1\n", f"version = 1\nseed = {seed}\n")
        edit(project, "[variants.float32]\n", '[variants.float32]\nformats = ["tflite", "onnx"]\n')
        _add_student_without_teacher(project)
    return project


def _compile(project: Path, *variants: str) -> None:
    print(f"compiling {project} {' '.join(variants)}", file=sys.stderr)
    chosen = [f"--variant={variant}" for variant in variants]
    # Networks this small train no faster on several cores than on one.
    one_core = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    finish(edgecc("compile", project, *chosen, home=project.parents[1] / "home", **one_core))


def _add_student_without_teacher(project: Path) -> None:
    """As many steps from the labels alone, on images that labels fit: what the teacher's answers are worth."""
    text = (project / "edgecc.toml").read_text()
    student = text[text.index("[variants.student.distill]") :].partition("\n\n")[0]
    alone = student.replace("variants.student", "variants.alone").replace("alpha = 0.0", "alpha = 1.0")
    alone = alone.replace("shifted_and_blended", "shifted")
    edit(project, student, f"{student}\n\n{alone}")


def _measured(project: Path, peers: Path) -> Results:
    """Measure everything in turn, the project's artifacts and its peers."""
    opened = api.open_project(project)
    subjects = [
        Subject(f"edgecc {variant} ({format})", path := opened.artifact(variant, format), describe_file(path))
        for variant, format in opened.project.emitted()
    ]
    _convert(project, peers)
    subjects += [
        Subject(path.stem, path, describe_file(path))
        for path in sorted(peers.iterdir())
        if path.suffix in {".tflite", ".onnx"}
    ]
    plan = BenchPlan(EXAMPLE, tuple(subjects), BenchSection(), 0, opened.evaluation, TEACHER)
    with api._open("host", TargetSpec.model_validate({"kind": "x86_cpu"})) as target:
        return measure(plan, [target], None)


def _convert(project: Path, peers: Path) -> None:
    peers.mkdir(exist_ok=True)
    cache = project / ".edgecc" / "cache"
    for pattern, name in (("train-*", "model.keras"), ("data-*", "representative.npz")):
        (file,) = cache.glob(f"{pattern}/*/files/{name}")
        (peers / name).write_bytes(file.read_bytes())
    onnx = project / "build" / "float32" / f"{EXAMPLE}.onnx"
    subprocess.run([sys.executable, CONVERTERS, peers, onnx], check=True, stdout=subprocess.DEVNULL)


def _table(runs: list[Results]) -> dict[str, dict[str, list[float]]]:
    """By file: its figures in each run, and those beside the teacher's of the same run."""
    table: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        rows = {row.variant: row for row in run.rows}
        teacher = rows[TEACHER].estimates
        for name, row in rows.items():
            own = row.estimates
            figures = {
                "size": own["size"].value,
                "smaller": teacher["size"].value / own["size"].value,
                "p50": own["latency.p50"].value,
                "faster": teacher["latency.p50"].value / own["latency.p50"].value,
                "accuracy": own["accuracy"].value,
                "lost": teacher["accuracy"].value - own["accuracy"].value,
            }
            for key, value in figures.items():
                table.setdefault(name, {}).setdefault(key, []).append(value)
    return table


def _print(table: dict[str, dict[str, list[float]]], seeds: int) -> None:
    print(f"means over {seeds} seeds; lost: percentage points against the teacher, with the least and the greatest")
    for name, figures in sorted(table.items(), key=lambda pair: np.mean(pair[1]["size"])):
        mean = {key: float(np.mean(values)) for key, values in figures.items()}
        lost = [100 * value for value in figures["lost"]]
        size = f"{mean['size'] / 1e3:8.1f} kB {mean['smaller']:5.1f}x smaller"
        speed = f"{1e6 * mean['p50']:7.1f} µs {mean['faster']:5.1f}x faster"
        accuracy = f"{mean['accuracy']:8.2%} {np.mean(lost):+.2f} pp ({min(lost):+.2f} to {max(lost):+.2f})"
        print(f"{name:48s} {size} {speed} {accuracy}")
    gains = np.subtract(table["edgecc student (tflite)"]["accuracy"], table["edgecc alone (tflite)"]["accuracy"])
    print(f"distillation against the same student alone: {', '.join(f'{100 * gain:+.2f} pp' for gain in gains)}")


def _plot(table: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Size by latency, both logarithmic, the colour telling the accuracy; numbered from the smallest, with a list."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot as plt

    means = {name: {key: float(np.mean(own)) for key, own in figures.items()} for name, figures in table.items()}
    names = sorted(means, key=lambda name: (means[name]["size"], means[name]["p50"]))
    x, y, accuracy = ([means[name][key] for name in names] for key in ("p50", "size", "accuracy"))
    figure, axes = plt.subplots(figsize=(7, 5))
    edges = ["black" if name.startswith("edgecc") else "none" for name in names]
    dots = axes.scatter(np.multiply(x, 1e6), np.divide(y, 1e3), c=np.multiply(accuracy, 100), edgecolors=edges, s=60)
    groups = _neighbours([(means[name]["p50"] * 1e6, means[name]["size"] / 1e3) for name in names])
    for index, group in enumerate(groups):
        place = (means[names[group[-1]]]["p50"] * 1e6, means[names[group[-1]]]["size"] / 1e3)
        label = ", ".join(str(number + 1) for number in group)
        axes.annotate(label, place, textcoords="offset points", xytext=(7, -13 if index % 2 else 7), fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="p50 of one inference, µs", ylabel="size, kB")
    figure.colorbar(dots, label="accuracy on the test set, %")
    axes.margins(x=0.2)
    lines = [
        f"{number + 1:2d}  {name}: {own['size'] / 1e3:.1f} kB, {own['p50'] * 1e6:.1f} µs, {own['accuracy']:.2%}"
        for number, (name, own) in enumerate((name, means[name]) for name in names)
    ]
    figure.text(0.95, 0.5, "\n".join(lines), va="center", fontsize=8)
    figure.savefig(path, bbox_inches="tight")


def _neighbours(places: list[tuple[float, float]]) -> list[list[int]]:
    """Points that lie upon each other in the plot, in groups, so that one label speaks of them all."""
    groups: list[list[int]] = []
    for number, (x, y) in enumerate(places):
        near = (group for group in groups if max(x / places[group[0]][0], places[group[0]][0] / x) < 1.12)
        same = next((group for group in near if abs(np.log(y / places[group[0]][1])) < 0.12), None)
        groups.append([number]) if same is None else same.append(number)
    return groups


if __name__ == "__main__":
    work = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp(prefix="edgecc-compression-"))
    work.mkdir(parents=True, exist_ok=True)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, work.resolve())
