"""From budgets to a recipe, on real data and with the real runtimes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.benchmarks.report.variant_toml import variant_toml
from edgecc.errors import ExitCode
from edgecc.search_outcome import Rung, SearchOutcome

Edgecc = Callable[..., Any]
pytestmark = [pytest.mark.tf, pytest.mark.dev]

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits-search"
SEARCH = """
[verify]
min_agreement_quantized = "50 %"

[bench]
processes = 2
inferences = 40

[search]
max_trainings = 2
short = 0.34

[search.variants.student]
quantize = "int8"

[search.variants.student.distill]
student = "models:student"
hp = { filters = { choice = [4, 8] }, depth = 1 }

[search.variants.quantized]
quantize = "int8"

[targets.host]
kind = "x86_cpu"

[[budgets]]
metric = "size"
max = "40 kB"

[[budgets]]
metric = "latency.p90"
max = "1 s"

[[budgets]]
metric = "accuracy"
max_drop = "90 pp"
"""
"""Three recipes, and budgets that any of them meets."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example with fewer recipes, which train for a moment only."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(EXAMPLE / "models.py", folder)
    head, _, _ = (EXAMPLE / "edgecc.toml").read_text().partition("# What may be chosen")
    assert "epochs = 40" in head
    (folder / "edgecc.toml").write_text(head.replace("epochs = 40", "epochs = 3") + SEARCH)
    return folder


@pytest.fixture
def no_tf(tmp_path: Path) -> str:
    """Where Python finds a TensorFlow that must not be imported."""
    (tmp_path / "no_tf" / "tensorflow").mkdir(parents=True)
    (tmp_path / "no_tf/tensorflow/__init__.py").write_text("raise SystemExit('TensorFlow was imported')")
    return str(tmp_path / "no_tf")


def stages(project: Path) -> dict[str, Any]:
    """The records of all that is in the cache."""
    entries = [json.loads(path.read_text()) for path in (project / ".edgecc/cache").glob("*/*/entry.json")]
    return {f"{index} {entry['record']['name']}": entry["record"] for index, entry in enumerate(entries)}


def trained(project: Path) -> list[str]:
    """The stages that trained something."""
    return [name for name, record in stages(project).items() if record["options"].get("train", {}).get("epochs")]


def without_times(outcome: SearchOutcome) -> dict[str, Any]:
    shown = outcome.model_dump(exclude={"started_at", "duration_s"})
    judgement = shown.pop("judgement")
    return shown | {"verdicts": [(each["metric"], each["status"]) for each in judgement["verdicts"]]}


def test_a_search_finds_a_recipe_that_compiles_from_the_cache(edgecc: Edgecc, project: Path, no_tf: str) -> None:
    searched = edgecc("search", project, "--json")
    assert searched.code == ExitCode.PASSED, searched.err
    outcome = SearchOutcome.model_validate_json(searched.out)
    assert len(outcome.points) == 3
    assert [point.rung for point in outcome.points if point.open_variant == "quantized"] == [Rung.FULL]
    assert sum(point.rung is Rung.FULL for point in outcome.points) <= 3
    assert any(point.rung is Rung.FULL for point in outcome.points if point.open_variant == "student")
    assert outcome.front
    assert outcome.training_s > 0
    for objective in outcome.objectives:
        assert all(objective.key in point.figures for point in outcome.front)
    name = outcome.chosen["host"]
    assert outcome.point(name).meets
    assert outcome.judgement is not None
    assert {each.variant for each in outcome.judgement.verdicts} == {name}
    assert SearchOutcome.model_validate_json((project / "report/search.json").read_text()) == outcome
    assert name in (project / "report/search.html").read_text()
    assert (project / "build" / name / "digits-search.tflite").stat().st_size == outcome.point(name).figures[
        "size"
    ].value

    # Begun again, it goes on where it was: at the end.
    before = stages(project)
    assert trained(project)
    again = edgecc("search", project, "--json", PYTHONPATH=no_tf)
    assert again.code == ExitCode.PASSED, again.err
    assert without_times(SearchOutcome.model_validate_json(again.out)) == without_times(outcome)
    assert stages(project) == before

    # Pasted, it is in the cache already.
    text = (project / "edgecc.toml").read_text()
    (project / "edgecc.toml").write_text(text + "\n" + variant_toml(name, outcome.point(name).table))
    compiled = edgecc("compile", project, "--variant", name, PYTHONPATH=no_tf)
    assert (compiled.code, compiled.err.strip()[-19:]) == (ExitCode.PASSED, "nothing had changed")


def test_an_impossible_budget_trains_nothing(edgecc: Edgecc, project: Path) -> None:
    text = (project / "edgecc.toml").read_text()
    (project / "edgecc.toml").write_text(text.replace('max = "40 kB"', 'max = "200 B"'))
    searched = edgecc("search", project)
    assert searched.code == ExitCode.BUDGET_BROKEN, searched.err
    assert "size at most 200 B: no recipe meets it" in " ".join(searched.out.split())
    outcome = SearchOutcome.model_validate_json((project / "report/search.json").read_text())
    assert outcome.chosen == {}
    smallest = min(outcome.points, key=lambda point: point.figures["size"].value)
    assert [(each.limit.objective.metric, each.point) for each in outcome.bindings] == [("size", smallest.name)]
    assert all(point.rung is Rung.UNTRAINED for point in outcome.points)
    assert stages(project)
    assert trained(project) == []
    assert not (project / "build").exists()
