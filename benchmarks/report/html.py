"""The report as one self-contained page: it opens offline, on a phone, in light and in dark."""

from __future__ import annotations

from dataclasses import replace

from edgecc.benchmarks.report import summary
from edgecc.benchmarks.report.layers import layer_cells
from edgecc.benchmarks.report.plots import layer_plot, plots
from edgecc.benchmarks.report.steps import score_name, step_lines, unpaid, what_can_be_seen
from edgecc.benchmarks.report.summary import SummaryRow
from edgecc.benchmarks.report.trials import Tuning
from edgecc.results import Environment, Judgement, Pays, Results, Row
from edgecc.units import Unit, format_value

_STEP_STATUS = {Pays.YES: "pass", Pays.NO: "inconclusive", Pays.UNKNOWN: "unjudged"}
"""The colours of statuses: a step that does not pay breaks nothing."""


def render_html(results: Results, judgement: Judgement, tuning: Tuning | None) -> str:
    """The page. Nothing in it comes from or goes to a network."""
    from jinja2 import Environment as Templates
    from jinja2 import PackageLoader, StrictUndefined

    templates = Templates(
        loader=PackageLoader("edgecc.benchmarks.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html.j2").render(
        results=results,
        judgement=judgement,
        headline=summary.headline(judgement),
        verdicts=[
            (verdict, summary.status_in_words(verdict), summary.judged(verdict)) for verdict in judgement.verdicts
        ],
        rows=[_with_intervals(row) for row in summary.summarize(results, judgement)],
        footnotes=". ".join(summary.footnotes(results, [*summary.TIMES, summary.score_metric(results)])),
        plots=plots(results, tuning),
        tuning=tuning,
        environments=_environments(results),
        facts=_facts(results),
        score=summary.score_metric(results),
        others=summary.other_metrics(results),
        steps=step_lines(results),
        step_score=score_name([step.record for step in results.steps], list(results.metrics)),
        step_note=what_can_be_seen(results) or "",
        step_status=_STEP_STATUS,
        unpaid=unpaid(results),
        layers=[
            (summary.plain(f"{each.variant} ({each.format})"), layer_cells(each), layer_plot(each, f"layers{index}"))
            for index, each in enumerate(results.layers)
        ],
        details=[(summary.row_name(row), row, _computed_by(row), _metrics(row, results)) for row in results.rows],
        unmeasured=summary.group_unmeasured(results),
        warnings=summary.group_warnings(results),
    )


def _with_intervals(row: SummaryRow) -> SummaryRow:
    """The same with every interval below its value."""
    return replace(
        row,
        p50=_cell(row.p50, row.p50_interval),
        p90=_cell(row.p90, row.p90_interval),
        score=_cell(row.score, row.score_interval),
    )


def _cell(value: str, interval: str) -> str:
    from markupsafe import Markup

    return Markup('{}<br><span class="soft">{}</span>').format(value, interval) if interval else value


def _facts(results: Results) -> dict[str, str]:
    """How the bench was run, by name."""
    evaluation = f"{results.evaluation_samples:,} samples, sha256 {(results.evaluation_sha256 or '')[:12]}"
    return {
        "run": results.run_id,
        "started": results.started_at,
        "took": format_value(results.duration_s, Unit.SECONDS),
        "edgecc": results.edgecc_version,
        "commit of the artifacts": results.git_commit or "unknown",
        "evaluation set": evaluation if results.evaluation_sha256 else "none",
        "reference variant": results.reference_variant or "none",
    }


def _environments(results: Results) -> list[tuple[str, str, dict[str, str] | None]]:
    """Name, kind and description of every target; None where it did not answer."""
    rows = {row.target: row for row in results.rows}
    return [
        (name, row.target_kind, _description(row.environment, row.num_threads) if row.environment else None)
        for name, row in rows.items()
    ]


def _description(environment: Environment, num_threads: int) -> dict[str, str]:
    load = environment.load_average
    return {
        "machine": f"{environment.cpu_model} ({environment.machine}), {environment.cores} cores",
        "threads": str(num_threads),
        "governor": environment.governor or "unknown",
        "load before": "unknown" if load is None else f"{load:.2f}",
        "clock speed": "unknown" if environment.frequency_mhz is None else f"{environment.frequency_mhz:.0f} MHz",
        "temperature": "unknown" if environment.temperature_c is None else f"{environment.temperature_c:.0f} °C",
        "throttling": environment.throttling or "none seen",
        **_accelerator(environment),
        "system": environment.os,
        "runtimes": ", ".join(f"{name} {version}" for name, version in environment.runtimes.items()),
        "python": environment.python,
        "clock": "emulated" if environment.emulated else "the device's own",
    }


def _accelerator(environment: Environment) -> dict[str, str]:
    if environment.accelerator is None:
        return {"accelerator": "none"}
    frequency_mhz, temperature_c = environment.accelerator_frequency_mhz, environment.accelerator_temperature_c
    return {
        "accelerator": environment.accelerator,
        "its clock speed": "unknown" if frequency_mhz is None else f"{frequency_mhz:.0f} MHz",
        "its temperature": "unknown" if temperature_c is None else f"{temperature_c:.0f} °C",
    }


def _computed_by(row: Row) -> str:
    """What of the runtime ran the operators, as it told itself."""
    return ", ".join(
        f"{name} ({count} of {sum(row.operators.values())} operators)" for name, count in row.operators.items() if count
    )


def _metrics(row: Row, results: Results) -> list[dict[str, str]]:
    """Every metric of a row: its value, its interval and how many raw values stand behind it, or why there is none."""
    return [
        {
            "name": name,
            "value": summary.beside(summary.shown(row, name), summary.interval(row, name)),
            "from": _origin(row, name),
        }
        for name in results.all_metrics
    ]


def _origin(row: Row, metric: str) -> str:
    estimate = row.estimates.get(metric)
    if estimate is None:
        return row.unmeasured.get(metric, "the results do not say why")
    values = "1 value" if estimate.samples == 1 else f"{estimate.samples:,} values"
    return f"{values}, {estimate.provenance}"
