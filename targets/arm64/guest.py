"""The first process of the emulated machine: runs the runner once a request, tells how it went, and powers off.

It runs inside, where edgecc is not, and needs Python alone. What it tells are lines of JSON on the console.
Beside it lie `job.json`, the runner, and for each request a folder, "0", "1", ..., with `request.json`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
LOG_BYTES = 4096
"""How much of the end of what the runner wrote is told."""

_MOUNTS = (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"))
_POWER_OFF = 0x4321FEDC  # of linux/reboot.h


def main() -> None:
    for kind, path in _MOUNTS:
        _mount(kind, path)
    Path("/proc/sys/kernel/printk").write_text("1")  # the console is ours; a panic still has its say
    job = json.loads((FOLDER / "job.json").read_text())
    for index, variables in enumerate(job["variables"]):
        _tell({"started": index})
        ended = run(FOLDER / str(index), FOLDER / job["runner"], variables, job["timeout_s"])
        _tell({"ended": index, **ended})
        os.kill(-1, signal.SIGKILL)  # all but this one: nothing runs beside the next
    termios.tcdrain(sys.stdout.fileno())
    ctypes.CDLL(None).reboot(_POWER_OFF)


def run(folder: Path, runner: Path, variables: dict[str, str], timeout_s: float) -> dict[str, Any]:
    """Run the runner on `request.json` in a folder, and kill it after so many seconds of this machine's clock.

    Its `returncode` is None where it was killed for that, and as subprocess has it elsewhere; `reply` is what it
    answered, and `log` the end of what it wrote.
    """
    reply, log = folder / "reply.json", folder / "log"
    command = [sys.executable, "-P", str(runner), str(folder / "request.json"), str(reply)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, **variables},
        )
    returncode = _wait(process, timeout_s)
    return {
        "returncode": returncode,
        "reply": reply.read_text(errors="replace") if reply.exists() else "",
        "log": log.read_bytes()[-LOG_BYTES:].decode(errors="replace"),
    }


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    # Not `process.wait(timeout_s)`, which looks every 50 ms and would be counted with what the process does.
    with os.fdopen(os.pidfd_open(process.pid)) as descriptor:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        ended = bool(poll.poll(1000 * timeout_s))
    os.killpg(process.pid, signal.SIGKILL)  # before it is reaped: until then its id cannot have become another's
    returncode = process.wait()
    return returncode if ended else None


def _mount(kind: str, path: str) -> None:
    Path(path).mkdir(exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {kind}", path)


def _tell(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if os.getpid() != 1:
        raise SystemExit("this is the first process of an emulated machine, and of nothing else")
    main()
