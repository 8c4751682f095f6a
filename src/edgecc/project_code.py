"""Which of the user's own modules a stage imported: they belong to its cache key.

A stage starts and ends with none of the user's modules loaded, so that each stage imports what it needs by itself.
What is loaded when it ends is what it depends on: imports inside functions included, and modules outside the project's
folder too, unless they are installed libraries.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgecc.files import sha256_of_file

CHANGED = "changed while the stage ran"
"""Stands for the digest of a file that was edited meanwhile: it is no file's digest, so the entry is not used again."""

_LIBRARIES = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]


class ProjectCode:
    """The user's modules while one stage runs; made by `importable`."""

    def __init__(self, project_dir: Path) -> None:
        self._project_dir = project_dir
        self._loaded_before = set(sys.modules)

    def imported(self, before: Mapping[str, str]) -> dict[str, str]:
        """sha256 of every module of the user's that is loaded now, by its path (relative where in the project).

        Args:
            before: what `snapshot` gave before the stage ran.
        """
        files = {self._spelled(file): file for _, file in self.modules()}
        digests = {name: sha256_of_file(file) for name, file in sorted(files.items())}
        return {name: sha if before.get(name, sha) == sha else CHANGED for name, sha in digests.items()}

    def modules(self) -> Iterator[tuple[str, Path]]:
        """Name and file of the user's modules: all in the project's folder, and others loaded since this was made."""
        for name, module in list(sys.modules.items()):
            # Not getattr: a lazy module would import itself to answer.
            file = getattr(module, "__dict__", {}).get("__file__")
            if file is None or name == "__main__" or name.split(".")[0] == "edgecc":
                continue
            is_new = name not in self._loaded_before
            if is_users_file(Path(file)) and (is_new or Path(file).is_relative_to(self._project_dir)):
                yield name, Path(file)

    def _spelled(self, file: Path) -> str:
        inside = file.is_relative_to(self._project_dir)
        return str(file.relative_to(self._project_dir) if inside else file)

    def forget(self) -> None:
        """Let the next import of each of them read its file again."""
        importlib.invalidate_caches()
        for name, _ in list(self.modules()):
            del sys.modules[name]


@contextlib.contextmanager
def importable(project_dir: Path) -> Iterator[ProjectCode]:
    """Let the project's modules be imported, and forget them afterwards: another project may have the same names.

    No byte code is left there: Python checks it by modification time in whole seconds, and would miss a quick edit.
    """
    wrote_bytecode = sys.dont_write_bytecode
    code = ProjectCode(project_dir)
    code.forget()
    sys.path.insert(0, str(project_dir))
    sys.dont_write_bytecode = True
    try:
        yield code
    finally:
        sys.dont_write_bytecode = wrote_bytecode
        sys.path.remove(str(project_dir))
        code.forget()


def snapshot(project_dir: Path) -> dict[str, str]:
    """sha256 of every Python file of the project, by its path relative to the project."""
    return {str(file.relative_to(project_dir)): sha256_of_file(file) for file in _python_files(project_dir)}


def unchanged(modules: Mapping[str, str], project_dir: Path) -> bool:
    """True if every module still has the contents it had."""
    for name, digest in modules.items():
        file = project_dir / name  # an absolute path stays what it is
        if not file.is_file() or sha256_of_file(file) != digest:
            return False
    return True


def is_users_file(file: Path) -> bool:
    """Whether code is the user's own, rather than of an installed library, be it in a virtual environment of his."""
    in_library = any(file.is_relative_to(library) for library in _LIBRARIES)
    return not in_library and not {"site-packages", "dist-packages"} & set(file.parts)


def _python_files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.is_symlink():
            continue
        if entry.is_dir() and not (entry / "pyvenv.cfg").exists():
            yield from _python_files(entry)
        elif entry.suffix == ".py":
            yield entry
