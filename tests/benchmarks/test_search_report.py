"""What a search found, on a page and in a terminal: every recipe is shown, and no name breaks out of its place."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgecc.artifact import Format
from edgecc.benchmarks.report.axis import Axis
from edgecc.benchmarks.report.search import render_search
from edgecc.benchmarks.report.search_plot import Bound, Dot, Side, draw_search
from edgecc.benchmarks.report.search_summary import headline
from edgecc.benchmarks.report.search_table import front_table, search_words
from edgecc.benchmarks.report.variant_toml import variant_toml
from edgecc.results import Estimate, Judgement, Provenance, Status, Verdict
from edgecc.search_outcome import Binding, Objective, Point, Rung, SearchLimit, SearchOutcome
from edgecc.units import Unit, format_value

pytest.importorskip("tomli_w", reason="tomli_w is not installed: edgecc[search] brings it")

SIZE = Objective(metric="size", target=None, unit=Unit.BYTES, better="lower")
P90 = Objective(metric="latency.p90", target="host", unit=Unit.SECONDS, better="lower")
ACCURACY = Objective(metric="accuracy", target=None, unit=Unit.FRACTION, better="higher")
LIMITS = (
    SearchLimit(objective=SIZE, bound=24_000, words="at most 24 kB"),
    SearchLimit(objective=P90, bound=1e-3, words="at most 1 ms"),
    SearchLimit(
        objective=ACCURACY,
        bound=0.92,
        words="at most 0.5 pp below float32",
        reference=0.925,
        reference_variant="float32",
    ),
)
HOSTILE = '<script>alert(1)</script>" onload="x\x1b[31m[red]'


def recipe(
    name: str, rung: Rung, size: float, p90_s: float | None = None, accuracy: float | None = None, **changes: Any
) -> Point:
    values: Mapping[str, Any] = {"distill.hp.width": 16, "prune.sparsity": 0.5}
    table = {"distill": {"student": "models:student", "hp": {"width": 16}}, "formats": ["tflite"]}
    known = {SIZE.key: size, P90.key: p90_s, ACCURACY.key: accuracy}
    figures = {key: Estimate(value=value, samples=100) for key, value in known.items() if value is not None}
    given = {"open_variant": "small", "format": Format.TFLITE, "values": values, "table": table, "figures": figures}
    counts = {"parameters": 20_000, "operators": 12}
    return Point.model_validate({"name": name, "rung": rung, **given, **counts, **changes})


POINTS = (
    recipe("small-a", Rung.FULL, 20_000, 0.8e-3, 0.925, on_front=True, meets=True),
    recipe("small-b", Rung.FULL, 12_000, 0.5e-3, 0.900, on_front=True),
    recipe("small-c", Rung.FULL, 31_234, 0.9e-3, 0.931, on_front=True),
    recipe("small-d", Rung.FULL, 22_000, 0.9e-3, 0.890),
    recipe("small-e", Rung.SHORT, 18_000, 0.7e-3, 0.850),
    recipe("small-f", Rung.UNTRAINED, 64_000, 2.1e-3, ruled_out="size 64.0 kB: at most 24 kB"),
)


def outcome(**changes: Any) -> SearchOutcome:
    """A recipe is chosen, unless the changes say otherwise."""
    given: dict[str, Any] = {
        "project": "demo", "edgecc_version": "0.1", "seed": 7, "started_at": "2026-01-01T00:00:00+00:00",
        "duration_s": 8000.0, "training_s": 5000.0, "objectives": (SIZE, P90, ACCURACY), "limits": LIMITS,
        "left_out": ("latency.p50 at most 1 ms: it only warns.",), "points": POINTS,
        "stopped": "no other recipe is expected to add to the front", "chosen": {"host": "small-a"},
    }  # fmt: skip
    return SearchOutcome(**{**given, **changes})


def nothing(**changes: Any) -> SearchOutcome:
    """The only recipe that met all is not there, and two budgets are each alone in the way."""
    bindings = (
        Binding(limit=LIMITS[0], best=31_234, point="small-c", others_met=True),
        Binding(limit=LIMITS[2], best=0.900, point="small-b", others_met=True),
    )
    return outcome(**{"points": POINTS[1:], "chosen": {}, "bindings": bindings, **changes})


def single() -> SearchOutcome:
    """Size is all that is limited."""
    points = tuple(point.model_copy(update={"meets": point.figures["size"].value <= 24_000}) for point in POINTS[:4])
    return outcome(objectives=(SIZE,), limits=LIMITS[:1], points=points)


def many() -> SearchOutcome:
    """Two dozen recipes of two open variants, of which one in four was trained in full."""
    rungs = [Rung.UNTRAINED, Rung.SHORT, Rung.UNTRAINED, Rung.FULL]
    points = []
    for index in range(24):
        rung, size = rungs[index % 4], 6_000 * 1.16**index
        score = None if rung is Rung.UNTRAINED else 0.94 - 400 / size + 0.004 * (-1) ** index
        points.append(
            recipe(
                f"{'pruned' if index % 3 else 'small'}-{index:06x}", rung, size, 4e-8 * size, score,
                open_variant="pruned" if index % 3 else "small", on_front=rung is Rung.FULL and index != 15,
                meets=index == 7, values={"distill.hp.width": 8 + index, "quantize": "int8", "prune.sparsity": 0.25},
                ruled_out="size: at most 24 kB" if size > 24_000 and rung is Rung.UNTRAINED else None,
            )
        )  # fmt: skip
    limits = (*LIMITS[:2], LIMITS[2].model_copy(update={"bound": 0.90}))
    return outcome(points=tuple(points), limits=limits, chosen={"host": "pruned-000007"})


def verdict(status: Status, reason: str) -> Verdict:
    return Verdict(
        status=status, severity="error", metric="size", variant="small-a", format=Format.TFLITE, target=None,
        limit="at most 24 kB", observed="20.0 kB", observed_value=20_000, limit_value=24_000, reason=reason,
    )  # fmt: skip


class Page(HTMLParser):
    """What of a page could reach out, and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.ids += [str(value) for name, value in attrs if name == "id"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("make", [outcome, nothing, single, many])
def test_the_page_stands_alone_and_is_the_same_each_time(make: Callable[[], SearchOutcome]) -> None:
    text = render_search(make())
    page = Page(text)
    assert "default-src 'none'" in text
    assert not any(word in text for word in ("http:", "https:", "src=", "@import", "url(", "<script", "href="))
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("table") == page.tags.count("caption") > 0
    assert page.tags.count("desc") == page.tags.count("figcaption") == page.tags.count("svg")
    assert text == render_search(make())


def test_the_page_leads_with_what_was_chosen() -> None:
    text = render_search(outcome())
    assert '<p class="banner pass" role="status">small-a meets every budget on host.</p>' in text
    assert "What is in the way" not in text


def test_the_page_leads_with_what_a_budget_would_have_to_be() -> None:
    text = render_search(nothing())
    sentence = (
        "None of 5 recipes meets every budget: size at most 24 kB would have to be at most 31.3 kB, or accuracy "
        "at most 0.5 pp below float32 would have to be at most 2.5 pp below float32."
    )
    assert f'<p class="banner fail" role="status">{sentence}</p>' in text
    assert "small-c comes nearest with 31.2 kB" in text


def test_each_cost_is_drawn_against_the_score() -> None:
    text = render_search(outcome())
    figures = text.split("<figure>")[1:]
    assert [re.findall(r"<title id=\"[^\"]*\">([^<]*)<", figure)[0] for figure in figures] == [
        "accuracy against size", "accuracy against latency.p90 on host",
    ]  # fmt: skip
    size = figures[0]
    assert size.count('class="forbidden"') == size.count('class="bound"') == 2
    assert "at most 24 kB</text>" in size
    assert "at most 0.5 pp below float32</text>" in size
    assert size.count("<g><title>") == len(POINTS)
    assert "small-f: untrained\ndistill.hp.width=16, prune.sparsity=0.5\nsize: 64.0 kB" in size
    assert "size 64.0 kB: at most 24 kB</title><line" in size
    assert ">small-a</text>" in size


def test_a_single_objective_has_tables_alone() -> None:
    page = Page(render_search(single()))
    assert "svg" not in page.tags
    assert "20.0 kB" in page.text


def test_without_a_score_the_first_cost_is_drawn_against_the_second() -> None:
    text = render_search(outcome(objectives=(SIZE, P90), limits=LIMITS[:2]))
    assert text.count("<svg") == 1
    assert "latency.p90 on host against size</title>" in text


def test_every_recipe_is_in_a_table_and_says_why_it_went_no_further() -> None:
    text = render_search(outcome())
    front, others = text.split("The other recipes")
    assert re.findall(r'<th scope="row">([^<]*)</th><td class="words">', front) == ["small-b", "★ small-a", "small-c"]
    assert re.findall(r'<th scope="row">(small[^<]*)</th>', others) == ["small-d", "small-e", "small-f"]
    for words in ("breaks size", "breaks accuracy", "meets all"):
        assert f"{words}</td>" in front
    for words in ("another is as good in everything", "the search stopped before", "size 64.0 kB: at most 24 kB"):
        assert words in others


def test_the_front_can_be_pasted() -> None:
    text = render_search(outcome())
    page = Page(text)
    for point in outcome().front:
        assert variant_toml(point.name, point.table) in page.text
    assert text.count("<details") == 3
    assert text.count("<details open>") == 1


def test_the_verdicts_on_the_test_set_decide_the_colour() -> None:
    judgement = Judgement(run_id="r", project="demo", verdicts=(verdict(Status.FAIL, "small-a: size is broken."),))
    text = render_search(outcome(judgement=judgement))
    assert 'class="banner fail"' in text
    assert "Fail: 1 broken" in text
    assert "small-a: size is broken." in text


def test_the_page_tells_how_the_search_went() -> None:
    text = Page(render_search(outcome())).text
    for words in (
        "2 h 13 min",
        "1 h 23 min",
        "no other recipe is expected",
        "latency.p50 at most 1 ms: it only warns.",
    ):
        assert words in text
    assert "1 untrained, 1 trained shortly, 4 trained in full" in text


def test_hostile_names_and_values_stay_text() -> None:
    point = POINTS[0].model_copy(
        update={
            "name": HOSTILE, "open_variant": HOSTILE, "values": {"distill.hp.kind": HOSTILE}, "ruled_out": HOSTILE,
            "table": {"distill": {"student": "a:b", "hp": {"kind": HOSTILE}}},
        }
    )  # fmt: skip
    limit = LIMITS[0].model_copy(update={"words": HOSTILE})
    hostile = outcome(
        project=HOSTILE, points=(point, *POINTS[1:]), chosen={HOSTILE: HOSTILE}, left_out=(HOSTILE,), stopped=HOSTILE,
        limits=(limit, *LIMITS[1:]), bindings=(Binding(limit=limit, best=31_234, point=HOSTILE, others_met=True),),
    )  # fmt: skip
    page = Page(render_search(hostile))
    assert "script" not in page.tags
    assert "onload" not in page.attributes
    assert "<script>alert(1)</script>" in page.text
    shown = printed(hostile, 80) + "\n".join(search_words(hostile))
    assert "\x1b" not in page.text + shown
    assert "[red]" in shown


def test_emulated_times_are_marked() -> None:
    figures = {**POINTS[0].figures, P90.key: Estimate(value=1e-3, samples=9, provenance=Provenance.EMULATED)}
    emulated = outcome(points=(POINTS[0].model_copy(update={"figures": figures}), *POINTS[1:]))
    assert "1.00 ms*" in render_search(emulated)
    assert any(words.startswith("* emulated") for words in search_words(emulated))
    assert not any(words.startswith("* emulated") for words in search_words(outcome()))


# The terminal


def printed(of: SearchOutcome, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(front_table(of))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("make", [outcome, nothing, single, many])
@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_and_begins_with_the_front(make: Callable[[], SearchOutcome], width: int) -> None:
    text = printed(make(), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    names = [line for line in text.splitlines() if re.search(r"(small|pruned)-", line)]
    sizes = sorted(point.figures[SIZE.key].value for point in make().front)
    shown = [re.findall(r"[\d.]+ kB", line)[0] for line in names[: len(sizes)]]
    assert shown == [format_value(size, Unit.BYTES) for size in sizes]


def test_five_objectives_still_fit_80_columns() -> None:
    more = [Objective(metric="memory.peak", target=name, unit=Unit.BYTES, better="lower") for name in ("host", "pi")]
    figures = {each.key: Estimate(value=2e6, samples=1) for each in more}
    points = [point.model_copy(update={"figures": {**point.figures, **figures}}) for point in many().points]
    wide = many().model_copy(update={"points": tuple(points), "objectives": (SIZE, P90, ACCURACY, *more)})
    lines = printed(wide, 80).splitlines()
    assert any(line.rstrip().endswith("meets all") for line in lines)
    assert sum(line.count("2.00 MB") for line in lines) == 2 * 6


def test_the_chosen_are_marked_and_the_others_say_what_they_break() -> None:
    lines = printed(outcome(), 100).splitlines()
    assert [line for line in lines if "★" in line] == [line for line in lines if "small-a" in line]
    assert re.search(r"small-b .* breaks accuracy *\n", printed(outcome(), 80))
    assert "small-e" not in printed(outcome(), 100)


def test_a_recipe_that_the_words_name_is_in_the_table() -> None:
    binding = Binding(limit=LIMITS[0], best=64_000, point="small-f", others_met=False)
    found = outcome(points=POINTS[5:], chosen={}, bindings=(binding,))
    assert re.search(r"small-f .* untrained", printed(found, 80))


def test_the_words_say_what_was_chosen_what_was_left_out_and_why_it_stopped() -> None:
    assert search_words(outcome()) == [
        "small-a meets every budget on host: size 20.0 kB, latency.p90 on host 800 µs, accuracy 92.50 %.",
        "left out: latency.p50 at most 1 ms: it only warns.",
        "stopped: no other recipe is expected to add to the front",
    ]


def test_a_recipe_of_two_targets_is_one_sentence_and_a_target_without_one_is_named() -> None:
    on_pi, on_m7 = (
        SearchLimit(objective=P90.model_copy(update={"target": target}), bound=1.0, words="at most 1 s")
        for target in ("pi", "m7")
    )
    found = outcome(limits=(*LIMITS, on_pi, on_m7), chosen={"host": "small-a", "pi": "small-a"})
    assert headline(found) == "small-a meets every budget on host and pi; no recipe does on m7."
    assert search_words(found)[1] == "No recipe meets every budget on m7."


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (
            Binding(limit=LIMITS[2], best=0.900, point="small-b", others_met=True),
            "accuracy at most 0.5 pp below float32: of the recipes that meet all other budgets, small-b comes nearest "
            "with 90.00 %. It would have to be at most 2.5 pp below float32.",
        ),
        (
            Binding(limit=LIMITS[1], best=1.0004e-3, point="small-b", others_met=False),
            "latency.p90 at most 1 ms on host: no recipe meets it; small-b comes nearest with 1.0004 ms. "
            "It would have to be at most 1.01 ms.",
        ),
        (
            Binding(limit=LIMITS[0], best=12_000, point="small-b", others_met=False),
            "size at most 24 kB: small-b keeps it with 12.0 kB, but no recipe keeps it together with the others.",
        ),
        (
            Binding(limit=LIMITS[0], best=None, point=None, others_met=False),
            "size at most 24 kB: no recipe has a value.",
        ),
    ],
)  # fmt: skip
def test_a_budget_in_the_way_says_what_it_would_have_to_be(binding: Binding, words: str) -> None:
    assert words in search_words(nothing(bindings=(binding,)))


def test_a_limit_of_one_format_is_broken_by_that_format_alone() -> None:
    limit = LIMITS[0].model_copy(update={"format": Format.ONNX, "bound": 1_000})
    assert "breaks" not in printed(outcome(points=POINTS[:1], limits=(limit,)), 80)


# The plot


@pytest.mark.parametrize(
    ("values", "is_logarithmic", "ticks"),
    [
        ([10e3, 40e3], False, ["10 kB", "15 kB", "20 kB", "25 kB", "30 kB", "35 kB", "40 kB"]),
        ([10e3, 81e3], True, ["10 kB", "20 kB", "50 kB"]),
        ([500, 2e6], True, ["1 kB", "10 kB", "100 kB", "1 MB"]),
        ([500, 200e3], True, ["500 B", "1 kB", "2 kB", "5 kB", "10 kB", "20 kB", "50 kB", "100 kB", "200 kB"]),
        ([24_000, 24_000], False, ["23 kB", "23.5 kB", "24 kB", "24.5 kB", "25 kB"]),
        ([24_000, 24_010], False, ["24 kB", "24.002 kB", "24.004 kB", "24.006 kB", "24.008 kB", "24.01 kB"]),
    ],
)
def test_an_axis_has_round_numbers(values: list[float], is_logarithmic: bool, ticks: list[str]) -> None:
    axis = Axis.over(values, Unit.BYTES, (0.0, 100.0), may_be_logarithmic=True)
    assert axis.is_logarithmic is is_logarithmic
    assert [text for _, text in axis.ticks()] == ticks
    assert all(0 <= place <= 100 for place, _ in axis.ticks())
    assert 0 < axis.at(values[0]) <= axis.at(values[1]) < 100


def dot(x: float, y: float | None, name: str = "", *, on_front: bool = False) -> Dot:
    return Dot(x, y, 0, is_full=on_front, on_front=on_front, name=name, title="")


def test_the_forbidden_side_is_the_one_beyond_the_budget() -> None:
    across = Side("size", Unit.BYTES, "lower", [Bound(3.0, "at most 3 B")])
    up = Side("accuracy", Unit.FRACTION, "higher", [Bound(0.5, "at least 50 %")])
    svg = draw_search([dot(1.0, 0.1), dot(5.0, 0.9)], across, up, "p", "t", "d")
    (left, right), (top, bottom) = (
        (float(start), float(start) + float(length))
        for start, length in (
            re.findall(r'"forbidden" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)[0],
            re.findall(r'"forbidden" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', svg)[1],
        )
    )
    (x1, y1), (x2, y2) = ((float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg))
    assert x1 < left < x2 < right
    assert y2 < top < y1 < bottom


def test_the_line_goes_through_what_is_best_in_these_two_alone() -> None:
    front = [dot(1, 0.5, on_front=True), dot(2, 0.4, on_front=True), dot(3, 0.8, on_front=True), dot(0.5, 0.9)]
    up = Side("accuracy", Unit.FRACTION, "higher", [])
    svg = draw_search(front, Side("size", Unit.BYTES, "lower", []), up, "p", "t", "d")
    line = re.findall(r'<polyline points="([^"]*)"', svg)[0].split()
    circles = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="[^"]*" fill-opacity="1"', svg)
    assert len(circles) == 3
    assert line == [",".join(circles[0]), ",".join(circles[2])]


def test_names_of_neighbours_do_not_lie_on_each_other() -> None:
    size, up = Side("size", Unit.BYTES, "lower", []), Side("accuracy", Unit.FRACTION, "higher", [])
    svg = draw_search([dot(1, 0.5, "a"), dot(1, 0.5, "b"), dot(2, 0.9)], size, up, "p", "t", "d")
    first, second = (float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start" class="name', svg))
    assert abs(first - second) == pytest.approx(14)


@pytest.mark.browser
def test_a_browser_shows_it_without_a_word_of_complaint(tmp_path: Path, chromium: Callable[..., str]) -> None:
    (tmp_path / "search.html").write_text(render_search(many()))
    shown = Page(chromium("--dump-dom", (tmp_path / "search.html").as_uri()))
    assert shown.tags.count("svg") == 2
    assert headline(many()) in shown.text
    picture = tmp_path / "phone.png"
    chromium("--window-size=390,1600", f"--screenshot={picture}", (tmp_path / "search.html").as_uri())
    assert picture.read_bytes().startswith(b"\x89PNG")
