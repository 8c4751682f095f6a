"""What a rule is: when it applies, what it looks for, and what to do about what it finds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator
from edgecc.compiler.backend.lint.finding import Claims, Finding, Scheme, Severity


@dataclass(frozen=True)
class Inspected:
    """A file that is being looked at."""

    path: Path
    format: Format
    graph: Graph
    claims: Claims | None

    @property
    def scheme(self) -> Scheme:
        """What it claims, for rules that need a claim.

        Raises:
            ValueError: it claims nothing.
        """
        if self.claims is None:
            raise ValueError(f"{self.path} claims nothing")
        return self.claims.scheme

    def keeps(self, operator: Operator) -> bool:
        """Whether the recipe keeps the layer that this operator came from in float.

        TFLite's tensors are named by paths of Keras scopes, such as `cnn_1/conv2d_1/Relu;cnn_1/conv2d_1/BiasAdd`; a
        scope is the layer's name with a counter (see `origins.origin_of`).
        """
        names = [operator.name, *(tensor.name for tensor in operator.outputs)]
        paths = [_scopes(part) for name in names for part in name.split(";")]
        kept = self.claims.kept if self.claims else ()
        return any(layer in names or any(f"/{layer}/" in path for path in paths) for layer in kept)


def _scopes(path: str) -> str:
    return "/".join(["", *(re.sub(r"_\d+$", "", scope) for scope in path.split("/")), ""])


@dataclass(frozen=True)
class Spot:
    """Where a rule found something."""

    subject: str
    found: str
    severity: Severity | None = None
    """Where it is not the rule's own."""


@dataclass(frozen=True)
class Rule:
    """One thing to look for."""

    name: str
    severity: Severity
    expected: str
    """`{scheme}` stands for what the file claims."""
    advice: str
    check: Callable[[Inspected], Iterable[Spot]]
    schemes: frozenset[Scheme] | None = None
    """The claims it tests; None where it needs no claim."""
    formats: frozenset[Format] = frozenset(Format)

    def applies_to(self, file: Inspected) -> bool:
        """Whether the file's format and claims are those that the rule is for."""
        claimed = self.schemes is None or (file.claims is not None and file.claims.scheme in self.schemes)
        return claimed and file.format in self.formats

    def findings(self, file: Inspected) -> list[Finding]:
        """What it has to say about a file."""
        expected = self.expected.format(scheme=file.scheme) if self.schemes else self.expected
        return [
            Finding(
                rule=self.name,
                severity=spot.severity or self.severity,
                subject=spot.subject,
                found=spot.found,
                expected=expected,
                advice=self.advice,
            )
            for spot in self.check(file)
        ]
