"""What several of these tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgecc.project_code import importable


@pytest.fixture
def project_dir(tmp_path: Path) -> Iterator[Path]:
    """An empty project's folder, importable as it is while a stage runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    with importable(folder):
        yield folder
