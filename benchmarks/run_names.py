"""How a command names a run: by its id or the start of it, as `latest`, `previous` or `baseline`, or by a file."""

from __future__ import annotations

from pathlib import Path

from edgecc.benchmarks import results_store
from edgecc.benchmarks.baseline import read_baseline
from edgecc.errors import ArtifactError
from edgecc.faults import nearest
from edgecc.files import is_file
from edgecc.project import ProjectFolder
from edgecc.results import Results

LATEST, PREVIOUS, BASELINE = NAMES = ("latest", "previous", "baseline")
_EXPECTED = "expected a run's id or the start of one, `latest`, `previous`, `baseline` or a results file"


def is_results_file(name: str) -> bool:
    """Whether it names a file rather than a run of the project."""
    return name not in NAMES and is_file(Path(name))


def find_run(name: str, folder: ProjectFolder) -> Results:
    """The results of a project's run.

    Raises:
        ArtifactError: no run has this name, or more than one; or its results cannot be read.
    """
    if name == LATEST:
        return results_store.load_latest(folder.results)
    if name == PREVIOUS:
        return _previous(folder)
    if name == BASELINE:
        return _baseline(folder)
    return results_store.load(folder.results / f"{_only(name, run_ids(folder.results))}.json")


def run_ids(results: Path) -> list[str]:
    """The runs whose results lie in a folder, the oldest first."""
    return sorted(path.stem for path in results.glob("*.json") if path.name != results_store.LATEST)


def _previous(folder: ProjectFolder) -> Results:
    latest = results_store.load_latest(folder.results).run_id
    earlier = [run_id for run_id in run_ids(folder.results) if run_id < latest]
    if not earlier:
        raise ArtifactError(
            f"{folder.results}: expected a run before {latest}; there is none", hint="edgecc bench measures anew"
        )
    return results_store.load(folder.results / f"{earlier[-1]}.json")


def _baseline(folder: ProjectFolder) -> Results:
    baseline = read_baseline(folder)
    if baseline is None:
        message = f"{folder.baseline}: no such folder: there is no baseline yet"
        raise ArtifactError(message, hint="edgecc baseline set makes one")
    return baseline.results


def _only(name: str, known: list[str]) -> str:
    fitting = [name] if name in known else [run_id for run_id in known if name and run_id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = ", ".join(fitting[:5]) + (", ..." if len(fitting) > 5 else "")
        raise ArtifactError(f"{_EXPECTED}; {name!r} is the start of {len(fitting)}: {listed}", hint="write more of it")
    close = nearest(name, [*NAMES, *known])
    hint = (
        f"did you mean {close}?" if close else f"the last run is {known[-1]}" if known else "nothing was measured yet"
    )
    raise ArtifactError(f"{_EXPECTED}; got {name!r}", hint=hint)
