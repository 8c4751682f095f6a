"""The command line, one file a verb: parsing here, the work in `edgecc.api`."""

from __future__ import annotations

import click

import edgecc as package
from edgecc.cli.baseline import baseline
from edgecc.cli.bench import bench
from edgecc.cli.clean import clean
from edgecc.cli.compare import compare
from edgecc.cli.compile import compile
from edgecc.cli.doctor import doctor
from edgecc.cli.gate import gate
from edgecc.cli.init import init
from edgecc.cli.lint import lint
from edgecc.cli.release import release
from edgecc.cli.report import report
from edgecc.cli.run import run
from edgecc.cli.schema import schema
from edgecc.cli.search import search
from edgecc.cli.targets import targets

EPILOG = """\b
Exit codes: 0 passed, 1 a budget is broken, 2 the tool, its usage or its input
failed, 3 inconclusive or unmeasured. Data goes to stdout, progress to stderr.

\b
Examples:
  edgecc init my-project           write a project to start from
  edgecc run my-project            compile, bench, gate and report
  edgecc bench model.tflite        measure a file that edgecc did not build
"""


class _InWrittenOrder(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)


@click.group(cls=_InWrittenOrder, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package.__version__, prog_name="edgecc")
def edgecc() -> None:
    """Compile Keras models for edge devices, measure what was built, and stop a release that breaks its budget."""


for verb in (
    init,
    compile,
    lint,
    bench,
    gate,
    baseline,
    report,
    compare,
    release,
    run,
    search,
    targets,
    doctor,
    schema,
    clean,
):
    edgecc.add_command(verb)
