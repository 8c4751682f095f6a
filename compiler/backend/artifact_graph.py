"""What an emitted artifact holds, read without running it: the same view of a TFLite and of an ONNX file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgecc.artifact import Format
from edgecc.errors import ArtifactError, MissingExtraError


@dataclass(frozen=True)
class Tensor:
    """A value that operators pass on; `shape` is empty where it is not known, `dtype` is named as numpy does."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    quantized: bool = False
    """Integers that stand for real numbers by a scale and a zero point."""
    key: str = ""
    """What tells it from the others: the name, but for TFLite, where names need not be unique."""

    def __post_init__(self) -> None:
        """Take the name as the key where none is given."""
        object.__setattr__(self, "key", self.key or self.name)


@dataclass(frozen=True)
class Operator:
    """One step of the graph. Inputs that are left out are not listed."""

    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    fused_activation: bool = False
    name: str = ""
    """Its own, which only ONNX has."""
    domain: str = ""
    """Empty for what the format has built in; else `flex`, `custom`, or an ONNX domain."""

    @property
    def label(self) -> str:
        """How a message names it: its kind, with its own name or that of its first output."""
        own = self.name or next((tensor.name for tensor in self.outputs), "")
        return f"{self.kind} `{own}`" if own else self.kind


@dataclass(frozen=True)
class StoredConstant:
    """Bytes that the file holds for a constant; several tensors may share them."""

    name: str
    size_bytes: int
    sha256: str
    """Of the bytes alone: two constants of other shapes may have the same."""


@dataclass(frozen=True)
class Graph:
    """An artifact's operators, in the order in which they run; those of loops' and branches' bodies come last."""

    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    body_outputs: tuple[Tensor, ...] = ()
    """What the bodies of loops and branches give back."""
    stored: tuple[StoredConstant, ...] = ()

    def operator_counts(self) -> dict[str, int]:
        """How often each kind of operator is there, by name."""
        return dict(sorted(Counter(operator.kind for operator in self.operators).items()))

    def producers(self) -> dict[str, Operator]:
        """The operator that writes a tensor, by the tensor's key."""
        return {tensor.key: operator for operator in self.operators for tensor in operator.outputs}

    def consumers(self) -> dict[str, list[Operator]]:
        """The operators that read a tensor, by the tensor's key."""
        consumers: dict[str, list[Operator]] = {}
        for operator in self.operators:
            for tensor in operator.inputs:
                consumers.setdefault(tensor.key, []).append(operator)
        return consumers

    def constant_keys(self) -> set[str]:
        """Tensors that no input can change: constants, and what is computed from nothing else."""
        keys = {tensor.key for operator in self.operators for tensor in operator.inputs if tensor.constant}
        keys |= {tensor.key for tensor in self.outputs if tensor.constant}
        for operator in self.operators:
            if operator.inputs and all(tensor.key in keys for tensor in operator.inputs):
                keys |= {tensor.key for tensor in operator.outputs}
        return keys


def read_graph(path: Path, format: Format) -> Graph:
    """Read an artifact's operators and tensors.

    Raises:
        ArtifactError: the file is not a model of that format.
        MissingExtraError: an ONNX file, and onnx is not installed.
    """
    from edgecc.compiler.backend.onnx_graph import read_onnx
    from edgecc.compiler.backend.tflite_graph import read_tflite

    readers = {Format.TFLITE: read_tflite, Format.ONNX: read_onnx}
    try:
        return readers[format](path)
    except MissingExtraError:
        raise
    except Exception as error:  # the parsers raise whatever a damaged file leads them into
        raise ArtifactError(f"{path}: expected a model in the format {format}; it cannot be parsed: {error}") from error
