"""Brings numpy and the runtimes to a device, into virtual environments of edgecc's own."""

from __future__ import annotations

import importlib.metadata

from edgecc.errors import TargetError
from edgecc.progress import Progress
from edgecc.targets.device_agent import DeviceAgent, Executed
from edgecc.targets.requirement import requirement
from edgecc.targets.wire import Runtime

NUMPY = "numpy"
INSTALLED: tuple[Runtime, ...] = ("litert", "onnxruntime")
TFLITE_RUNTIME = "tflite-runtime==2.14.0"
"""Its last release, which was built for numpy 1."""
_NO_WHEEL = "No matching distribution"
_NO_NETWORK = ("NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "NameResolutionError", "ProxyError",
               "SSLError", "Connection broken")  # fmt: skip


def install_runtimes(agent: DeviceAgent, name: str, runtime: Runtime, progress: Progress) -> None:
    """Make the agent's environment and install what it lacks; where all is there already, nothing changes.

    The versions are those that are installed here, so that results can be compared. What the device's Python or
    processor cannot have in that version it gets in the newest that it can; a runtime that has no wheel for it is left
    out, and said to be. In the environment of `tflite_runtime` there is nothing else to run.

    Raises:
        TargetError: no virtual environment can be made, no package index answers, or no runtime has a wheel.
    """
    with progress.task(f"setting up {name}", 2) as task:
        task.describe("making a virtual environment")
        _check_environment(agent.make_environment(), name, agent.python)
        task.advance()
        task.describe("installing numpy and what runs models")
        if runtime == "tflite_runtime":
            _install_tflite_runtime(agent, name)
        else:
            _install_same_versions(agent, name, progress)
        task.advance()


def _install_tflite_runtime(agent: DeviceAgent, name: str) -> None:
    done = agent.install([TFLITE_RUNTIME, f"{NUMPY}<2"])
    _check_network(done, name)
    if done.returncode != 0:
        hint = (
            "it has wheels up to Python 3.11 and, on ARM, from glibc 2.34: `python` names another interpreter, "
            'runtime = "litert" its successor'
        )
        raise TargetError(
            f"target `{name}`: {TFLITE_RUNTIME} cannot be installed for its Python {agent.python}: {_last_error(done)}",
            hint=hint if _NO_WHEEL in done.log else None,
        )


def _install_same_versions(agent: DeviceAgent, name: str, progress: Progress) -> None:
    together = agent.install([_numpy(), *map(requirement, INSTALLED)])
    if together.returncode != 0:
        _check_network(together, name)
        _install_one_by_one(agent, name, progress)


def _install_one_by_one(agent: DeviceAgent, name: str, progress: Progress) -> None:
    if lack := _install_newest(agent, name, progress, _numpy()):
        raise TargetError(f"target `{name}`: numpy cannot be installed for its Python {agent.python}: {lack}")
    wanted = [requirement(runtime) for runtime in INSTALLED]
    left_out = {each: lack for each in wanted if (lack := _install_newest(agent, name, progress, each))}
    if len(left_out) == len(wanted):
        lacks = "; ".join(left_out.values())
        raise TargetError(
            f"target `{name}`: no runtime can be installed for its Python {agent.python}: {lacks}",
            hint="wheels exist for 64-bit Linux and newer Pythons; `python` names another one",
        )
    for each, lack in left_out.items():
        progress.note(f"{name}: {each.partition('==')[0]} was left out: {lack}")


def _numpy() -> str:
    return f"{NUMPY}=={importlib.metadata.version(NUMPY)}"


def _install_newest(agent: DeviceAgent, name: str, progress: Progress, wanted: str) -> str | None:
    """Install `package==version`, else the newest that the device can have; what pip said where it has none."""
    package, _, version = wanted.partition("==")
    if agent.install([wanted]).returncode == 0:
        return None
    newest = agent.install([package])
    _check_network(newest, name)
    if newest.returncode != 0:
        return _last_error(newest)
    progress.note(f"{name}: {package} {version}, which is installed here, does not fit; it got the newest that does")
    return None


def _check_environment(made: Executed, name: str, python: str) -> None:
    if made.returncode == 0:
        return
    hint = None
    if "ensurepip" in made.log:
        hint = "on the device: sudo apt install python3-venv, or what its system has for it"
    raise TargetError(
        f"target `{name}`: its Python {python} cannot make a virtual environment: {_last_error(made)}", hint=hint
    )


def _check_network(done: Executed, name: str) -> None:
    if done.returncode != 0 and any(sign in done.log for sign in _NO_NETWORK):
        raise TargetError(
            f"target `{name}`: its pip reaches no package index: {_last_error(done)}",
            hint="give the device a connection, or name an index that it can reach in its pip.conf",
        )


def _last_error(done: Executed) -> str:
    if done.killed is not None:
        return "killed, since it took too long"
    lines = done.log.strip().splitlines() or ["nothing was said"]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    return errors[-1].removeprefix("ERROR:").strip()
