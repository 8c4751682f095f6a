"""The user's own functions: imported, called, and every way they can fail told in one message.

`edgecc.project_code` makes the project's folder importable.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecc.errors import EdgeccError, UserCodeError
from edgecc.project_code import is_users_file


def load_entry_point(spec: str, project_dir: Path) -> Callable[..., Any]:
    """Find `module:function`, the module first in the project's folder.

    Returns:
        The function. Calling it raises UserCodeError where the user's code raises.

    Raises:
        UserCodeError: no such module, the module raised when it was imported, it has no such name, or what has
            the name cannot be called.
    """
    module_name, _, name = spec.partition(":")
    module = import_module(module_name, project_dir, needed_by=spec)
    function = getattr(module, name, None)
    if function is None:
        raise UserCodeError(f"{spec}: {module_name} has no `{name}`", hint=_nearest(name, module))
    if not callable(function):
        raise UserCodeError(f"{spec}: expected a function; got {type(function).__name__}")
    call = functools.partial(call_user_code, function, spec=spec, project_dir=project_dir)
    return functools.update_wrapper(call, function)  # so that it tells the user's own parameters


def import_module(name: str, project_dir: Path, *, needed_by: str) -> ModuleType:
    """Import a module, looked for in the project's folder first.

    Raises:
        UserCodeError: there is none, or it raised; `needed_by` says what asked for it.
    """
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if _is_missing(name, error):
            hint = f"put `{name.replace('.', '/')}.py` there, or correct the name"
            message = f"{needed_by}: expected a module `{name}` in {project_dir}; there is none"
            raise UserCodeError(message, hint=hint) from None
        raise UserCodeError(f"{needed_by}: importing {name} raised {_told(error, project_dir)}") from error


def call_user_code(function: Callable[..., Any], *args: Any, spec: str, project_dir: Path) -> Any:
    """Call a function of the user's.

    Raises:
        UserCodeError: it raised; names the exception and the innermost line of the project that led to it.
    """
    try:
        return function(*args)
    except (EdgeccError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UserCodeError(f"{spec} raised {_told(error, project_dir)}") from error


def _is_missing(name: str, error: BaseException) -> bool:
    """Whether the module itself, or a package it lies in, was not found, rather than something it imports."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _told(error: BaseException, project_dir: Path) -> str:
    where = _where(error, project_dir)
    return f"{type(error).__name__}: {error}" + (f" ({where})" if where else "")


def _where(error: BaseException, project_dir: Path) -> str | None:
    """The innermost line of the user's own that the exception came through, as `file:line`."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if Path(frame.filename).is_relative_to(project_dir) and is_users_file(Path(frame.filename))
    ]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else None


def _nearest(name: str, module: ModuleType) -> str | None:
    public = [known for known in vars(module) if not known.startswith("_")]
    close = difflib.get_close_matches(name, public, n=1)
    return f"did you mean `{close[0]}`?" if close else None
