from __future__ import annotations

from pathlib import Path

import pytest

from edgecc.errors import DataError, UserCodeError
from edgecc.user_code import load_entry_point


def test_a_function_is_found_and_called(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("def twice(x):\n    return 2 * x\n")
    assert load_entry_point("models:twice", project_dir)(21) == 42
    assert not list(project_dir.rglob("*.pyc"))


def test_a_missing_module_is_named(project_dir: Path) -> None:
    with pytest.raises(UserCodeError, match=r"no_such:f: expected a module `no_such` in .*project; there is none"):
        load_entry_point("no_such:f", project_dir)


def test_a_module_that_imports_a_missing_one_is_not_itself_missing(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("\nimport no_such_library\n")
    with pytest.raises(UserCodeError, match=r"importing models raised ModuleNotFoundError.*models\.py:2"):
        load_entry_point("models:f", project_dir)


def test_a_module_that_raises_is_told_with_its_line(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("a = 1\nb = a / 0\n")
    with pytest.raises(UserCodeError, match=r"importing models raised ZeroDivisionError: .*models\.py:2\)"):
        load_entry_point("models:f", project_dir)


def test_a_module_that_does_not_parse_is_told_with_its_line(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("a = 1\n\ndef f(:\n    pass\n")
    with pytest.raises(UserCodeError, match=r"SyntaxError: .*models\.py:3\)"):
        load_entry_point("models:f", project_dir)


def test_a_misspelt_function_gets_the_nearest_name(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("def build_cnn(hp):\n    pass\n")
    with pytest.raises(UserCodeError, match="models has no `buildcnn`") as caught:
        load_entry_point("models:buildcnn", project_dir)
    assert caught.value.hint == "did you mean `build_cnn`?"


def test_what_cannot_be_called_is_refused(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("cnn = 3\n")
    with pytest.raises(UserCodeError, match="models:cnn: expected a function; got int"):
        load_entry_point("models:cnn", project_dir)


def test_a_call_that_raises_names_the_innermost_line_of_the_project(project_dir: Path) -> None:
    (project_dir / "layers.py").write_text("import json\n\ndef inner():\n    json.loads('{')\n")
    (project_dir / "models.py").write_text("import layers\n\ndef build(hp):\n    return layers.inner()\n")
    with pytest.raises(UserCodeError, match=r"models:build raised JSONDecodeError: .*layers\.py:4\)"):
        load_entry_point("models:build", project_dir)(None)


def test_a_call_that_exits_does_not_end_the_program(project_dir: Path) -> None:
    (project_dir / "models.py").write_text("import sys\n\ndef build(hp):\n    sys.exit(3)\n")
    with pytest.raises(UserCodeError, match=r"raised SystemExit: 3"):
        load_entry_point("models:build", project_dir)(None)


def test_our_own_errors_pass_through(project_dir: Path) -> None:
    (project_dir / "models.py").write_text(
        "from edgecc.errors import DataError\n\ndef load():\n    raise DataError('no file')\n"
    )
    with pytest.raises(DataError, match="no file"):
        load_entry_point("models:load", project_dir)()
