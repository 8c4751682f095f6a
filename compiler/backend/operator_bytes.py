"""Which operator of an artifact its bytes belong to, read from the file without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator, Tensor, read_graph
from edgecc.compiler.backend.tflite_file import unpack
from edgecc.errors import ArtifactError


@dataclass(frozen=True)
class OperatorBytes:
    """An operator whose result depends on the model's inputs, with the constants that it is the first to read."""

    name: str
    """Its own name where the file gives it one, else its weights' if that has a scope, else its first output's."""
    kind: str
    size_bytes: int
    """Of the constants, and of their scales and zero points."""
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
    unread = Counter(_parameters(path) if format is Format.TFLITE else {})
    for constant in graph.stored:  # in TFLite, two may have one name
        unread[constant.name] += constant.size_bytes
    operators = tuple(reader.describe(operator, unread) for operator in reader.running)
    structure = path.stat().st_size - sum(operator.size_bytes for operator in operators)
    if structure < 0:
        raise ArtifactError(
            f"{path}: expected a file that holds its constants; they lie in other files",
            hint="save the model as one file",
        )
    return FileBytes(operators, structure)


def _parameters(path: Path) -> dict[str, int]:
    """The bytes of the scales and zero points of a TFLite file's constants: 12 and more for each channel."""
    model, sizes = unpack(path.read_bytes()), Counter[str]()
    for tensor in (tensor for graph in model.subgraphs for tensor in graph.tensors):
        own, data = tensor.quantization, model.buffers[tensor.buffer].data
        if own is not None and data is not None and len(data):
            sizes[(tensor.name or b"").decode()] += sum(
                size * len(values)
                for size, values in ((4, own.scale), (8, own.zeroPoint), (4, own.min), (4, own.max))
                if values is not None
            )
    return sizes


class _Reader:
    """The operators that inputs can change, and what they read."""

    def __init__(self, graph: Graph) -> None:
        self._constant, self._producers = graph.constant_keys(), graph.producers()
        self.running = [operator for operator in graph.operators if not self._is_idle(operator)]
        self._makers = {tensor.key: index for index, each in enumerate(self.running) for tensor in each.outputs}

    def _is_idle(self, operator: Operator) -> bool:
        return bool(operator.inputs) and all(tensor.key in self._constant for tensor in operator.inputs)

    def describe(self, operator: Operator, unread: Counter[str]) -> OperatorBytes:
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
    # What was unrolled shares its weights, which then have names such as `arith.constant2`.
    weights = [tensor.name for tensor in constants if len(tensor.shape) > 1 and "/" in tensor.name]
    names = (operator.name, *weights, *(tensor.name for tensor in operator.outputs), operator.kind)
    # The converter joins the names of all that it fused; the first is the last that ran.
    return next(name for name in names if name).partition(";")[0]
