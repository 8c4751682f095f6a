"""The core of TensorFlow Model Optimization (tfmot), without the Keras 2 that its packages import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecc.errors import MissingExtraError

_ROOT = "tensorflow_model_optimization"
_KERAS = f"{_ROOT}.python.core.keras"
_SPARSITY = f"{_ROOT}.python.core.sparsity.keras"


@cache
def pruning_core() -> tuple[Any, Any]:
    """The modules `pruning_impl` and `pruning_schedule` of tfmot.

    tfmot 0.8 imports tf_keras, sets TF_USE_LEGACY_KERAS for the whole process and warns of distutils, all of it in
    its packages' `__init__` and in `compat`. The two modules need none of that, so they are imported beside it;
    `import tensorflow_model_optimization` elsewhere still gives the whole library.

    Raises:
        MissingExtraError: tfmot is not installed.
    """
    spec = find_spec(_ROOT)
    if spec is None or spec.origin is None:
        library = "TensorFlow Model Optimization"
        raise MissingExtraError(needed_by="magnitude pruning", library=library, extra="compile")
    with _bare_packages(Path(spec.origin).parent):
        implementation = importlib.import_module(f"{_SPARSITY}.pruning_impl")
        return implementation, importlib.import_module(f"{_SPARSITY}.pruning_schedule")


@contextmanager
def _bare_packages(folder: Path) -> Iterator[None]:
    """Let modules under `folder` be imported without running the `__init__` of the packages they are in."""
    others = _take_out()
    try:
        for package in (*_with_parents(_KERAS), *_with_parents(_SPARSITY)):
            module = ModuleType(package)
            module.__path__ = [str(folder.joinpath(*package.split(".")[1:]))]
            sys.modules[package] = module
        compat = ModuleType(f"{_KERAS}.compat")
        compat.assign = lambda variable, value, name=None: variable.assign(value, name=name)  # type: ignore[attr-defined]
        sys.modules[compat.__name__] = sys.modules[_KERAS].compat = compat  # type: ignore[attr-defined]
        yield
    finally:
        _take_out()
        sys.modules.update(others)


def _take_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if f"{name}.".startswith(f"{_ROOT}.")}


def _with_parents(package: str) -> list[str]:
    parts = package.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]
