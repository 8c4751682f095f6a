"""What lint says, and what it is told: findings in the shape that `--json` prints, and a file's claims."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Literal

from edgecc.artifact import Format, Manifest, Record


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """The file is not what it claims to be, or will not run where it should."""
    WARNING = "warning"
    """It is what it claims, and costs more than it has to."""
    NOTE = "note"
    """To know; nothing to mend. It never changes the exit code."""


class Scheme(StrEnum):
    """The number formats that a file may claim; those beside float32 as in `quantize.scheme`."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    WEIGHT_ONLY = "weight_only"
    DYNAMIC = "dynamic"
    INT8 = "int8"
    INT16X8 = "int16x8"


class Claims(Record):
    """What a file is said to be."""

    scheme: Scheme
    kept: tuple[str, ...] = ()
    """What stays in float on purpose: Keras layers by name or path, or tensors. ONNX has no layers' names."""


class Finding(Record):
    """One thing that a rule has to say about a file."""

    rule: str
    severity: Severity
    subject: str
    """The operator or tensor it is about; empty where it is the whole file."""
    found: str
    expected: str
    advice: str
    """What to do."""


class FileReport(Record):
    """One file's findings."""

    path: str
    format: Format
    sha256: str
    claims: Claims | None
    """None where nobody said what it is."""
    unchecked: tuple[str, ...]
    """Rules that need a claim, and did not run for the lack of one."""
    findings: tuple[Finding, ...]


class LintReport(Record):
    """What `edgecc lint --json` prints."""

    schema_version: Literal[1] = 1
    files: tuple[FileReport, ...]

    def counts(self) -> dict[Severity, int]:
        """How many findings there are of each severity."""
        found = Counter(finding.severity for file in self.files for finding in file.findings)
        return {severity: found[severity] for severity in Severity}

    @property
    def is_clean(self) -> bool:
        """No errors and no warnings."""
        counts = self.counts()
        return not counts[Severity.ERROR] and not counts[Severity.WARNING]


def claims_of(manifest: Manifest) -> Claims:
    """What an artifact that edgecc built claims, by the recipe in its manifest."""
    quantize = manifest.recipe["quantize"]
    if quantize is None:
        return Claims(scheme=Scheme.FLOAT32)
    measured = [stage.metrics for stage in manifest.stages if stage.name.startswith("quantize/")]
    kept = [name for metrics in measured for key in ("kept", "kept_tensors") for name in metrics.get(key, ())]
    return Claims(scheme=Scheme(quantize["scheme"]), kept=tuple(dict.fromkeys([*quantize["keep"], *kept])))
