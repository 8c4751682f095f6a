"""A suite file: artifacts × targets × settings, checked as a project file is, with every fault reported at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from edgecc.errors import Fault, ProjectError
from edgecc.faults import fault_of, nearest, spell
from edgecc.files import is_file
from edgecc.project import BenchSection, TargetSpec
from edgecc.project_file import read_toml, target_faults
from edgecc.section import Name, PositiveInt, Section
from edgecc.units import Duration

_Some = TypeVar("_Some", bound=Sized)


def _at_least_one(some: _Some) -> _Some:
    if not some:
        raise ValueError("at least one")
    return some


class SuiteArtifact(Section):
    """One of the `[[artifacts]]`: a model file, whoever built it."""

    path: str
    """Relative to the suite file."""
    name: Name | None = None
    """What its rows are called: the file's name without its ending, where nothing is said."""
    shapes: tuple[tuple[PositiveInt, ...], ...] = ()
    """Of the model's inputs, in order, where they are open."""
    evaluation: str | None = None
    """`.npz` with `x` and `y`, relative to the suite file; without it accuracy is unmeasured."""

    @property
    def label(self) -> str:
        """Its name in the suite."""
        return self.name or Path(self.path).stem


class SuiteSettings(Section):
    """One of the `[settings.NAME]`: how much is measured, and with how many threads."""

    processes: PositiveInt = 5
    inferences: PositiveInt = 200
    time_limit: Duration = 120.0
    num_threads: PositiveInt | None = None
    """Of the runtime on every target; where nothing is said, each target's own."""

    @property
    def bench(self) -> BenchSection:
        """How much is measured, as in a project file."""
        return BenchSection.model_construct(
            processes=self.processes, inferences=self.inferences, time_limit=self.time_limit
        )

    def applied_to(self, spec: TargetSpec) -> TargetSpec:
        """A target with these threads."""
        threads = {} if self.num_threads is None else {"num_threads": self.num_threads}
        return TargetSpec.model_validate({"kind": spec.kind, **spec.options, **threads})


class Suite(Section):
    """A suite file. Every artifact is measured on every target with all the settings."""

    version: Literal[1]
    name: Name
    artifacts: Annotated[tuple[SuiteArtifact, ...], AfterValidator(_at_least_one)]
    targets: Annotated[Mapping[Name, TargetSpec], AfterValidator(_at_least_one)]
    settings: Annotated[Mapping[Name, SuiteSettings], AfterValidator(_at_least_one)] = {"default": SuiteSettings()}


@dataclass(frozen=True)
class SuiteFolder:
    """A suite and where it lies."""

    file: Path
    suite: Suite

    @property
    def results(self) -> Path:
        """One file a row."""
        return self.file.parent / "results" / self.suite.name

    def resolve(self, path: str) -> Path:
        """A path of the suite file."""
        return self.file.parent / path


def is_suite(path: Path) -> bool:
    """Whether a path is a suite file; all that is no TOML file is none.

    Raises:
        ProjectError: it cannot be read, or is a suite as much as a project, or neither.
    """
    if path.suffix != ".toml" or not is_file(path):
        return False
    document = read_toml(path)
    suite, project = "artifacts" in document, bool({"model", "data", "variants"} & document.keys())
    if suite == project:
        given = "both" if suite else "neither"
        raise ProjectError(
            str(path), [Fault("the file", "a project with [model], or a suite with [[artifacts]]", given)]
        )
    return suite


def load_suite(path: Path, target_options: Mapping[str, type[BaseModel]]) -> SuiteFolder:
    """Read and check a suite file. Whether the model files are there is seen when they are measured.

    Args:
        path: the file.
        target_options: for each kind of target, the keys it takes.

    Raises:
        ProjectError: the file is missing, is not TOML, or has faults; holds all of them.
    """
    document = read_toml(path)
    faults: list[Fault] = []
    suite: Suite | None = None
    try:
        suite = Suite.model_validate(document)
    except ValidationError as error:
        faults += [_suite_fault(problem, document) for problem in error.errors()]
    # The targets' own keys are checked even where other keys are at fault.
    faults += target_faults(document, target_options)
    if suite is not None:
        faults += _name_faults(suite)
    if suite is not None and not faults:
        faults += _thread_faults(suite, target_options)
    if suite is None or faults:
        raise ProjectError(str(path), faults)
    return SuiteFolder(path.resolve(), suite)


def _suite_fault(problem: Any, document: Mapping[str, Any]) -> Fault:
    location = problem["loc"]
    if problem["type"] != "extra_forbidden":
        return fault_of(problem, document)
    sections: dict[str, type[Section]] = {"artifacts": SuiteArtifact, "settings": SuiteSettings}
    known = list((Suite if len(location) == 1 else sections[location[0]]).model_fields)
    listed = ", ".join(f"`{name}`" for name in known)
    return Fault(spell(location), f"one of {listed}", "an unknown key", nearest(str(location[-1]), known))


def _name_faults(suite: Suite) -> Iterator[Fault]:
    """A row is known by its names, and its file is called by them."""
    counts = Counter(artifact.label for artifact in suite.artifacts)
    for index, artifact in enumerate(suite.artifacts):
        key = f"artifacts[{index}].name"
        if counts[artifact.label] > 1:
            yield Fault(key, "a name that no other artifact has", repr(artifact.label))
        elif artifact.name is None:
            try:
                SuiteArtifact(path=artifact.path, name=artifact.label)
            except ValidationError as error:
                expected = fault_of(error.errors()[0], {}).expected
                yield Fault(key, f"{expected}; the file's own is none", repr(artifact.label))


def _thread_faults(suite: Suite, target_options: Mapping[str, type[BaseModel]]) -> Iterator[Fault]:
    for name, settings in suite.settings.items():
        for target, spec in suite.targets.items() if settings.num_threads else ():
            key = f"settings.{name}.num_threads"
            if "num_threads" in spec.options:
                yield Fault(key, "`num_threads` in one place", f"it and targets.{target}.num_threads")
            elif "num_threads" not in target_options[spec.kind].model_fields:
                yield Fault(key, "targets that take `num_threads`", f"{target}, of the kind `{spec.kind}`")
