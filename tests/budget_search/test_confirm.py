"""What was chosen is compiled, measured and judged beside what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from edgecc.artifact import Format
from edgecc.budget_search.confirm import confirm
from edgecc.compiler.plan import make_plan
from edgecc.progress import Silent
from edgecc.project import Project, ProjectFolder
from edgecc.results import Judgement, Status, Verdict
from edgecc.search_outcome import Point, Rung

BUDGETS: list[dict[str, Any]] = [
    {"metric": "size", "max": "10 kB"},
    {"metric": "size", "max": "90 kB", "variant": "old"},
    {"metric": "size", "max_regression": "1 %"},
    {"metric": "latency.p90", "max": "1 ms", "severity": "warn"},
    {"metric": "accuracy", "max_drop": "1 pp", "against": "old"},
]
VARIANTS: dict[str, Any] = {"float32": {}, "other": {"quantize": "int8"}, "old": {"quantize": "weight_only"}}
TARGETS = {"host": {"kind": "x86_cpu"}, "pi": {"kind": "x86_cpu"}}


def point(name: str, format: Format) -> Point:
    table = {"quantize": {"scheme": "int8"}, "formats": [str(format)]}
    return Point(
        name=name, open_variant="small", format=format, values={}, table=table, rung=Rung.FULL, figures={},
        parameters=None, operators=None,
    )  # fmt: skip


def verdict(variant: str, target: str | None) -> Verdict:
    return Verdict(
        status=Status.PASS, severity="error", metric="size", variant=variant, format=None, target=target, limit="",
        observed="", observed_value=None, limit_value=1, reason="",
    )  # fmt: skip


class Seams:
    """What the compiler, the bench and the gate were given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, verdicts: list[Verdict]) -> None:
        self.folder: ProjectFolder
        self.emitted: list[tuple[str, Format]] = []
        self.judgement = Judgement(run_id="r", project="demo", verdicts=tuple(verdicts))
        for name, stand_in in {
            "compile_project": self._compile,
            "plan_project": lambda *_: None,
            "measure": lambda *_: None,
            "built_now": lambda *_: None,
            "judge": lambda *_: self.judgement,
        }.items():
            monkeypatch.setattr(f"edgecc.budget_search.confirm.{name}", stand_in)

    def _compile(self, folder: ProjectFolder, emitted: list[tuple[str, Format]], **_others: Any) -> None:
        self.folder, self.emitted = folder, emitted

    @property
    def project(self) -> Project:
        return self.folder.project


@pytest.fixture
def confirmed(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Seams, Judgement]]:
    def make(chosen: dict[str, Point], verdicts: list[Verdict] | None = None) -> tuple[Seams, Judgement]:
        seams = Seams(monkeypatch, verdicts or [])
        project = make_project(variants=VARIANTS, targets=TARGETS, budgets=BUDGETS)
        folder = ProjectFolder(root=tmp_path, file=tmp_path / "edgecc.toml", project=project)
        return seams, confirm(folder, chosen, [], {}, progress=Silent(), run_artifact=cast("Any", None))

    return make


def test_only_what_was_chosen_ships_beside_what_it_is_compared_with(confirmed: Any) -> None:
    seams, _ = confirmed({"host": point("a", Format.TFLITE), "pi": point("a", Format.TFLITE)})
    assert seams.project.shipped == ("a",)
    assert set(seams.project.variants) == {"float32", "old", "a"}
    assert [(budget.metric, budget.written) for budget in seams.project.budgets] == [
        ("size", "10 kB"), ("latency.p90", "1 ms"), ("accuracy", "1 pp"),
    ]  # fmt: skip


def test_what_it_is_compared_with_is_emitted_alike_where_it_can_be(confirmed: Any) -> None:
    """There is no weight-only ONNX."""
    seams, _ = confirmed({"host": point("a", Format.ONNX)})
    assert seams.emitted == [
        ("float32", Format.TFLITE), ("float32", Format.ONNX), ("old", Format.TFLITE), ("a", Format.ONNX),
    ]  # fmt: skip
    assert make_plan(seams.folder, seams.emitted).emissions


def test_each_recipe_is_judged_on_its_own_target(confirmed: Any) -> None:
    every = [verdict(name, target) for name in ("a", "b") for target in (None, "host", "pi")]
    _, judgement = confirmed({"host": point("a", Format.TFLITE), "pi": point("b", Format.TFLITE)}, every)
    assert [(each.variant, each.target) for each in judgement.verdicts] == [
        ("a", None), ("a", "host"), ("b", None), ("b", "pi"),
    ]  # fmt: skip
