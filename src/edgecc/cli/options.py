"""Arguments and flags that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

project_argument = click.argument(
    "project", type=click.Path(path_type=Path), default=Path(), metavar="[PROJECT]", required=False
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON to stdout instead of tables.")

_variant = click.option("--variant", "variants", multiple=True, help="Only this variant; may be repeated.")
_format = click.option("--format", "formats", multiple=True, help="Only this format; may be repeated.")
_target = click.option("--target", "targets", multiple=True, help="Only this target; may be repeated.")


def narrowed_by_artifact(command: Command) -> Command:
    """Add `--variant` and `--format`."""
    return _variant(_format(command))


def narrowed_by_target(command: Command) -> Command:
    """Add `--target`."""
    return _target(command)
