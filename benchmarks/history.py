"""Every value that was ever measured, in one database beside the results: an index of results/*.json.

Nothing is in it that a results file did not say, so it can be made again from them at any time. A run that it knows
stays in it when the file goes.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from filelock import FileLock

from edgecc.benchmarks import results_store
from edgecc.benchmarks.compare import conditions, environment_key
from edgecc.benchmarks.run_names import run_ids
from edgecc.errors import ArtifactError, OutputError
from edgecc.files import writing_to
from edgecc.metrics import Metric
from edgecc.results import Results, Row

FILE = "history.sqlite"
LOCK = f"{FILE}.lock"
SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, started_at TEXT NOT NULL, git_commit TEXT);
CREATE TABLE artifacts (id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE);
CREATE TABLE environments (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, conditions TEXT NOT NULL);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, metric TEXT NOT NULL, variant TEXT NOT NULL, format TEXT NOT NULL, target TEXT NOT NULL,
    target_kind TEXT NOT NULL, UNIQUE (metric, variant, format, target, target_kind)
);
CREATE TABLE points (
    series INTEGER NOT NULL REFERENCES series, run INTEGER NOT NULL REFERENCES runs,
    artifact INTEGER NOT NULL REFERENCES artifacts, environment INTEGER REFERENCES environments,
    value REAL NOT NULL, low REAL, high REAL, PRIMARY KEY (series, run)
) WITHOUT ROWID;
CREATE VIEW history AS
    SELECT run_id, variant, format, target, metric, sha256 AS artifact_sha256, target_kind, key AS environment,
        conditions, value, low, high, git_commit, started_at, series
    FROM points JOIN series ON series.id = series JOIN runs ON runs.id = run
    JOIN artifacts ON artifacts.id = artifact LEFT JOIN environments ON environments.id = environment;
"""
_SIDE_FILES = ("", "-journal", "-wal", "-shm")
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
AnswerT = TypeVar("AnswerT")


class Point(NamedTuple):
    """One value of one run."""

    run_id: str
    started_at: str
    git_commit: str | None
    artifact_sha256: str
    value: float
    low: float | None
    high: float | None
    """The ends of its interval, where it has one."""


@dataclass(frozen=True)
class Line:
    """One metric of one artifact on one target in one environment, in the order of the runs."""

    variant: str
    format: str
    target: str | None
    """None where the metric does not depend on it."""
    conditions: dict[str, Any] | None
    """What the values share, as `edgecc.benchmarks.compare.conditions` tells; None where nothing matters."""
    points: list[Point]


@dataclass(frozen=True)
class History:
    """One metric over all runs of a project."""

    lines: list[Line]
    notes: tuple[str, ...]
    """What could not be read and what is lost, in sentences."""


def refresh(folder: Path) -> tuple[str, ...]:
    """Take in the runs in a folder of results that the history does not know yet.

    A results file that cannot be read is named in the notes that come back, and tried again the next time. A database
    that is damaged, or of another version of edgecc, is made anew.

    Raises:
        OutputError: the folder cannot be written to.
    """
    return _refreshed(folder, lambda _: None)[1]


def read_history(folder: Path, metric: Metric) -> History:
    """Take in what is new, as `refresh` does, and read every line of a metric.

    Raises:
        OutputError: the folder cannot be written to.
    """
    return History(*_refreshed(folder, lambda database: _lines(database, metric)))


def _refreshed(folder: Path, read: Callable[[sqlite3.Connection], AnswerT]) -> tuple[AnswerT, tuple[str, ...]]:
    with _locked(folder), _refusals(folder):
        try:
            notes = tuple(_prepare(folder))
            return _add_and_read(folder, read, notes)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        notes = (_remove(folder, "was damaged"), *_prepare(folder))
        return _add_and_read(folder, read, notes)


def _add_and_read(
    folder: Path, read: Callable[[sqlite3.Connection], AnswerT], notes: tuple[str, ...]
) -> tuple[AnswerT, tuple[str, ...]]:
    with contextlib.closing(_connect(folder)) as database:
        notes = (*notes, *_add_new_runs(database, folder))
        return read(database), notes


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time, so that none sees a database that another one removes."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OutputError(
            f"{folder / FILE}: cannot be used: {error}",
            hint="free space there or change its permissions; it can be removed: the results make it anew",
        ) from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    # A table or column that is missing is SQLITE_ERROR: the version says that it should be there.
    return code == sqlite3.SQLITE_ERROR or (code is not None and code & 0xFF in _DAMAGED)


