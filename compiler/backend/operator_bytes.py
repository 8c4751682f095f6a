"""Which operator of an artifact its bytes belong to, read from the file without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor, read_graph
from edgecc.errors import ArtifactError


@dataclass(frozen=True)
class OperatorBytes:
    """An operator whose result depends on the model's inputs, with the constants that it reads first."""

    name: str
    """As the file names it: its own name, else that of its weights, else that of its first output."""
    kind: str
    size_bytes: int
    outputs: tuple[str, ...]
    sources: tuple[int, ...]
    """The positions, among the file's `OperatorBytes`, of the operators whose results it reads."""


@dataclass(frozen=True)
class FileBytes:
    """All bytes of a file: those of its operators' constants, and what is left."""

    operators: tuple[OperatorBytes, ...]
    """In the order in which they run; those in the bodies of loops and branches come last."""
    structure_bytes: int
    """The graph itself, names, metadata, padding, and constants that no operator reads."""


def bytes_of_operators(path: Path, format: Format) -> FileBytes:
    """Give every byte of a file to an operator or to the structure.

    A constant that several operators read belongs to the first. What is computed from constants alone, such as the
    dequantization of weights, is no operator of its own: its bytes belong to the operator that reads the result.

    Raises:
        ArtifactError: the file is not a model of that format, or keeps its constants in other files.
        MissingExtraError: an ONNX file, and onnx is not installed.
    """
    graph = read_graph(path, format)
    reader = _Reader(graph)
    unread: dict[str, int] = {}
    for constant in graph.stored:  # in TFLite, two may have one name
        unread[constant.name] = unread.get(constant.name, 0) + constant.size_bytes
    operators = tuple(reader.describe(operator, unread) for operator in reader.running)
    structure = path.stat().st_size - sum(operator.size_bytes for operator in operators)
    if structure < 0:
        raise ArtifactError(
            f"{path}: expected a file that holds its constants; they lie in other files",
            hint="save the model as one file",
        )
    return FileBytes(operators, structure)


class _Reader:
    """The operators that inputs can change, and what they read."""

    def __init__(self, graph: Graph) -> None:
        self._constant, self._producers = graph.constant_keys(), graph.producers()
        self.running = [operator for operator in graph.operators if not self._is_idle(operator)]
        self._makers = {tensor.key: index for index, each in enumerate(self.running) for tensor in each.outputs}

    def _is_idle(self, operator: Operator) -> bool:
        return bool(operator.inputs) and all(tensor.key in self._constant for tensor in operator.inputs)

    def describe(self, operator: Operator, unread: dict[str, int]) -> OperatorBytes:
        """The operator with the constants that are still unread, which are read by it now."""
        constants = list(self._constants_behind(operator))
        return OperatorBytes(
            name=_name(operator, constants),
            kind=operator.kind,
            size_bytes=sum(unread.pop(tensor.name, 0) for tensor in constants),
            outputs=tuple(tensor.name for tensor in operator.outputs),
            sources=tuple(self._makers[tensor.key] for tensor in operator.inputs if tensor.key in self._makers),
        )

    def _constants_behind(self, operator: Operator) -> Iterator[Tensor]:
        """The constants that an operator reads, or reads through operators that nothing else feeds."""
        waiting = list(operator.inputs)
        while waiting:
            tensor = waiting.pop(0)
            if tensor.constant:
                yield tensor
            elif tensor.key in self._constant:
                waiting += self._producers[tensor.key].inputs


def _name(operator: Operator, constants: Sequence[Tensor]) -> str:
    weights = [tensor.name for tensor in constants if len(tensor.shape) > 1]
    names = (operator.name, *weights, *(tensor.name for tensor in operator.outputs), operator.kind)
    # The converter joins the names of all that it fused; the first is the last that ran.
    return next(name for name in names if name).partition(";")[0]
