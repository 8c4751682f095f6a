"""Which operator of an artifact its bytes belong to, read from the file without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, read_graph
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
    running = list(_running(graph))
    sizes = dict.fromkeys(range(len(running)), 0)
    unread = {constant.name: constant.size_bytes for constant in reversed(graph.stored)}
    for index, operator in enumerate(running):
        for name in _constants_behind(graph, operator):
            sizes[index] += unread.pop(name, 0)
    structure = path.stat().st_size - sum(sizes.values())
    if structure < 0:
        raise ArtifactError(
            f"{path}: expected a file that holds its constants; they lie in other files",
            hint="save the model as one file",
        )
    return FileBytes(tuple(_described(graph, running, sizes)), structure)


def _running(graph: Graph) -> Iterator[Operator]:
    constant = graph.constant_keys()
    yield from (each for each in graph.operators if not (each.inputs and {t.key for t in each.inputs} <= constant))


def _constants_behind(graph: Graph, operator: Operator) -> Iterator[str]:
    """The names of the constants that an operator reads, or reads through operators that nothing else feeds."""
    constant, producers = graph.constant_keys(), graph.producers()
    waiting = list(operator.inputs)
    while waiting:
        tensor = waiting.pop(0)
        if tensor.constant:
            yield tensor.name
        elif tensor.key in constant:
            waiting += producers[tensor.key].inputs


def _described(graph: Graph, running: list[Operator], sizes: dict[int, int]) -> Iterator[OperatorBytes]:
    makers = {tensor.key: index for index, operator in enumerate(running) for tensor in operator.outputs}
    for index, operator in enumerate(running):
        yield OperatorBytes(
            name=_name(operator),
            kind=operator.kind,
            size_bytes=sizes[index],
            outputs=tuple(tensor.name for tensor in operator.outputs),
            sources=tuple(makers[tensor.key] for tensor in operator.inputs if tensor.key in makers),
        )


def _name(operator: Operator) -> str:
    weights = [tensor.name for tensor in operator.inputs if tensor.constant and len(tensor.shape) > 1]
    names = (operator.name, *weights, *(tensor.name for tensor in operator.outputs), operator.kind)
    # The converter joins the names of all that it fused; the first is the last that ran.
    return next(name for name in names if name).partition(";")[0]
