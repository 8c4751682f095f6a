"""Steps and layers in every report: the same answers everywhere, and what never ships stays out of the main table."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgecc.artifact import Format
from edgecc.benchmarks.gate import Built, judge
from edgecc.benchmarks.report import write_reports
from edgecc.benchmarks.report.html import render_html
from edgecc.benchmarks.report.layers import worst_layers
from edgecc.benchmarks.report.markdown import render_markdown
from edgecc.benchmarks.report.steps import step_lines, unpaid
from edgecc.benchmarks.report.summary import summarize
from edgecc.benchmarks.report.table import compiled_steps_table, results_table, steps_table
from edgecc.benchmarks.steps import PlannedStep
from edgecc.project import Project
from edgecc.results import Estimate, Judgement, Results

from .test_reports import HOSTILE, Page, printed

SIZE = {"metric": "size", "max": "1 kB"}
LONG = "small-distilled-pruned-int8"


@pytest.fixture
def judgement(make_project: Callable[..., Project], stepped: Results, built: Built) -> Judgement:
    return judge(make_project(SIZE), stepped, built)


def test_what_never_ships_has_no_row_and_no_verdict(stepped: Results, judgement: Judgement) -> None:
    assert [row.variant for row in summarize(stepped, judgement)] == ["float32", "int8"]
    assert "small@prune" not in printed(results_table(stepped, judgement))
    assert {verdict.variant for verdict in judgement.verdicts} == {"float32", "int8"}


def test_every_report_tells_the_same_of_steps(stepped: Results, judgement: Judgement) -> None:
    page = Page(render_html(stepped, judgement, None)).text
    terminal = printed(steps_table(stepped), width=200)  # type: ignore[arg-type]
    markdown = render_markdown(stepped, judgement).replace("\\", "")
    assert len(unpaid(stepped)) == 2
    for text in (page, terminal, markdown):
        assert all(sentence in text for sentence in unpaid(stepped))
        assert "5 processes of each artifact could tell a change of latency of 1.0 % at best and 1.5 % at worst" in text
        for line in step_lines(stepped):
            values = (*line.size, *line.compressed, *line.zeros, *line.score, line.p_value, *line.p50, line.interval)
            assert all(value in text for value in (*values, line.answer))


def test_steps_and_layers_survive_as_json(stepped: Results) -> None:
    assert Results.model_validate_json(stepped.model_dump_json()) == stepped


def test_the_steps_table_fits_80_columns(stepped: Results) -> None:
    steps = (stepped.steps[0].model_copy(update={"variant": LONG}),)
    rows = [row.model_copy(update={"variant": LONG}) if row.variant == "int8" else row for row in stepped.rows]
    text = printed(steps_table(stepped.model_copy(update={"steps": steps, "rows": tuple(rows)})))  # type: ignore[arg-type]
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(
        value in text for value in ("47.3 kB", "13.2 kB", "44.0 kB", "97.50 %", "1.30 ms", "no:", "slower", "1.28-1.32")
    )


def test_what_was_compiled_is_told_without_times(make_record: Callable[..., Any]) -> None:
    steps = [
        PlannedStep("int8", Format.TFLITE, make_record(lost_gained=(20, 2)), "float32"),
        PlannedStep("small@prune", Format.TFLITE, make_record(sizes=(1, 1), compressed=(1, 1)), None),
    ]
    text = printed(compiled_steps_table(steps, []))  # type: ignore[arg-type]
    assert "p50" not in text
    assert re.sub(r"\s+", " ", text).count("p < 0.001") == 1
    assert "nothing clear" in text
    assert compiled_steps_table([], []) is None


def test_other_tasks_scores_are_plain_numbers_by_their_metrics_name(
    stepped: Results, make_record: Callable[..., Any]
) -> None:
    record = make_record(lost_gained=None, scores=(0.9731, 0.9512))
    text = printed(compiled_steps_table([PlannedStep("int8", Format.TFLITE, record, None)], ["auc"]))  # type: ignore[arg-type]
    assert "user.auc" in text
    assert "0.9731" in text
    assert "p =" not in text


def test_results_without_steps_show_no_table(make_results: Callable[..., Results]) -> None:
    assert steps_table(make_results()) is None


def test_the_worst_layers_come_first(stepped: Results, judgement: Judgement) -> None:
    markdown = render_markdown(stepped, judgement)
    page = Page(render_html(stepped, judgement, None)).text
    for text in (markdown, page[page.index("the worst first") :]):
        places = [text.index(layer) for layer in ("conv2", "dense", "conv1", "embedding")]
        assert places == sorted(places)
    assert "<details><summary>" in markdown
    assert worst_layers(stepped.layers[0], 3) == (
        "int8 (tflite): the layers with the largest error: conv2 8.4 dB, dense 22.0 dB (kept in float), conv1 31.2 dB"
    )


def test_hostile_names_of_steps_and_layers_stay_text(stepped: Results, judgement: Judgement) -> None:
    layers = stepped.layers[0].model_copy(
        update={"layers": (stepped.layers[0].layers[0].model_copy(update={"layer": HOSTILE}),), "variant": HOSTILE}
    )
    steps = [step.model_copy(update={"reason": HOSTILE, "target": "gateway"}) for step in stepped.steps]
    results = stepped.model_copy(update={"layers": (layers,), "steps": tuple(steps)})
    page = Page(render_html(results, judgement, None))
    assert "script" not in page.tags
    assert HOSTILE.replace("\x1b", " ") in page.text
    markdown = render_markdown(results, judgement)
    assert "\x1b" not in markdown + printed(steps_table(results))  # type: ignore[arg-type]
    assert not re.search(r"<(?!/?(details|summary)>)", markdown.replace("\\<", ""))


def test_the_page_with_steps_and_layers_stands_alone(stepped: Results, judgement: Judgement) -> None:
    text = render_html(stepped, judgement, None)
    page = Page(text)
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.headers_without_scope == 0
    assert page.tags.count("svg") == page.tags.count("figcaption") == 4
    assert text == render_html(stepped, judgement, None)


def test_a_task_without_classes_is_shown_by_the_users_metric(
    make_results: Callable[..., Results], make_project: Callable[..., Project], built: Built
) -> None:
    results = make_results()
    scores = {"float32": (0.971, 3.5), "int8": (0.955, 4.0)}
    rows = []
    for row in results.rows:
        others = {name: value for name, value in row.estimates.items() if name != "accuracy"}
        auc, error = (Estimate(value=value, samples=100) for value in scores[row.variant])
        rows.append(row.model_copy(update={"estimates": {**others, "user.auc": auc, "user.error": error}}))
    results = results.model_copy(update={"rows": tuple(rows), "metrics": {"auc": "higher", "error": "lower"}})
    [_, int8] = summarize(results, None)
    assert (int8.score, int8.drop, int8.own) == ("0.955", "+0.016", ("4",))
    verdicts = judge(make_project(SIZE), results, built)
    for text in (printed(results_table(results, None)), render_markdown(results, verdicts)):
        assert "user.auc" in text
        assert "accuracy" not in text
    assert "user.error" in Page(render_html(results, verdicts, None)).text
    lower = results.model_copy(update={"metrics": {"error": "lower"}})
    assert summarize(lower, None)[1].drop == "+0.5"


@pytest.mark.browser
def test_a_browser_shows_steps_and_layers(
    chromium: Callable[..., str], stepped: Results, judgement: Judgement, tmp_path: Path
) -> None:
    index = write_reports(stepped, judgement, None, tmp_path / "report")[0]
    page = Page(chromium("--dump-dom", index.as_uri()))
    assert page.tags.count("svg") == 4
    assert all(sentence in page.text for sentence in unpaid(stepped))
