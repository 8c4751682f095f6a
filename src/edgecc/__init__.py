"""edgecc: compile Keras models for edge devices, measure what was built, and stop a release that breaks its budget.

The verbs of the command line are plain functions here, imported when they are first used:

    import edgecc
    edgecc.compile("examples/digits")
    results = edgecc.bench("examples/digits")
    judgement = edgecc.gate("examples/digits")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgecc.api import (
        bench,
        bench_file,
        bench_suite,
        clean,
        clean_up_targets,
        compare,
        compile,
        doctor,
        gate,
        history_report,
        init,
        lint,
        lint_files,
        list_targets,
        release,
        report,
        run,
        schemas,
        search,
        set_baseline,
        set_up_targets,
        why,
    )

__version__ = "0.1.0"
__all__ = [
    "bench",
    "bench_file",
    "bench_suite",
    "clean",
    "clean_up_targets",
    "compare",
    "compile",
    "doctor",
    "gate",
    "history_report",
    "init",
    "lint",
    "lint_files",
    "list_targets",
    "release",
    "report",
    "run",
    "schemas",
    "search",
    "set_baseline",
    "set_up_targets",
    "why",
]


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name in __all__:
        import edgecc.api

        return getattr(edgecc.api, name)
    raise AttributeError(f"module 'edgecc' has no attribute {name!r}")
