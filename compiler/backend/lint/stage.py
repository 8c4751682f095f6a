"""The lint stage: what compile emitted is looked into before it may be used."""

from __future__ import annotations

import json

from edgecc.artifact import Format
from edgecc.compiler.backend.lint import lint_artifact
from edgecc.compiler.backend.lint.finding import Claims, Scheme
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.files import write_atomically


def lint(context: StageContext) -> Metrics:
    """Look into one artifact, and write `findings.json`.

    Options: `format` and `scheme` (what it claims). The role `kept` names what stays in float on purpose.

    Raises:
        ArtifactError: the file is not a model of that format.
    """
    files = context.inputs.get("kept", {})
    kept = json.loads(files["kept.json"].read_text()) if files else []
    claims = Claims(scheme=Scheme(context.options["scheme"]), kept=tuple(kept))
    path = context.inputs["artifact"]["artifact"]
    findings = [each.model_dump(mode="json") for each in lint_artifact(path, Format(context.options["format"]), claims)]
    write_atomically(context.output_dir / "findings.json", json.dumps(findings, indent=1) + "\n")
    return {"findings": findings}
