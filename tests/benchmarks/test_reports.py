"""Reports: they say what the verdicts say, need no network, and let no name or message break out of its place."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from junitparser import Error, JUnitXml, TestSuite
from junitparser import Failure as Broken
from rich.console import Console, RenderableType

from edgecc.benchmarks.gate import Built, judge
from edgecc.benchmarks.report import write_reports
from edgecc.benchmarks.report.html import render_html
from edgecc.benchmarks.report.junit import render_junit
from edgecc.benchmarks.report.markdown import render_markdown
from edgecc.benchmarks.report.plots import plots
from edgecc.benchmarks.report.summary import group_unmeasured, headline, interval, summarize
from edgecc.benchmarks.report.table import results_table, verdict_table
from edgecc.benchmarks.report.trials import read_tuning
from edgecc.errors import ArtifactError
from edgecc.project import Project
from edgecc.results import Estimate, Failure, FailureKind, Judgement, Results

MakeProject = Callable[..., Project]
MakeResults = Callable[..., Results]
BROKEN = {"metric": "size", "variant": "int8", "max": "300 B"}
KEPT = {"metric": "accuracy", "variant": "int8", "max_drop": "1 pp"}
UNMEASURED = {"metric": "latency.p99", "variant": "int8", "max": "2 ms"}
ONLY_WARNS = {"metric": "latency.p50", "variant": "int8", "max": "1 µs", "severity": "warn"}
HOSTILE = '<script>alert(1)</script>" onload="x|*y*`\x1b[31m'
THROUGHPUT = Estimate(value=96_154.3, samples=1000, low=95_000.2, high=97_001.0)
TRIALS = [
    {
        "id": "0000", "values": {"units": 32, "dropout": 0.25}, "status": "completed",
        "reason": None, "score": 0.91, "epochs": 3,
    },
    {
        "id": "0001", "values": {"units": 512, "dropout": 0.5}, "status": "failed",
        "reason": "too <large>", "score": None, "epochs": 0,
    },
]  # fmt: skip


@pytest.fixture
def judged(make_project: MakeProject, make_results: MakeResults, built: Built) -> tuple[Results, Judgement]:
    """One budget of each outcome."""
    results = make_results()
    return results, judge(make_project(BROKEN, KEPT, UNMEASURED, ONLY_WARNS), results, built)


@pytest.fixture
def trials(tmp_path: Path) -> Path:
    path = tmp_path / "trials.json"
    path.write_text(json.dumps({"objective": "val_accuracy", "best": TRIALS[0]["id"], "trials": TRIALS}))
    return path


class Page(HTMLParser):
    """What of a page could reach out, and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.headers_without_scope = 0
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.ids += [str(value) for name, value in attrs if name == "id"]
        self.references += [
            str(value) for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}
        ]
        self.references += [part for value in values.values() for part in re.findall(r"url\(([^)]*)\)", value or "")]
        self.headers_without_scope += tag == "th" and "scope" not in values

    def handle_data(self, data: str) -> None:
        self.text += data
        self.references += re.findall(r"url\(([^)]*)\)|@import", data)


def test_the_page_stands_alone(judged: tuple[Results, Judgement], trials: Path) -> None:
    text = render_html(*judged, read_tuning(trials))
    page = Page(text)
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_can_be_read_by_a_machine_that_reads_aloud(judged: tuple[Results, Judgement], trials: Path) -> None:
    page = Page(render_html(*judged, read_tuning(trials)))
    assert page.tags.count("table") == page.tags.count("caption") > 0
    assert page.headers_without_scope == 0
    svgs = page.tags.count("svg")
    assert svgs == 4
    assert (page.tags.count("desc"), page.tags.count("figcaption")) == (svgs, svgs)


def test_the_page_leads_with_the_verdict_and_tells_every_reason(judged: tuple[Results, Judgement]) -> None:
    results, judgement = judged
    text = Page(render_html(results, judgement, None)).text
    assert text.index(headline(judgement)) < text.index("Results")
    for verdict in judgement.verdicts:
        assert verdict.status == "pass" or verdict.reason in text
    for group in group_unmeasured(results):
        assert group.reason in text


def test_the_page_tells_of_an_accelerator_where_there_is_one(judged: tuple[Results, Judgement]) -> None:
    results, judgement = judged
    assert "its clock speed" not in render_html(results, judgement, None)
    gpu = {"accelerator": "NVIDIA A2, driver 570.86.15, CUDA 12.8", "accelerator_frequency_mhz": 1770.0}
    rows = [
        row.model_copy(update={"environment": row.environment.model_copy(update=gpu)})
        for row in results.rows
        if row.environment is not None
    ]
    text = re.sub(r"\s+", " ", render_html(results.model_copy(update={"rows": tuple(rows)}), judgement, None))
    for name, value in [
        ("accelerator", gpu["accelerator"]), ("its clock speed", "1770 MHz"), ("its temperature", "unknown")
    ]:  # fmt: skip
        assert re.search(rf"{name}</\w+> ?<\w+>{value}<", text), name


