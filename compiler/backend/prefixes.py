"""A TFLite file cut after each of its operators, so that the time of one can be told by the difference of two cuts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgecc.compiler.backend.tflite_file import pack, unpack


def count_steps(content: bytes) -> int:
    """How many operators of the main graph depend on the model's inputs: as many cuts there are."""
    return len(_steps(unpack(content)))


def prefixes(content: bytes) -> Iterator[bytes]:
    """The model up to and with each operator that depends on its inputs, in the order in which they run.

    A prefix gives back all that later operators read, so nothing in it is idle; the last one is the whole model.
    What is computed from constants alone comes in with the operator that reads it: runtimes fuse the two. What
    describes the model's interface (its signatures) is dropped.
    """
    for step in _steps(unpack(content)):
        model = unpack(content)
        _cut(model, step)
        yield pack(model)


def _steps(model: Any) -> list[int]:
    constant = _constant(model)
    return [index for index, operator in enumerate(model.subgraphs[0].operators) if not _is_idle(operator, constant)]


def _constant(model: Any) -> set[int]:
    """The tensors of the main graph that no input can change."""
    main = model.subgraphs[0]
    constant = {index for index, tensor in enumerate(main.tensors) if _is_filled(model.buffers[tensor.buffer])}
    for operator in main.operators:
        if _is_idle(operator, constant):
            constant |= set(operator.outputs)
    return constant


def _is_filled(buffer: Any) -> bool:
    return buffer.data is not None and len(buffer.data) > 0


def _is_idle(operator: Any, constant: set[int]) -> bool:
    read = _read(operator)
    return bool(read) and read <= constant


def _read(operator: Any) -> set[int]:
    return set() if operator.inputs is None else {int(index) for index in operator.inputs if index >= 0}


def _cut(model: Any, step: int) -> None:
    main, constant = model.subgraphs[0], _constant(model)
    kept = _fed(main.operators[: step + 1], constant)
    later = set(map(int, main.outputs)).union(*map(_read, main.operators[step + 1 :]))
    given = [int(index) for operator in kept for index in operator.outputs if int(index) not in constant]
    main.operators = kept
    main.outputs = [index for index in given if index in later] or given[-1:]
    model.signatureDefs = []
    _drop_unread_constants(model)


def _fed(operators: Iterable[Any], constant: set[int]) -> list[Any]:
    """The operators without those that compute from constants what none of the others reads."""
    kept: list[Any] = []
    needed: set[int] = set()
    for operator in reversed(list(operators)):
        if not _is_idle(operator, constant) or needed & set(map(int, operator.outputs)):
            kept.insert(0, operator)
            needed |= _read(operator)
    return kept


def _drop_unread_constants(model: Any) -> None:
    """Of the main graph, so that the cuts of a large model do not fill the disk."""
    main = model.subgraphs[0]
    read = set(map(int, main.inputs)).union(*map(_read, main.operators), map(int, main.outputs))
    needed = {main.tensors[index].buffer for index in read}
    needed |= {tensor.buffer for graph in model.subgraphs[1:] for tensor in graph.tensors}
    needed |= {entry.buffer for entry in model.metadata or ()}
    unread = {tensor.buffer for tensor in main.tensors} - needed
    for index in unread:
        model.buffers[index].data = None
