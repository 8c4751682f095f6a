"""How far each layer of a quantized artifact is from the float one, on real samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph, Operator
from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.compression.probe import Inputs, Probe, chunks, samples_per_chunk
from edgecc.progress import Task


@dataclass(frozen=True)
class LayerError:
    """One Keras layer's error, at the last tensor it gives."""

    layer: str
    """Its path, such as `encoder/conv1`."""
    operator: str
    """The kind of operator that gives the tensor in the float artifact."""
    sqnr_db: float
    """Signal-to-quantization-noise ratio, 10 log10(sum x^2 / sum (x - q)^2); infinite where there is no error."""
    cosine: float
    """Cosine similarity of x and q, all samples as one vector; 0 where q is nothing but zeros."""
    kept: bool
    """It was kept in float; its error is that of its inputs."""

    def as_json(self) -> dict[str, Any]:
        """JSON has no infinity: `sqnr_db` is null where there is no error."""
        finite = math.isfinite(self.sqnr_db)
        return {
            "layer": self.layer,
            "operator": self.operator,
            "sqnr_db": self.sqnr_db if finite else None,
            "cosine": self.cosine,
            "kept": self.kept,
        }


@dataclass(frozen=True)
class LayerErrors:
    """The layers' errors in the order in which they run, and those of which none can be told."""

    layers: tuple[LayerError, ...]
    unmeasured: Mapping[str, str]
    """The reason, by layer."""

    def worst(self, count: int) -> tuple[LayerError, ...]:
        """The layers with the lowest SQNR, the worst first."""
        return tuple(sorted(self.layers, key=lambda each: each.sqnr_db)[:count])


@dataclass(frozen=True)
class Pair:
    """The names of a layer's tensor in the float artifact and in the quantized one."""

    original: str
    copy: str


@dataclass
class Comparison:
    """Sums over pairs of arrays, in float64, that tell how alike they are."""

    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0

    def add(self, expected: npt.NDArray[Any], actual: npt.NDArray[Any]) -> None:
        """Count two arrays of one shape in."""
        x, q = expected.astype(np.float64).ravel(), actual.astype(np.float64).ravel()
        self.signal += float(x @ x)
        self.other += float(q @ q)
        self.product += float(x @ q)
        self.noise += float((x - q) @ (x - q))

    @property
    def sqnr_db(self) -> float:
        """Of a signal that is not zero; infinite without noise."""
        return 10 * math.log10(self.signal / self.noise) if self.noise else math.inf

    @property
    def cosine(self) -> float:
        """Between -1 and 1."""
        if not self.noise:
            return 1.0
        return self.product / math.sqrt(self.signal * self.other) if self.other else 0.0


def layer_errors(
    probe: Probe,
    reference: bytes,
    quantized: bytes,
    layers: Mapping[str, str],
    kept: Collection[str],
    inputs: Inputs,
    task: Task,
) -> LayerErrors:
    """Compare two artifacts layer by layer on these samples.

    `layers` gives the Keras layer of each operator's output tensor in `reference`. A layer's tensor is found in
    `quantized` by its name. In ONNX it is what comes out of the pair of QuantizeLinear and DequantizeLinear behind
    it, as int8 kernels give it. `task` counts samples.

    Raises:
        ArtifactError: one of the two cannot be run.
    """
    last = _last_operators(probe.graph(reference), layers)
    pairs = _pairs(last, probe.graph(quantized), probe.format, kept)
    compared = _compare(probe, reference, quantized, pairs, inputs, task)
    missing = {layer: "its tensor is not in the quantized artifact" for layer in last if layer not in pairs}
    silent = {layer: "its output is zero on every sample" for layer, each in compared.items() if not each.signal}
    rows = (
        LayerError(layer, last[layer].kind, each.sqnr_db, each.cosine, layer in kept)
        for layer, each in compared.items()
        if layer not in silent
    )
    return LayerErrors(tuple(rows), missing | silent)


def _compare(
    probe: Probe, reference: bytes, quantized: bytes, pairs: Mapping[str, Pair], inputs: Inputs, task: Task
) -> dict[str, Comparison]:
    names = [pair.original for pair in pairs.values()]
    originals = expose(reference, probe.format, names)
    copies = expose(quantized, probe.format, [pair.copy for pair in pairs.values()])
    compared = {layer: Comparison() for layer in pairs}
    for chunk in chunks(inputs, samples_per_chunk(probe.graph(reference), names)):
        expected, actual = probe.tensors(originals, chunk), probe.tensors(copies, chunk)
        for layer, pair in pairs.items():
            compared[layer].add(expected[pair.original], actual[pair.copy])
        task.advance(len(chunk[0]))
    return compared


def _last_operators(graph: Graph, layers: Mapping[str, str]) -> dict[str, Operator]:
    """The last operator of each layer, in the order in which these run."""
    last: dict[str, Operator] = {}
    for operator in graph.operators:
        layer = layers.get(operator.outputs[0].name)
        if layer is not None:
            last.pop(layer, None)
            last[layer] = operator
    return last


def _pairs(last: Mapping[str, Operator], quantized: Graph, format: Format, kept: Collection[str]) -> dict[str, Pair]:
    """The tensors to compare of each layer that is found in the quantized artifact."""
    given = {tensor.name for operator in quantized.operators for tensor in operator.outputs}
    names = {layer: operator.outputs[0].name for layer, operator in last.items()}
    rounded = _dequantized(quantized.operators) if format is Format.ONNX else {}
    return {
        layer: Pair(name, name if layer in kept else rounded.get(name, name))
        for layer, name in names.items()
        if name in given
    }


def _dequantized(operators: Iterable[Operator]) -> dict[str, str]:
    """By tensor that is quantized: the tensor that holds its dequantized values."""
    pairs: dict[str, str] = {}
    sources: dict[str, str] = {}
    for operator in operators:
        if operator.kind == "QuantizeLinear":
            sources[operator.outputs[0].name] = operator.inputs[0].name
        elif operator.kind == "DequantizeLinear" and operator.inputs[0].name in sources:
            pairs.setdefault(sources[operator.inputs[0].name], operator.outputs[0].name)
    return pairs
