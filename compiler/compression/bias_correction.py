"""Biases of an integer TFLite file, shifted by what rounding the weights does to the mean of each channel.

Rounding weights by e shifts the mean of a layer's output by e * E[x], which hardly ever is zero; the bias takes it back
(Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction", arXiv:1906.04721, section
4.2). E[x] is measured on representative samples. Padding is not counted as part of x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.compiler.backend.exposed import expose
from edgecc.compiler.backend.tflite_file import kinds_of, pack, unpack
from edgecc.compiler.compression.probe import Inputs, Probe, chunks, samples_per_chunk
from edgecc.compiler.compression.tflite_ranges import KERNELS, Kernel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Layer:
    """An operator with weights and a bias, in a float model or in a quantized one."""

    model: Any
    operator: Any
    kind: str
    kernel: Kernel

    def tensor(self, position: int) -> Any:
        return self.model.subgraphs[0].tensors[self.operator.inputs[position]]

    @property
    def source(self) -> str:
        return str(self.tensor(self.kernel.source).name.decode())

    @property
    def output(self) -> str:
        return str(self.model.subgraphs[0].tensors[self.operator.outputs[0]].name.decode())

    def weights(self, dtype: Any) -> Floats:
        """In real values."""
        tensor = self.tensor(self.kernel.weights)
        values = np.frombuffer(self.model.buffers[tensor.buffer].data, dtype).reshape(tensor.shape).astype(np.float64)
        if dtype is np.float32:
            return values
        along = [-1 if axis == self.kernel.channel_axis else 1 for axis in range(values.ndim)]
        scale = np.asarray(tensor.quantization.scale, np.float64)
        return values * (scale.reshape(along) if len(scale) > 1 else scale[0])


def correct_biases(original: bytes, quantized: bytes, means: Mapping[str, Floats]) -> bytes:
    """The quantized model with other biases; those of operators in float, and what else there is, stay as they are.

    Args:
        original: the float32 model.
        quantized: what int8 or int16x8 made of it.
        means: the mean over samples of each tensor in `corrected_inputs`, without the batch.
    """
    model = unpack(quantized)
    before = {layer.output: layer for layer in _layers(unpack(original))}
    shifts: dict[int, list[Floats]] = {}
    for layer in _layers(model):
        bias = layer.tensor(layer.kernel.bias)
        if layer.output in before and bias.quantization is not None and bias.quantization.scale is not None:
            error = before[layer.output].weights(np.float32) - layer.weights(np.int8)
            shift = _mean_output(layer, error, means[before[layer.output].source])
            shifts.setdefault(bias.buffer, []).append(shift / np.asarray(bias.quantization.scale, np.float64))
    for buffer, steps in shifts.items():  # steps of an unrolled recurrence share their bias
        _shift(model.buffers[buffer], np.mean(steps, axis=0))
    return pack(model)


def corrected_inputs(content: bytes) -> list[str]:
    """The tensors of a float model whose means `correct_biases` needs."""
    return list(dict.fromkeys(layer.source for layer in _layers(unpack(content))))


def mean_values(probe: Probe, content: bytes, names: list[str], inputs: Inputs) -> dict[str, Floats]:
    """The mean over the samples of each of these tensors of a float model, without the batch.

    Raises:
        ArtifactError: the model cannot be run.
    """
    graph = probe.graph(content)
    given = {tensor.name for tensor in graph.inputs}
    exposed = expose(content, probe.format, [name for name in names if name not in given])
    sums: dict[str, Floats] = {}
    for chunk in chunks(inputs, samples_per_chunk(graph, names)):
        tensors = probe.tensors(exposed, chunk)
        for name in names:
            sums[name] = sums.get(name, 0.0) + tensors[name].sum(axis=0, dtype=np.float64)
    return {name: total / len(inputs[0]) for name, total in sums.items()}


def _layers(model: Any) -> Iterator[_Layer]:
    kinds = kinds_of(model)
    for operator in model.subgraphs[0].operators:
        kind = kinds[operator.opcodeIndex]
        kernel = KERNELS.get(kind)
        if kernel is not None and len(operator.inputs) > kernel.bias and operator.inputs[kernel.bias] >= 0:
            layer = _Layer(model, operator, kind, kernel)
            if all(_is_constant(model, layer.tensor(position)) for position in (kernel.weights, kernel.bias)):
                yield layer


def _is_constant(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _mean_output(layer: _Layer, weights: Floats, mean: Floats) -> Floats:
    """The mean of what these weights give, per output channel, where `mean` is that of the input."""
    if layer.kind == "FULLY_CONNECTED":
        return np.asarray(weights @ mean.reshape(-1, weights.shape[1]).mean(axis=0))
    channels = mean.mean(axis=tuple(range(mean.ndim - 1)))
    if layer.kind == "DEPTHWISE_CONV_2D":
        taps = weights.sum(axis=(0, 1, 2))
        return np.asarray(taps * np.repeat(channels, len(taps) // len(channels)))
    taps = weights.sum(axis=(1, 2))
    groups = channels.reshape(-1, taps.shape[1])
    outputs = (taps * np.repeat(groups, len(taps) // len(groups), axis=0)).sum(axis=1)
    if layer.kind == "TRANSPOSE_CONV":  # each output sees one tap in every stride
        options = layer.operator.builtinOptions
        return np.asarray(outputs / (options.strideH * options.strideW))
    return np.asarray(outputs)


def _shift(buffer: Any, steps: Floats) -> None:
    """Add steps to a quantized bias; int64 in files of int16 activations, whose kernels still want it within int32."""
    dtype = np.int32 if len(buffer.data) == 4 * len(steps) else np.int64
    limits = np.iinfo(np.int32)
    moved = np.frombuffer(buffer.data, dtype) + np.round(steps).astype(np.int64)
    buffer.data = moved.clip(limits.min, limits.max).astype(dtype).view(np.uint8)
