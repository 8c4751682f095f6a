"""Speed, memory and accuracy of each precision policy on this machine.

    python benchmarks/studies/precision.py [EPOCHS]

Each policy trains Fashion-MNIST's example network in a process of its own; time is the training stage's, memory the
process's peak.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from project_copies import copy_example, edgecc, edit

from edgecc.artifact import Format, read_manifest

POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "auto")


def main(epochs: int) -> None:
    print(f"{'policy':15} {'ran as':15} {'device':8} {'s/epoch':>8} {'peak MB':>8} {'val. accuracy':>14}")
    with tempfile.TemporaryDirectory() as scratch:
        for policy in POLICIES:
            metrics, peak_bytes, duration_s = _train(Path(scratch) / policy, policy, epochs)
            print(
                f"{policy:15} {metrics['policy']:15} {metrics['device']:8} {duration_s / epochs:8.1f} "
                f"{peak_bytes / 1e6:8.0f} {100 * metrics['validation_accuracy']:12.2f} %"
            )


def _train(folder: Path, policy: str, epochs: int) -> tuple[dict[str, Any], int, float]:
    project = copy_example("fashion-mnist", folder)
    text = (project / "edgecc.toml").read_text()
    start, end = text.index("[tune]"), text.index("[train]")
    (project / "edgecc.toml").write_text(text[:start] + text[end:])
    edit(project, "epochs = 15\n", f'epochs = {epochs}\nprecision = "{policy}"\n')
    process = edgecc("compile", project, "--variant", "float32", "--format", "tflite", home=folder / "home")
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{policy}: {process.stderr.read() if process.stderr else ''}")
    manifest = read_manifest(project / f"build/float32/fashion-mnist.{Format.TFLITE}")
    record = next(stage for stage in manifest.stages if stage.name == "train")
    return dict(record.metrics), usage.ru_maxrss * 1024, record.duration_s


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
