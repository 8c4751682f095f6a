"""The verbs as plain functions: what the command line calls, and what a program may call instead."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgecc.artifact import ArtifactOutputs, Format, Manifest, Record, manifest_path, read_manifest
from edgecc.errors import ArtifactError, Fault, OutputError, ProjectError, TargetError
from edgecc.faults import nearest
from edgecc.files import write_atomically, writing_to
from edgecc.progress import Progress, Silent
from edgecc.project import BenchSection, Project, ProjectFolder, TargetSpec
from edgecc.project_file import load_project
from edgecc.results import Environment, Judgement, Results

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgecc.benchmarks.baseline import Baseline
    from edgecc.benchmarks.compare import Comparison
    from edgecc.benchmarks.doctor import Diagnosis
    from edgecc.benchmarks.release import Release
    from edgecc.benchmarks.suite import SuiteRun
    from edgecc.benchmarks.why import WhyReport
    from edgecc.compiler.backend.lint.finding import LintReport
    from edgecc.compiler.compile import Compilation
    from edgecc.metrics import Ability
    from edgecc.search_outcome import SearchOutcome
    from edgecc.targets.target import Target


def open_project(path: str | Path = ".") -> ProjectFolder:
    """Read and check the project in a folder, or of a file.

    Raises:
        ProjectError: it is missing or has faults; holds all of them.
    """
    from edgecc.targets.registry import target_options

    return load_project(Path(path), target_options())


def init(path: str | Path = ".") -> list[Path]:
    """Write a project to start from.

    Returns:
        The files written.

    Raises:
        OutputError: one of the files is there already; nothing is written.
    """
    folder = Path(path)
    name = folder.resolve().name
    letters = [letter if letter.isalnum() and letter.isascii() else "-" for letter in name]
    safe = "".join(letters).strip("-")[:64] or "project"
    templates = resources.files("edgecc.cli") / "templates"
    contents = {entry.name.removesuffix(".template"): entry.read_text() for entry in templates.iterdir()}
    for file in contents:
        if (folder / file).exists():
            raise OutputError(f"{folder / file} is there already", hint="name a folder that is new or empty")
    for file, text in contents.items():
        write_atomically(folder / file, text.replace("@NAME@", safe))
    return [folder / file for file in contents]


def compile(
    project: str | Path | ProjectFolder = ".",
    *,
    variants: Sequence[str] = (),
    formats: Sequence[str] = (),
    progress: Progress | None = None,
) -> Compilation:
    """Tune, train, distill, prune, quantize, emit and verify what has changed.

    Raises:
        EdgeccError: a stage could not do its work; what was finished stays in the cache.
    """
    from edgecc.compiler.compile import compile_project

    folder = _opened(project)
    emitted = _chosen(folder, variants, formats)
    return compile_project(folder, emitted, progress=progress or Silent(), run_artifact=_run_artifact)


def _run_artifact(artifact: Path, format: Format, inputs: tuple[NDArray[Any], ...]) -> ArtifactOutputs:
    # Imported here so that a compile with nothing to do stays quick.
    from edgecc.targets.host import run_outputs

    return run_outputs(artifact, format, inputs)


def lint(
    project: str | Path | ProjectFolder = ".", *, variants: Sequence[str] = (), formats: Sequence[str] = ()
) -> LintReport:
    """Look into what the project has built: whether it is what it claims, and what will cost.

    Raises:
        ArtifactError: an artifact is missing, is not the one that was compiled, or is not a model.
        MissingExtraError: there is an ONNX file, and onnx is not installed.
    """
    from edgecc.benchmarks.built import read_built
    from edgecc.compiler.backend.lint import inspect_file
    from edgecc.compiler.backend.lint.finding import LintReport, claims_of

    folder = _opened(project)
    chosen = _chosen(folder, variants, formats)
    claims = {folder.artifact(*each): claims_of(read_built(folder, *each)) for each in chosen}
    return LintReport(files=tuple(inspect_file(path, claimed) for path, claimed in claims.items()))


def lint_files(files: Sequence[str | Path], *, claims: str | None = None) -> LintReport:
    """Look into model files, whoever built them.

    Args:
        files: `.tflite` or `.onnx` files.
        claims: what they are said to be: float32, float16, weight_only, dynamic, int8 or int16x8. Without it, what the
            manifest beside a file says; a file without one is only looked at by the rules that need no claim.

    Raises:
        ArtifactError: no such file, not a model, or not the one that its manifest speaks of.
        MissingExtraError: there is an ONNX file, and onnx is not installed.
        ValueError: `claims` is none of those.
    """
    from edgecc.compiler.backend.lint import inspect_file
    from edgecc.compiler.backend.lint.finding import Claims, LintReport, Scheme, claims_of

    def claimed(path: Path) -> Claims | None:
        if claims is not None:
            return Claims(scheme=Scheme(claims))
        return claims_of(read_manifest(path)) if manifest_path(path).is_file() else None

    paths = [Path(file) for file in files]
    return LintReport(files=tuple(inspect_file(path, claimed(path)) for path in paths))


def bench(
    project: str | Path | ProjectFolder = ".",
    *,
    variants: Sequence[str] = (),
    formats: Sequence[str] = (),
    targets: Sequence[str] = (),
    progress: Progress | None = None,
) -> Results:
    """Measure what the project has built on its targets, and keep the results.

    Raises:
        ArtifactError: an artifact is missing or is not the one that was compiled.
        ProjectError: the project has no targets, or a name to narrow by fits nothing.
    """
    from edgecc.benchmarks.baseline import read_baseline
    from edgecc.benchmarks.measure import measure
    from edgecc.benchmarks.plan import plan_project
    from edgecc.benchmarks.results_store import save

    folder = _opened(project)
    emitted = folder.project.with_steps(_chosen(folder, variants, formats))
    plan = plan_project(folder, emitted, read_baseline(folder))
    specs = _chosen_targets(folder, targets)
    with ExitStack() as opened:
        results = measure(plan, [opened.enter_context(_open(name, spec)) for name, spec in specs.items()], progress)
    save(results, folder.results)
    return results


def bench_file(
    file: str | Path,
    *,
    num_threads: int = 1,
    shapes: Sequence[tuple[int, ...]] = (),
    evaluation: str | Path | None = None,
    settings: BenchSection | None = None,
    progress: Progress | None = None,
) -> Results:
    """Measure one model file on this machine, whoever built it.

    Args:
        file: a `.tflite` or `.onnx`.
        num_threads: of the runtime.
        shapes: of the model's inputs, where they are open.
        evaluation: an `.npz` with `x` (n, ...) and `y` (n,); without it accuracy is unmeasured.
        settings: how much is measured.
        progress: where to report.

    Raises:
        ArtifactError: no such file, or not one that edgecc can run.
        DataError: the evaluation set cannot be read.
    """
    from edgecc.benchmarks.measure import measure
    from edgecc.benchmarks.plan import plan_file

    plan = plan_file(
        Path(file),
        settings or BenchSection(),
        evaluation=None if evaluation is None else Path(evaluation),
        shapes=tuple(shapes),
    )
    spec = TargetSpec.model_validate({"kind": "x86_cpu", "num_threads": num_threads})
    with _open("host", spec) as target:
        return measure(plan, [target], progress)


def bench_suite(suite: str | Path, *, again: bool = False, progress: Progress | None = None) -> SuiteRun:
    """Measure every artifact of a suite on every target with all the settings, each row as soon as it can be.

    Rows that were measured before, and of which nothing has changed, are kept. A row that fails has its cause.

    Args:
        suite: the suite file; results lie beside it, in `results/NAME/`, a file a row.
        again: measure everything anew.
        progress: where to report.

    Raises:
        ProjectError: the file is missing or has faults; holds all of them.
        OutputError: the results cannot be written.
    """
    from edgecc.benchmarks.suite import run_suite
    from edgecc.benchmarks.suite_file import load_suite
    from edgecc.targets.registry import target_options

    return run_suite(load_suite(Path(suite), target_options()), _open, again=again, progress=progress)


def doctor(
    project: str | Path | ProjectFolder = ".",
    *,
    targets: Sequence[str] = (),
    time_s: float = 120.0,
    progress: Progress | None = None,
) -> list[Diagnosis]:
    """Find out how often the gate would be wrong about latency on each target.

    Args:
        project: whose first shipped artifact is measured, or one model file, measured on this machine.
        targets: narrows a project's targets.
        time_s: how long to record on each target.
        progress: where to report.

    Raises:
        ArtifactError: there is no artifact to measure.
        TargetError: a target does not answer, or the time was too short.
    """
    from edgecc.benchmarks.doctor import diagnose
    from edgecc.benchmarks.plan import plan_file, plan_project

    if isinstance(project, str | Path) and Path(project).suffix in {".tflite", ".onnx"}:
        plan = plan_file(Path(project), BenchSection())
        specs = {"host": TargetSpec.model_validate({"kind": "x86_cpu"})}
    else:
        folder = _opened(project)
        variant = next(iter(folder.project.shipped))
        plan = plan_project(folder, [(variant, folder.project.formats_of(variant)[0])])
        specs = _chosen_targets(folder, targets)
    found = []
    for name, spec in specs.items():
        with _open(name, spec) as target:
            found.append(
                diagnose(
                    target, plan.subjects[0], plan.bench, time_s=time_s, seed=plan.seed, progress=progress or Silent()
                )
            )
    return found


def search(project: str | Path | ProjectFolder = ".", *, progress: Progress | None = None) -> SearchOutcome:
    """Look for recipes that meet the project's budgets, and write what was found: report/search.html and .json.

    What is made and measured is kept: a search that was stopped goes on where it was when it is begun again.

    Raises:
        ProjectError: the project has no `[search]`, or no targets.
        TargetError: a target that a budget speaks of does not answer.
        EdgeccError: no recipe could be made, or something is wrong that no other recipe would cure.
    """
    from edgecc.benchmarks.report.search import render_search
    from edgecc.budget_search.project_search import search_project

    folder = _opened(project)
    abilities = _abilities(folder.project)
    with ExitStack() as opened:
        targets = [opened.enter_context(_open(*each)) for each in _chosen_targets(folder, ()).items()]
        outcome = search_project(folder, targets, abilities, progress=progress or Silent(), run_artifact=_run_artifact)
    write_atomically(folder.report / "search.html", render_search(outcome))
    write_atomically(folder.report / "search.json", outcome.model_dump_json(indent=1) + "\n")
    return outcome


def gate(project: str | Path | ProjectFolder = ".") -> Judgement:
    """Judge the last results against the budgets. Reads files only.

    Raises:
        ArtifactError: there are no results, or they are damaged or another project's.
    """
    from edgecc.benchmarks.results_store import load_latest

    folder = _opened(project)
    return _judge(folder, load_latest(folder.results))


def set_baseline(project: str | Path | ProjectFolder = ".") -> Baseline:
    """Make the last results, if they passed every budget, the baseline, with the artifacts that were measured.

    While there is no baseline, budgets on a regression are not judged.

    Raises:
        ArtifactError: the results did not pass, were narrowed, are damaged, or are not of what is built now; or there
            is a baseline already, and it is damaged.
        OutputError: the project's folder cannot be written to.
    """
    from edgecc.benchmarks.baseline import read_baseline
    from edgecc.benchmarks.built import built_now
    from edgecc.benchmarks.gate import judge
    from edgecc.benchmarks.promote import promote
    from edgecc.benchmarks.results_store import load_latest

    folder = _opened(project)
    results = load_latest(folder.results)
    baseline = read_baseline(folder)
    judged = folder.project if baseline else _without_regressions(folder.project)
    return promote(folder, results, judge(judged, results, built_now(folder), baseline, _abilities(judged)))


def _without_regressions(project: Project) -> Project:
    budgets = tuple(budget for budget in project.budgets if budget.max_regression is None)
    return project.model_copy(update={"budgets": budgets})


def report(project: str | Path | ProjectFolder = ".") -> list[Path]:
    """Write the last results and their verdicts for people and for CI.

    Returns:
        The files written: HTML, Markdown, JUnit XML, JSON.

    Raises:
        ArtifactError: there are no results, or they are damaged or another project's.
    """
    from edgecc.benchmarks.results_store import load_latest

    folder = _opened(project)
    results = load_latest(folder.results)
    return _write_reports(folder, results, _judge(folder, results))


def release(project: str | Path | ProjectFolder = ".", *, output: str | Path | None = None) -> Release:
    """Judge the last results anew, and pack what ships if all of it passed: models, manifests, checksums, verdict,
    report and notes.

    Args:
        project: the project's folder or file.
        output: the release's folder; `release` in the project's folder where nothing is said. An older release there is
            replaced in one step.

    Returns:
        The files written, or why nothing was.

    Raises:
        ArtifactError: there are no results, they are damaged or another project's, or an artifact changed meanwhile.
        OutputError: the folder holds something else than a release, or cannot be written to.
    """
    from edgecc.benchmarks.release import pack
    from edgecc.benchmarks.results_store import load_latest

    folder = _opened(project)
    results = load_latest(folder.results)
    place = folder.root / "release" if output is None else Path(output)
    return pack(folder, results, _judge(folder, results), place)


@dataclass(frozen=True)
class HistoryReport:
    """A history that was written."""

    file: Path
    notes: tuple[str, ...]
    """What could not be read and is not in it, in sentences."""


def history_report(project: str | Path | ProjectFolder = ".", metric: str = "latency.p50") -> HistoryReport:
    """Write one metric over all runs, with its change points: report/history.html.

    Raises:
        ArtifactError: no run has measured it.
        OutputError: the project's folder cannot be written to.
        ProjectError: the project has no such metric.
    """
    from edgecc.benchmarks.history import read_history
    from edgecc.benchmarks.report.history import render_history

    folder = _opened(project)
    metrics = folder.project.all_metrics
    _check_names("--metric", [metric], list(metrics))
    history = read_history(folder.results, metrics[metric])
    if not history.lines:
        why = "; ".join([f"{folder.results}: no run has measured {metric}", *history.notes])
        raise ArtifactError(why, hint="edgecc bench measures")
    file = folder.report / "history.html"
    write_atomically(file, render_history(folder.project.name, metrics[metric], history))
    return HistoryReport(file, history.notes)


def compare(before: str | Path, after: str | Path, project: str | Path | ProjectFolder = ".") -> Comparison:
    """Two runs side by side: what is better, what is worse, and what cannot be told.

    Args:
        before: a run's id or the start of one, `latest`, `previous` (the run before the latest), `baseline`, or a
            results file.
        after: the same.
        project: where the runs are looked for; not looked at where both are files.

    Raises:
        ArtifactError: a run is not known, or its results cannot be read.
    """
    from edgecc.benchmarks.compare import compare_results

    return compare_results(_read_run(str(before), project), _read_run(str(after), project))


def why(
    before: str | Path,
    after: str | Path,
    project: str | Path | ProjectFolder = ".",
    *,
    progress: Progress | None = None,
) -> WhyReport:
    """Two artifacts operator by operator: where their bytes and their time go, and what changed.

    Args:
        before: a model file, or a run as for `compare`.
        after: the same; of two runs, every artifact is compared that both measured and that is still at hand.
        project: where runs and their artifacts are looked for.
        progress: where to report.

    Raises:
        ArtifactError: no such file or run, not a model, or two formats.
        MissingExtraError: there is an ONNX file, and onnx is not installed.
    """
    from edgecc.benchmarks.run_names import is_results_file
    from edgecc.benchmarks.why import WhyReport
    from edgecc.explain import explain_files, explain_runs

    names = (str(before), str(after))
    if all(Path(name).suffix in {".tflite", ".onnx"} for name in names):
        return WhyReport(pairs=(explain_files(Path(before), Path(after), progress=progress),))
    folder = None if all(map(is_results_file, names)) else _opened(project)
    return explain_runs(_read_run(names[0], project), _read_run(names[1], project), folder, progress=progress)


def _read_run(name: str, project: str | Path | ProjectFolder) -> Results:
    from edgecc.benchmarks.results_store import load
    from edgecc.benchmarks.run_names import find_run, is_results_file

    return load(Path(name)) if is_results_file(name) else find_run(name, _opened(project))


@dataclass(frozen=True)
class Outcome:
    """All that a run made."""

    compilation: Compilation
    results: Results
    judgement: Judgement
    reports: list[Path]


def run(
    project: str | Path | ProjectFolder = ".",
    *,
    variants: Sequence[str] = (),
    formats: Sequence[str] = (),
    targets: Sequence[str] = (),
    progress: Progress | None = None,
) -> Outcome:
    """Compile, bench, gate and report in one go.

    Raises:
        EdgeccError: a step could not do its work. A broken budget is not an error: see `Outcome.judgement`.
    """
    folder = _opened(project)
    narrowed = {"variants": variants, "formats": formats}
    compilation = compile(folder, **narrowed, progress=progress)
    results = bench(folder, **narrowed, targets=targets, progress=progress)
    # The results in hand, not the latest on disk: another run may have written those by now.
    judgement = _judge(folder, results)
    return Outcome(compilation, results, judgement, _write_reports(folder, results, judgement))


def _judge(folder: ProjectFolder, results: Results) -> Judgement:
    from edgecc.benchmarks.baseline import read_baseline
    from edgecc.benchmarks.built import built_now
    from edgecc.benchmarks.gate import judge

    return judge(folder.project, results, built_now(folder), read_baseline(folder), _abilities(folder.project))


def _abilities(project: Project) -> dict[str, frozenset[Ability]]:
    return {name: _open(name, spec).abilities for name, spec in project.targets.items()}


def _write_reports(folder: ProjectFolder, results: Results, judgement: Judgement) -> list[Path]:
    from edgecc.benchmarks.report import write_reports

    trials = folder.trials if folder.trials.is_file() else None
    return write_reports(results, judgement, trials, folder.report)


class TargetAnswer(Record):
    """Whether a target answered, and what it is or why not."""

    name: str
    kind: str
    environment: Environment | None
    reason: str | None

    def in_words(self) -> str:
        """One line for a table."""
        if self.environment is None:
            return str(self.reason)
        runtimes = ", ".join(f"{name} {version}" for name, version in self.environment.runtimes.items())
        cores = "1 core" if self.environment.cores == 1 else f"{self.environment.cores} cores"
        accelerator = "" if self.environment.accelerator is None else f"{self.environment.accelerator}; "
        return f"{accelerator}{self.environment.cpu_model}, {cores}, {runtimes}"


def list_targets(project: str | Path | ProjectFolder = ".") -> list[TargetAnswer]:
    """Ask every target of the project whether it answers."""
    answers = []
    for name, spec in _opened(project).project.targets.items():
        try:
            with _open(name, spec) as target:
                answers.append(TargetAnswer(name=name, kind=spec.kind, environment=target.probe(), reason=None))
        except TargetError as error:
            reason = f"{error.message} ({error.hint})" if error.hint else error.message
            answers.append(TargetAnswer(name=name, kind=spec.kind, environment=None, reason=reason))
    return answers


def set_up_targets(
    project: str | Path | ProjectFolder, targets: Sequence[str], progress: Progress | None = None
) -> list[TargetAnswer]:
    """Bring to these targets of the project what they lack, and ask each whether it answers now.

    Raises:
        ProjectError: a name is no target of the project.
        TargetError: something is missing that only the user can bring, or a target needs no set-up.
    """
    folder = _opened(project)
    specs = _chosen_targets(folder, targets)
    for name, spec in specs.items():
        with _open(name, spec) as target:
            target.set_up(progress or Silent())
    return [answer for answer in list_targets(folder) if answer.name in specs]


def clean_up_targets(project: str | Path | ProjectFolder, targets: Sequence[str]) -> None:
    """Remove from these targets of the project what setting them up brought.

    Raises:
        ProjectError: a name is no target of the project.
        TargetError: a target does not answer, or nothing is ever set up there.
    """
    for name, spec in _chosen_targets(_opened(project), targets).items():
        with _open(name, spec) as target:
            target.clean_up()


def schemas() -> dict[str, Any]:
    """The JSON Schemas of what edgecc reads and writes, by name."""
    from edgecc.benchmarks.baseline import BaselineRecord
    from edgecc.benchmarks.release_folder import ReleaseRecord
    from edgecc.compiler.backend.lint.finding import LintReport
    from edgecc.search_outcome import SearchOutcome
    from edgecc.targets.registry import target_options

    project = Project.model_json_schema()
    options = [
        {
            "type": "object",
            "properties": {"kind": {"const": kind}, **model.model_json_schema()["properties"]},
            "required": ["kind"],
            "additionalProperties": False,
        }
        for kind, model in target_options().items()
    ]
    project["$defs"]["TargetSpec"] = {"oneOf": options}
    return {
        "project": project,
        "manifest": Manifest.model_json_schema(mode="serialization"),
        "results": Results.model_json_schema(mode="serialization"),
        "verdict": Judgement.model_json_schema(mode="serialization"),
        "baseline": BaselineRecord.model_json_schema(mode="serialization"),
        "release": ReleaseRecord.model_json_schema(mode="serialization"),
        "lint": LintReport.model_json_schema(mode="serialization"),
        "search": SearchOutcome.model_json_schema(mode="serialization"),
    }


def clean(project: str | Path | ProjectFolder = ".", *, results: bool = False) -> list[Path]:
    """Remove what edgecc wrote and can make again: artifacts and cache; with `results`, what was measured as well.

    Returns:
        What was removed.
    """
    folder = _opened(project)
    doomed = [folder.state, folder.evaluation, folder.trials]
    for manifest in folder.build.glob("*/*.manifest.json"):
        doomed += [manifest, manifest.with_name(manifest.name.removesuffix(".manifest.json"))]
    if results:
        names = (
            "index.html", "history.html", "search.html", "search.json", "summary.md", "junit.xml", "verdict.json",
            "benchmark.json", "benchmark-bigger.json",
        )  # fmt: skip
        doomed += [
            *folder.results.glob("*.json"),
            *folder.results.glob("history.sqlite*"),
            *(folder.report / name for name in names),
        ]
    removed = [path for path in doomed if path.exists()]
    for path in removed:
        with writing_to(path.parent):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    _remove_empty([*folder.build.glob("*/"), folder.build, folder.results, folder.report])
    return removed


def _remove_empty(folders: Sequence[Path]) -> None:
    """What else is in these folders is the user's, and stays."""
    for path in folders:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _opened(project: str | Path | ProjectFolder) -> ProjectFolder:
    return project if isinstance(project, ProjectFolder) else open_project(project)


