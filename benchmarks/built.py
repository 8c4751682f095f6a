"""What lies in a project's build folder, believed only where its manifest says that it is what it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgecc.artifact import Format, Manifest, read_manifest
from edgecc.errors import ArtifactError
from edgecc.files import sha256_of_file
from edgecc.project import ProjectFolder


@dataclass(frozen=True)
class Built:
    """What lies in `build/` now, by sha256. What is not there is left out."""

    artifacts: Mapping[tuple[str, Format], str]
    evaluation: str | None
    refused: Mapping[tuple[str, Format], str] = field(default_factory=dict)
    """Why an artifact was left out."""


def built_now(folder: ProjectFolder) -> Built:
    """Read the digests of a project's artifacts and evaluation set.

    Raises:
        ArtifactError: the evaluation set is there and cannot be read.
    """
    artifacts, refused = {}, {}
    for key in folder.project.with_steps(folder.project.emitted()):
        try:
            artifacts[key] = read_built(folder, *key).artifact.sha256
        except ArtifactError as error:
            refused[key] = error.message
    return Built(artifacts, _digest(folder.evaluation), refused)


def read_built(folder: ProjectFolder, variant: str, format: Format) -> Manifest:
    """The manifest of one artifact, once it is sure that it speaks of this file and of what the project asks for.

    Raises:
        ArtifactError: there is no such artifact, or it is another one.
    """
    path = folder.artifact(variant, format)
    manifest = read_manifest(path)
    section, count = folder.project.section_of(variant)
    expected = (folder.project.name, variant, format, section.recipe(count))
    found = (manifest.project, manifest.variant, manifest.artifact.format, dict(manifest.recipe))
    if found != expected:
        names = [", ".join(map(str, parts[:3])) + f", {_recipe_in_words(parts[3])}" for parts in (expected, found)]
        raise ArtifactError(
            f"{path}: expected {names[0]}; its manifest says {names[1]}", hint="edgecc compile writes both anew"
        )
    return manifest


def _recipe_in_words(recipe: Mapping[str, Any]) -> str:
    taken = {kind: options for kind, options in recipe.items() if options is not None}
    return f"made by {json.dumps(taken)}" if taken else "as it was trained"


def _digest(path: Path) -> str | None:
    try:
        return sha256_of_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}") from error
