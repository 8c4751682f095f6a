"""Which operators of two artifacts, and which nodes that a runtime ran, are the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from edgecc.targets.profile import NodeTime

Pair = tuple[int | None, int | None]

_RENAMED = re.compile(r"^(?:fused )?(?P<name>.*?)(?:_nchwc|_token_\d+)?$")
"""What ONNX Runtime's optimizers make of an operator's or of an output's name."""


class Operator(Protocol):
    """An operator of an artifact."""

    @property
    def name(self) -> str:
        """As the file names it."""

    @property
    def kind(self) -> str:
        """Such as `CONV_2D` or `Conv`."""

    @property
    def size_bytes(self) -> int:
        """Of the constants that belong to it."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the tensors it gives."""

    @property
    def sources(self) -> tuple[int, ...]:
        """The positions of the operators whose results it reads."""


def match_operators(before: Sequence[Operator], after: Sequence[Operator]) -> list[Pair]:
    """Pair the operators of two artifacts by their positions: by name, then by kind and order; what is left is alone.

    A name that one of the artifacts has twice tells nothing.
    """
    old, new = _by_unique_name(before), _by_unique_name(after)
    pairs: list[Pair] = [(old[name], new[name]) for name in old if name in new]
    taken = {index for index, _ in pairs}, {index for _, index in pairs}
    left = [index for index in range(len(after)) if index not in taken[1]]
    for index, operator in enumerate(before):
        if index not in taken[0]:
            twin = next((other for other in left if after[other].kind == operator.kind), None)
            pairs.append((index, twin))
            left = [other for other in left if other != twin]
    return pairs + [(None, index) for index in left]


def _by_unique_name(operators: Sequence[Operator]) -> dict[str, int]:
    counts = Counter(operator.name for operator in operators)
    return {operator.name: index for index, operator in enumerate(operators) if counts[operator.name] == 1}


def operator_of(node: NodeTime, operators: Sequence[Operator]) -> int | None:
    """The position of the operator that a node of ONNX Runtime stands for; None where the runtime put it in itself.

    A node that several operators were fused into is called after one of them, often the last. The time belongs to the
    one of the node's kind: a convolution's, not that of the activation which was fused into it.
    """
    names = (node.name, _RENAMED.sub(r"\g<name>", node.name))
    named = [
        index for name in names for index, each in enumerate(operators) if name == each.name or name in each.outputs
    ]
    return _of_kind(node.kind, named[0], operators) if named else None


def _of_kind(kind: str, start: int, operators: Sequence[Operator]) -> int:
    """Go back along the first inputs to an operator of this kind; where there is none, stay."""
    index = start
    for _ in operators:
        if operators[index].kind == kind:
            return index
        if not operators[index].sources:
            break
        index = operators[index].sources[0]
    return start
