"""Every kind of target, by name; imported when it is asked for.

A package adds kinds of its own through the entry point group `edgecc.targets`: `my_kind = "my_package.module:Class"`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from pydantic import BaseModel, ValidationError

from edgecc.artifact import first_problem
from edgecc.errors import TargetError
from edgecc.project import TargetSpec
from edgecc.targets.target import Target

ENTRY_POINT_GROUP = "edgecc.targets"
BUILT_IN = {
    "x86_cpu": "edgecc.targets.x86_cpu:X86CpuTarget",
    "cuda": "edgecc.targets.cuda:CudaTarget",
    "arm64_docker": "edgecc.targets.arm64_docker:Arm64DockerTarget",
    "arm64_qemu": "edgecc.targets.arm64_qemu:Arm64QemuTarget",
    "ssh": "edgecc.targets.ssh:SshTarget",
}


def open_target(name: str, spec: TargetSpec) -> Target:
    """A target of the project file, ready to be probed; use it as a context manager.

    Raises:
        TargetError: an unknown kind, or options that the kind does not take.
    """
    target = target_class(spec.kind)
    try:
        options = target.Options.model_validate(spec.options)
    except ValidationError as error:
        raise TargetError(f"target `{name}`: {first_problem(error)}") from error
    return target(name, options)


def target_options() -> dict[str, type[BaseModel]]:
    """The options of every kind, by kind.

    Raises:
        TargetError: a third party's target cannot be imported, or claims a kind that is taken.
    """
    return {kind: _loaded(kind, place).Options for kind, place in _places().items()}


def target_class(kind: str) -> type[Target]:
    """The class behind a kind.

    Raises:
        TargetError: an unknown kind, or a class that cannot be imported.
    """
    places = _places()
    if kind not in places:
        known = ", ".join(f"`{known}`" for known in places)
        raise TargetError(f"expected a kind of target out of {known}; got `{kind}`")
    return _loaded(kind, places[kind])


def _places() -> dict[str, str]:
    """`module:Class` by kind, built in and third parties'."""
    places = dict(BUILT_IN)
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        if entry.name in places:
            raise TargetError(
                f"two targets claim the kind `{entry.name}`: {places[entry.name]} and {entry.value}",
                hint="uninstall one of the packages",
            )
        places[entry.name] = entry.value
    return places


def _loaded(kind: str, place: str) -> type[Target]:
    module, _, attribute = place.partition(":")
    try:
        target: type[Target] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"the kind of target `{kind}` cannot be imported from {place}: {error}") from error
    return target