def _chosen(folder: ProjectFolder, variants: Sequence[str], formats: Sequence[str]) -> list[tuple[str, Format]]:
    """The (variant, format) pairs that `--variant` and `--format` leave over; a name that fits nothing is an error."""
    emitted = list(folder.project.emitted())
    _check_names("--variant", variants, list(folder.project.variants))
    _check_names("--format", formats, sorted({format for _, format in emitted}))
    chosen = [
        (variant, format)
        for variant, format in emitted
        if (not variants or variant in variants) and (not formats or format in formats)
    ]
    if not chosen:
        listed = ", ".join(f"{variant} as {format}" for variant, format in emitted)
        raise ProjectError("the command line", [Fault("--variant with --format", f"one of {listed}", "none of them")])
    return chosen


def _chosen_targets(folder: ProjectFolder, names: Sequence[str]) -> dict[str, TargetSpec]:
    known = folder.project.targets
    if not known:
        fault = Fault("targets", "at least one target to measure on", "none")
        raise ProjectError(str(folder.file), [fault], hint='add [targets.host] with kind = "x86_cpu"')
    _check_names("--target", names, list(known))
    return {name: spec for name, spec in known.items() if not names or name in names}


def _open(name: str, spec: TargetSpec) -> Target:
    from edgecc.targets.registry import open_target

    return open_target(name, spec)


def _check_names(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    listed = ", ".join(f"`{name}`" for name in known)
    faults = [
        Fault(option, f"one of {listed}", repr(name), nearest(name, known)) for name in given if name not in known
    ]
    if faults:
        raise ProjectError("the command line", faults)
