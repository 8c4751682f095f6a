"""Kill a compile of digits at random moments, resume it, and compare the artifacts with those of an undisturbed one.

    python benchmarks/studies/kills.py [KILLS] [SEED]

Each round starts from an empty cache and a home of its own, is killed with SIGKILL at a moment drawn uniformly over
the undisturbed duration, and then runs to its end.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from project_copies import artifact_digests, copy_example, edgecc, edit, finish


def main(kills: int, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        undisturbed = _prepare(folder / "undisturbed")
        start = time.perf_counter()
        finish(edgecc("compile", undisturbed, home=folder / "home"))
        duration_s = time.perf_counter() - start
        expected = artifact_digests(undisturbed)
        print(f"undisturbed: {duration_s:.1f} s, {len(expected)} artifacts")
        same = 0
        for round_ in range(kills):
            moment_s = draw.uniform(0, duration_s)
            found = _killed_and_resumed(folder / f"round-{round_}", moment_s)
            same += found == expected
            print(f"{round_ + 1:3}  killed at {moment_s:5.1f} s  {'identical' if found == expected else 'DIFFERENT'}")
    print(f"{same} of {kills} resumed compiles gave byte-identical artifacts")
    if same != kills:
        raise SystemExit(1)


def _prepare(folder: Path) -> Path:
    """Digits as it ships, but trained for fewer epochs: there is as much to interrupt, and less to wait for."""
    project = copy_example("digits", folder)
    edit(project, "epochs = 8\n", "epochs = 2\n")
    edit(project, "epochs = 40\n", "epochs = 6\n")
    return project


def _killed_and_resumed(folder: Path, moment_s: float) -> dict[str, str]:
    project = _prepare(folder)
    victim = edgecc("compile", project, home=folder / "home")
    time.sleep(moment_s)
    victim.kill()
    victim.communicate()
    finish(edgecc("compile", project, home=folder / "home"))
    return artifact_digests(project)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
