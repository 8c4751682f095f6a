"""Results on disk: every bench under its own name, and the latest."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from edgecc.artifact import first_problem
from edgecc.errors import ArtifactError
from edgecc.files import write_atomically
from edgecc.results import RESULTS_VERSION, Results

LATEST = "latest.json"
_BENCH_AGAIN = "edgecc bench measures anew"


def new_run_id(started_at: datetime) -> str:
    """A name for a bench: UTC time of its start, with a random tail."""
    return f"{started_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def save(results: Results, folder: Path) -> Path:
    """Write results under their run's name and as the latest; returns the former.

    Raises:
        OutputError: the folder cannot be written to.
    """
    text = results.model_dump_json(indent=1) + "\n"
    path = folder / f"{results.run_id}.json"
    write_atomically(path, text)
    write_atomically(folder / LATEST, text)
    return path


def load_latest(folder: Path) -> Results:
    """Read the last bench's results.

    Raises:
        ArtifactError: there are none, or the file is not what it should be.
    """
    path = folder / LATEST
    if not path.exists():
        raise ArtifactError(f"{path}: no such file: nothing was measured yet", hint=_BENCH_AGAIN)
    return load(path)


def load(path: Path) -> Results:
    """Read results and check every field.

    Raises:
        ArtifactError: the file cannot be read, is damaged, is something else, or is of another version of edgecc.
    """
    try:
        content = path.read_bytes()
        document = json.loads(content)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}", hint=_BENCH_AGAIN) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: expected results as JSON; {error}", hint=_BENCH_AGAIN) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != RESULTS_VERSION:
        message = f"{path}: expected results of schema_version {RESULTS_VERSION}; got {version!r}"
        raise ArtifactError(message, hint=_BENCH_AGAIN)
    try:
        return Results.model_validate_json(content)
    except ValidationError as error:
        raise ArtifactError(f"{path}: expected results; {first_problem(error)}", hint=_BENCH_AGAIN) from error
