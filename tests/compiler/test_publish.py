from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecc.compiler.publish import Publisher
from edgecc.errors import OutputError
from edgecc.project_file import load_project

PROJECT = """
version = 1
name = "p"
variants.float32 = {}
[model]
builder = "models:build"
[data]
loader = "my_data:load"
"""


def test_a_build_folder_that_cannot_be_changed_is_told(tmp_path: Path) -> None:
    (tmp_path / "edgecc.toml").write_text(PROJECT)
    (tmp_path / "build").write_text("a file where the folder should be")
    plan: Any = SimpleNamespace(data=None, tune=None, emissions=())
    pipeline: Any = SimpleNamespace(is_finished=lambda _stage: False)
    with pytest.raises(OutputError, match=r"cannot write to .*build"):
        Publisher(load_project(tmp_path, {}), plan, pipeline).publish()