def _remove(folder: Path, why: str) -> str:
    with writing_to(folder):
        for suffix in _SIDE_FILES:
            (folder / f"{FILE}{suffix}").unlink(missing_ok=True)
    return f"{FILE} {why} and was made anew: it holds the runs whose results are in {folder.name}/"


def _connect(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / FILE)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last runs, which are added again
    return database


def _prepare(folder: Path) -> Iterator[str]:
    """Make a database of this version; gives a sentence where that costs another one."""
    with contextlib.closing(_connect(folder)) as database:
        version = _version(database)
    if version not in (0, SCHEMA_VERSION):
        yield _remove(folder, f"was of version {version}, not {SCHEMA_VERSION},")
    with contextlib.closing(_connect(folder)) as database:
        if _version(database) == 0:
            database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _add_new_runs(database: sqlite3.Connection, folder: Path) -> Iterator[str]:
    """Add what is new; gives a sentence for whatever could not be added."""
    known = {run_id for (run_id,) in database.execute("SELECT run_id FROM runs")}
    for run_id in run_ids(folder):
        if run_id not in known:
            yield from _add_file(database, folder / f"{run_id}.json")


def _add_file(database: sqlite3.Connection, path: Path) -> Iterator[str]:
    try:
        results = results_store.load(path)
    except ArtifactError as error:
        yield f"left out: {error.message}"
        return
    if results.run_id != path.stem:
        yield f"left out: {path}: expected the run {path.stem}; it holds {results.run_id}"
        return
    with database:  # a run is in it whole, or not at all
        yield from _add(database, results)


def _add(database: sqlite3.Connection, results: Results) -> Iterator[str]:
    run = database.execute(
        "INSERT INTO runs (run_id, started_at, git_commit) VALUES (?, ?, ?)",
        (results.run_id, results.started_at, results.git_commit),
    ).lastrowid
    for row in results.variant_rows:
        artifact = _identity(database, "artifacts", sha256=row.artifact.sha256)
        environment = _environment(database, row)
        for metric, estimate in row.estimates.items():
            series = _identity(
                database, "series", metric=metric, variant=row.variant, format=str(row.format), target=row.target,
                target_kind=row.target_kind,
            )  # fmt: skip
            values = (series, run, artifact, environment, *map(_finite, (estimate.value, estimate.low, estimate.high)))
            added = database.execute(
                "INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?, ?)",  # without a value, and what is there twice
                values,
            )
            if not added.rowcount:
                where = f"{row.variant} ({row.format}) on {row.target} in {results.run_id}"
                yield f"left out: {metric} of {where}: expected one finite value; got {estimate.value}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _environment(database: sqlite3.Connection, row: Row) -> int | None:
    key = environment_key(row)
    if key is None:
        return None
    return _identity(database, "environments", key=key, conditions=json.dumps(conditions(row), sort_keys=True))


def _identity(database: sqlite3.Connection, table: str, **columns: str) -> int:
    """The id of the row with these columns, which is added where it is not there yet."""
    wanted, values = " AND ".join(f"{name} = ?" for name in columns), tuple(columns.values())
    found = database.execute(f"SELECT id FROM {table} WHERE {wanted}", values).fetchone()  # noqa: S608 - names of ours
    if found is not None:
        return int(found[0])
    marks = ", ".join("?" for _ in columns)
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
    return int(database.execute(statement, values).lastrowid or 0)


def _lines(database: sqlite3.Connection, metric: Metric) -> list[Line]:
    found: dict[tuple[str, str, str | None, str | None], Line] = {}
    rows = database.execute(
        "SELECT variant, format, target, environment, conditions, run_id, started_at, git_commit, artifact_sha256, "
        "value, low, high FROM history WHERE metric = ? ORDER BY series, run_id",
        (metric.name,),
    )
    for variant, format, target, environment, shared, *values in rows:
        place, key, told = (target, environment, shared) if metric.on_target else (None, None, None)
        line = found.get((variant, format, place, key))
        if line is None:
            line = Line(variant, format, place, None if told is None else json.loads(told), [])
            found[variant, format, place, key] = line
        line.points.append(Point._make(values))
    return [line if metric.on_target else _each_run_once(line) for line in found.values()]


def _each_run_once(line: Line) -> Line:
    """What does not depend on the target was told once for each."""
    once = {point.run_id: point for point in line.points}
    return Line(line.variant, line.format, None, None, [once[run_id] for run_id in sorted(once)])