def test_the_page_tells_what_ran_the_operators(judged: tuple[Results, Judgement]) -> None:
    results, judgement = judged
    first, *others = results.rows
    ran = first.model_copy(update={"operators": {"xnnpack": 6, "builtin": 2}})
    text = render_html(results.model_copy(update={"rows": (ran, *others)}), judgement, None)
    assert text.count("computed by") == 1
    assert "computed by xnnpack (6 of 8 operators), builtin (2 of 8 operators)" in text


def test_the_page_is_the_same_each_time(judged: tuple[Results, Judgement], trials: Path) -> None:
    assert render_html(*judged, read_tuning(trials)) == render_html(*judged, read_tuning(trials))


def test_hostile_names_and_messages_stay_text(make_results: MakeResults, judged: tuple[Results, Judgement]) -> None:
    failed = Failure(kind=FailureKind.CRASHED, message=HOSTILE)
    for results in (make_results(int8_name=HOSTILE), make_results(int8_failure=failed)):
        verdicts = judged[1].verdicts
        hostile = judged[1].model_copy(
            update={"verdicts": tuple(v.model_copy(update={"variant": HOSTILE, "reason": HOSTILE}) for v in verdicts)}
        )
        page = Page(render_html(results, hostile, None))
        assert "script" not in page.tags
        assert "<script>alert(1)</script>" in page.text
        assert "\x1b" not in printed(results_table(results, hostile)) + printed(verdict_table(hostile))
        markdown = render_markdown(results, hostile)
        assert "\x1b" not in markdown
        assert "<" not in markdown.replace("\\<", "")
        tables = [line for line in markdown.splitlines() if line.startswith("|")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {10}
        JUnitXml.fromstring(render_junit(hostile).encode())


def printed(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_junit_says_what_the_gate_says(judged: tuple[Results, Judgement]) -> None:
    document = JUnitXml.fromstring(render_junit(judged[1]).encode())
    [suite] = list(document)
    assert isinstance(suite, TestSuite)
    broken, kept, unmeasured, warns = list(suite)
    assert isinstance(broken.result[0], Broken)
    assert broken.result[0].message == judged[1].verdicts[0].reason
    assert kept.is_passed
    assert isinstance(unmeasured.result[0], Error)
    assert warns.is_passed
    assert warns.system_out.startswith("warning: fail")
    assert (suite.tests, suite.failures, suite.errors) == (4, 1, 1)


def test_junit_without_budgets_is_not_green(make_project: MakeProject, make_results: MakeResults, built: Built) -> None:
    document = JUnitXml.fromstring(render_junit(judge(make_project(), make_results(), built)).encode())
    assert (document.tests, document.errors) == (1, 1)


def test_every_report_shows_the_same_rows(judged: tuple[Results, Judgement]) -> None:
    page = Page(render_html(*judged, None)).text
    terminal, markdown = printed(results_table(*judged)), render_markdown(*judged).replace("\\", "")
    for row in summarize(*judged):
        for text in (row.size, row.p50, row.p90, row.score, row.drop, row.verdict):
            assert text in page
            assert text in terminal
            assert text in markdown
    assert headline(judged[1]) in printed(verdict_table(judged[1]))


@pytest.fixture
def with_intervals(make_results: MakeResults) -> Results:
    """int8 on a gateway: five processes, the fourth of them slow, and intervals as a bench would store them."""
    results = make_results()
    row = results.rows[1]
    values = [[1e-6 * (scale + place % 7) for place in range(200)] for scale in (1000, 1001, 999, 1300, 1000)]
    samples = [row.processes[0].model_copy(update={"latencies_s": tuple(each)}) for each in values]
    intervals = {"latency.p50": (0.000996, 0.0012341), "latency.p90": (0.00099, 0.0013), "accuracy": (0.9016, 0.9843)}
    estimates = {
        name: row.estimates[name].model_copy(update={"low": low, "high": high})
        for name, (low, high) in intervals.items()
    }
    changed = row.model_copy(
        update={"processes": tuple(samples), "estimates": {**row.estimates, **estimates, "throughput": THROUGHPUT}}
    )
    return results.model_copy(update={"rows": (results.rows[0], changed)})


def test_intervals_are_in_the_unit_and_with_the_digits_of_their_value(with_intervals: Results) -> None:
    float32, int8 = with_intervals.rows
    assert interval(int8, "latency.p50") == "1.00-1.23"
    assert interval(int8, "accuracy") == "90.16-98.43"
    assert interval(int8, "throughput") == "95,000-97,001"
    assert interval(float32, "latency.p50") == interval(int8, "latency.p99") == interval(int8, "no.such") == ""
    faster = Estimate(value=1.04e-5, samples=1000, low=1.026e-5, high=1.051e-5)
    assert interval(int8.model_copy(update={"estimates": {"latency.p50": faster}}), "latency.p50") == "10.3-10.5"


def test_intervals_stand_beside_latencies_where_the_terminal_is_wide_enough(with_intervals: Results) -> None:
    wide = printed(results_table(with_intervals, None), 100)
    assert "1.00 ms (1.00-1.23)  1.00 ms (0.99-1.30)" in wide
    narrow = printed(results_table(with_intervals, None), 80)
    assert re.search(r"1\.00 ms +1\.00 ms .*\n +1\.00-1\.23 +0\.99-1\.30 *\n", narrow)
    for text, width in ((wide, 100), (narrow, 80)):
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        assert "Intervals are at 95 %" in text


def test_intervals_are_in_markdown_and_on_the_page(with_intervals: Results, judged: tuple[Results, Judgement]) -> None:
    markdown = render_markdown(with_intervals, judged[1])
    assert "| 1.00 ms (1.00-1.23) | 1.00 ms (0.99-1.30) | 96.00 % (90.16-98.43) |" in markdown
    html = render_html(with_intervals, judged[1], None)
    assert '1.00 ms<br><span class="soft">1.00-1.23</span>' in html
    assert "96,154 /s (95,000-97,001)" in Page(html).text
    for text in (markdown, html):
        assert "Intervals are at 95 %" in text
    assert "Intervals" not in printed(results_table(judged[0], None))  # which shows none of accuracy


def test_a_slow_process_is_seen_and_read_aloud(with_intervals: Results, judged: tuple[Results, Judgement]) -> None:
    drawn = {plot.title: plot for plot in plots(with_intervals, None)}
    processes = drawn["Latencies of each process on gateway"].svg
    assert "process 4: median 1.30 ms, the middle 95 % from 1.30 ms to 1.31 ms" in processes
    filled = [path for path in re.findall(r"<path [^>]*>", processes) if "opacity: 0.75" in path]
    assert len(filled) == 1 + 5  # of float32 there is one process
    assert "p50 1.00 ms (1.00-1.23)" in drawn["Latencies on gateway"].svg


def test_the_table_fits_80_columns(make_results: MakeResults, judged: tuple[Results, Judgement]) -> None:
    results = make_results(("gateway-in-the-basement", "pi"), int8_name="small-distilled-pruned-int8", emulated=("pi",))
    text = printed(results_table(results, judged[1]))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    for row in summarize(results, judged[1]):
        assert all(value in text for value in (row.format, row.size, row.p50, row.p90, row.score))


def test_targets_are_named_where_there_are_several(make_results: MakeResults) -> None:
    assert "gateway" not in printed(results_table(make_results(("gateway",)), None))
    assert "gateway" in printed(results_table(make_results(("gateway", "pi")), None))


def test_emulated_times_are_marked_everywhere(
    make_project: MakeProject, make_results: MakeResults, built: Built
) -> None:
    results = make_results(emulated=("gateway",))
    judgement = judge(make_project(KEPT), results, built)
    for text in (
        printed(results_table(results, judgement)),
        render_markdown(results, judgement).replace("\\", ""),
        Page(render_html(results, judgement, None)).text,
    ):
        assert "1.00 ms*" in text
        assert "* emulated" in text


def test_a_row_that_failed_is_shown_without_numbers(make_results: MakeResults) -> None:
    results = make_results(int8_failure=Failure(kind=FailureKind.OUT_OF_MEMORY, message="died"))
    row = summarize(results, None)[1]
    assert (row.p50, row.score, row.verdict, row.size) == ("–", "–", "out of memory", "350 B")
    assert "int8 (tflite) on gateway: out of memory: died" in printed(results_table(results, None))


def test_four_files_are_written(judged: tuple[Results, Judgement], trials: Path, tmp_path: Path) -> None:
    paths = write_reports(*judged, trials, tmp_path / "report")
    assert [path.name for path in paths] == [
        "index.html",
        "summary.md",
        "junit.xml",
        "verdict.json",
        "benchmark.json",
        "benchmark-bigger.json",
    ]
    assert Judgement.model_validate_json(paths[3].read_text()) == judged[1]
    assert "too &lt;large&gt;" in paths[0].read_text()


@pytest.mark.parametrize("content", ["", "{}", '[{"id": 1}]'])
def test_damaged_trials_are_one_clear_error(
    judged: tuple[Results, Judgement], trials: Path, tmp_path: Path, content: str
) -> None:
    trials.write_text(content)
    with pytest.raises(ArtifactError, match="trials"):
        write_reports(*judged, trials, tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word_of_complaint(
    chromium: Callable[..., str], judged: tuple[Results, Judgement], trials: Path, tmp_path: Path
) -> None:
    index = write_reports(*judged, trials, tmp_path / "report")[0]
    dom = chromium("--dump-dom", index.as_uri())
    assert Page(dom).tags.count("svg") == 4
    assert headline(judged[1]) in Page(dom).text
    picture = tmp_path / "phone.png"
    chromium("--window-size=390,1600", f"--screenshot={picture}", index.as_uri())
    assert picture.read_bytes().startswith(b"\x89PNG")
