"""Which of the user's own modules a stage imported: they belong to its cache key.

A stage starts and ends with none of the project's modules loaded, so that each stage imports what it needs by itself.
What is loaded when it ends is what it depends on, imports inside functions included.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgecc.files import sha256_of_file


@contextlib.contextmanager
def importable(project_dir: Path) -> Iterator[None]:
    """Let the project's modules be imported, and forget them afterwards: another project may have the same names.

    No byte code is left there: Python checks it by modification time in whole seconds, and would miss a quick edit.
    """
    wrote_bytecode = sys.dont_write_bytecode
    _forget_modules(project_dir)
    sys.path.insert(0, str(project_dir))
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote_bytecode
        sys.path.remove(str(project_dir))
        _forget_modules(project_dir)


def _forget_modules(project_dir: Path) -> None:
    importlib.invalidate_caches()
    for name, _ in list(_loaded(project_dir)):
        del sys.modules[name]


def snapshot(project_dir: Path) -> dict[str, str]:
    """sha256 of every Python file of the project, by its path relative to the project."""
    return {str(file.relative_to(project_dir)): sha256_of_file(file) for file in _python_files(project_dir)}


def imported_modules(project_dir: Path, before: Mapping[str, str]) -> dict[str, str]:
    """sha256 of every project module that is loaded now, by its path relative to the project.

    The digests are those `before` the stage ran: a file that was edited meanwhile is not what was imported.
    """
    files = sorted({file for _, file in _loaded(project_dir)})
    relative = {str(file.relative_to(project_dir)): file for file in files}
    return {name: before.get(name) or sha256_of_file(file) for name, file in relative.items()}


def unchanged(modules: Mapping[str, str], project_dir: Path) -> bool:
    """True if every module still has the contents it had."""
    for relative, digest in modules.items():
        file = project_dir / relative
        if not file.is_file() or sha256_of_file(file) != digest:
            return False
    return True


def _loaded(project_dir: Path) -> Iterator[tuple[str, Path]]:
    for name, module in list(sys.modules.items()):
        # Not getattr: a lazy module would import itself to answer.
        file = getattr(module, "__dict__", {}).get("__file__")
        if file is None or name == "__main__" or name.split(".")[0] == "edgecc":
            continue
        path = Path(file)
        if path.is_relative_to(project_dir) and not _is_foreign(path.relative_to(project_dir)):
            yield name, path


def _is_foreign(relative: Path) -> bool:
    """True for what lies in the project's folder without being the user's code, such as a virtual environment."""
    return "site-packages" in relative.parts or any(part.startswith(".") for part in relative.parts)


def _python_files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir() and not (entry / "pyvenv.cfg").exists():
            yield from _python_files(entry)
        elif entry.suffix == ".py":
            yield entry
