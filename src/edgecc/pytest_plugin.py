"""What pytest loads wherever edgecc is installed: nothing but this file, unless pytest-benchmark is there too."""

from __future__ import annotations

from importlib.util import find_spec

pytest_plugins = ["edgecc.pytest_fixtures"] if find_spec("pytest_benchmark") else []
