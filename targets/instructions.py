"""Counts the machine instructions of an inference: the runner runs under valgrind's callgrind.

Valgrind runs a program on a processor of its own, with AVX2 and without AVX-512, and at addresses of its own. That
makes the count repeat, and it makes it the count of that processor: a runtime may choose other kernels on the real one.
A count is never a time.
Source: N. Nethercote and J. Seward, "Valgrind: a framework for heavyweight dynamic binary instrumentation", PLDI 2007.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgecc.results import Failure, FailureKind
from edgecc.targets.child import run_in_child
from edgecc.targets.runner import IDLE_COUNTS
from edgecc.targets.wire import InstructionsTask, RunReply, RunRequest

NOT_INSTALLED = "valgrind is not installed: `apt-get install valgrind`, or what your system has for it"

_TOTALS = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def count_instructions(
    request: RunRequest, *, timeout_s: float, memory_limit_bytes: float, pin: Sequence[int] | None = None
) -> RunReply:
    """Answer a request with an InstructionsTask: one count an inference, of the thread that asks for it.

    Args:
        request: as for `run_in_child`.
        timeout_s: as for `run_in_child`; under valgrind a runtime takes some seconds to start, and float32 kernels run
            hundreds of times slower.
        memory_limit_bytes: as for `run_in_child`, with valgrind's own memory in it.
        pin: as for `run_in_child`.

    Raises:
        TargetError: as for `run_in_child`.
    """
    assert isinstance(request.task, InstructionsTask)  # noqa: S101 - the caller's
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return RunReply(failure=Failure(kind=FailureKind.REFUSED, message=NOT_INSTALLED))
    with tempfile.TemporaryDirectory(prefix="edgecc-count-") as folder:
        counts = Path(folder) / "counts"
        reply = run_in_child(
            request,
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
            pin=pin,
            under=_command(valgrind, counts),
        )
        return reply if reply.failure is not None else _with_counts(reply, counts, request.task.inferences, valgrind)


def _command(valgrind: str, counts: Path) -> list[str]:
    return [
        *("env", "PYTHONHASHSEED=0"),  # or the collisions in Python's dictionaries differ from run to run
        *(valgrind, "-q", "--tool=callgrind"),
        "--vgdb=no",  # it would leave pipes in /tmp when it is killed
        "--instr-atstart=no",
        "--separate-threads=yes",  # a runtime's background threads wake up when they like
        f"--callgrind-out-file={counts}",
    ]


def _with_counts(reply: RunReply, counts: Path, inferences: int, valgrind: str) -> RunReply:
    try:
        instructions = _read_counts(counts, inferences)
    except (OSError, ValueError) as error:
        message = f"callgrind wrote no counts that can be read: {error}"
        return RunReply(failure=Failure(kind=FailureKind.CRASHED, message=message), log=reply.log)
    counter = f"callgrind of {_version(valgrind)}, which emulates an x86-64 with AVX2 and without AVX-512"
    return reply.model_copy(update={"instructions": instructions, "instructions_counter": counter})


def _read_counts(counts: Path, inferences: int) -> tuple[int, ...]:
    totals = [_total(counts, part) for part in range(1, IDLE_COUNTS + inferences + 1)]
    idle = min(totals[:IDLE_COUNTS])
    if min(totals) <= 0 or min(totals[IDLE_COUNTS:]) <= idle:
        raise ValueError(f"an inference takes more instructions than nothing does; got {totals}")
    return tuple(total - idle for total in totals[IDLE_COUNTS:])


def _total(counts: Path, part: int) -> int:
    """What callgrind's dump of that number says of the main thread."""
    dump = counts.with_name(f"{counts.name}.{part}-01")
    match = _TOTALS.search(dump.read_text(errors="replace"))
    if match is None:
        raise ValueError(f"{dump.name} has no totals")
    return int(match[1])


def _version(valgrind: str) -> str:
    """Such as `valgrind-3.19.0`."""
    return subprocess.run([valgrind, "--version"], capture_output=True, text=True, check=True).stdout.strip()
