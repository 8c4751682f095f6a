"""What an artifact really holds, against what it claims and what it will cost."""

from __future__ import annotations

from pathlib import Path

from edgecc.artifact import Format, describe_file
from edgecc.compiler.backend.artifact_graph import read_graph
from edgecc.compiler.backend.lint import claimed, runtime, structure
from edgecc.compiler.backend.lint.finding import Claims, FileReport, Finding, Severity
from edgecc.compiler.backend.lint.rule import Inspected, Rule

RULES: tuple[Rule, ...] = (*claimed.RULES, *structure.RULES, *runtime.RULES)
"""Every rule there is, in the order in which their findings come."""


def lint_artifact(path: Path, format: Format, claims: Claims | None) -> tuple[Finding, ...]:
    """Inspect a file. Without claims, only the rules that need none run. Errors come first, then warnings.

    Raises:
        ArtifactError: the file is not a model of that format.
        MissingExtraError: an ONNX file, and onnx is not installed.
    """
    file = Inspected(path, format, read_graph(path, format), claims)
    findings = [finding for rule in RULES if rule.applies_to(file) for finding in rule.findings(file)]
    return tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity)))


def inspect_file(path: Path, claims: Claims | None) -> FileReport:
    """Inspect a file by its name's ending, whoever built it.

    Raises:
        ArtifactError: no such file, or not a model of the format that its name claims.
        MissingExtraError: an ONNX file, and onnx is not installed.
    """
    artifact = describe_file(path)
    need_claims = [rule.name for rule in RULES if rule.schemes is not None and artifact.format in rule.formats]
    return FileReport(
        path=artifact.path,
        format=artifact.format,
        sha256=artifact.sha256,
        claims=claims,
        unchecked=tuple(need_claims) if claims is None else (),
        findings=lint_artifact(path, artifact.format, claims),
    )
