"""Which weights of a model magnitude pruning may set to zero, each seen as a matrix."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import ModelError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Kernel:
    """One weight tensor of a layer, and its axes: those that are summed over, and the others."""

    layer: str
    """The layer's name; `model/layer` in a nested model."""
    variable: Any
    """The Keras variable."""
    inputs: tuple[int, ...]
    """Axes along which products are summed: the rows of the matrix, the input channels last."""
    outputs: tuple[int, ...]

    @property
    def values(self) -> Array:
        """The weights as they are now, in the tensor's own shape."""
        return np.asarray(self.variable.value.numpy())

    @property
    def channels(self) -> int:
        """Input channels: neighbours among them are neighbouring rows of the matrix."""
        return int(self.variable.shape[self.inputs[-1]])

    def as_matrix(self, tensor: Array) -> Array:
        """From the tensor's shape to (inputs, outputs): that of a Dense kernel, or of a convolution on patches."""
        rows = math.prod(tensor.shape[axis] for axis in self.inputs)
        return tensor.transpose(self.inputs + self.outputs).reshape(rows, -1)

    def from_matrix(self, matrix: Array) -> Array:
        """The way back."""
        axes = self.inputs + self.outputs
        shape = [self.variable.shape[axis] for axis in axes]
        return matrix.reshape(shape).transpose(np.argsort(axes))


def prunable_kernels(keras: Any, model: Any, exclude: Iterable[str]) -> list[Kernel]:
    """The kernels of a model's layers but those in `exclude`, in the model's order, each once.

    These are tfmot's choice: dense, convolutional (also transposed), recurrent and attention kernels, embeddings,
    and of a separable convolution the pointwise one. Depthwise kernels stay whole: they hold few weights, one window
    a channel (Zhu and Gupta 2017 leave them out as well). So do biases, norms and the weights of custom layers.
    A name in `exclude` is a layer's, or a nested model's with all that is in it.

    Raises:
        ModelError: a name is no layer's, or one of a layer without such a kernel; or no kernel is left.
    """
    kernels = {id(kernel.variable): kernel for kernel in reversed(list(_kernels(keras, model)))}
    found = list(reversed(kernels.values()))
    excluded = set(exclude)
    _check_excluded(excluded, {name for path, _ in _layers(keras, model) for name in _names(path)}, found)
    left = [kernel for kernel in found if excluded.isdisjoint(_names(kernel.layer))]
    if not left:
        raise ModelError(
            f"expected a layer to prune in `{model.name}`; "
            + ("`exclude` names all there are" if found else "it has no dense, convolutional or recurrent one")
        )
    return left


def _names(path: str) -> set[str]:
    """What a layer answers to: its path, its own name, and the models it is in."""
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts) + 1)} | {parts[-1]}


def _check_excluded(excluded: set[str], known: set[str], kernels: list[Kernel]) -> None:
    prunable = {name for kernel in kernels for name in _names(kernel.layer)}
    for name in sorted(excluded - prunable):
        if name in known:
            raise ModelError(f"prune.exclude: `{name}` has nothing to prune", hint="leave it out of `exclude`")
        close = difflib.get_close_matches(name, sorted(prunable), n=1)
        raise ModelError(
            f"prune.exclude: expected names of layers; the model has no `{name}`",
            hint=f"did you mean `{close[0]}`?" if close else f"it has {', '.join(sorted(prunable))}",
        )


def _layers(keras: Any, model: Any) -> Iterator[tuple[str, Any]]:
    """The layers of the model and of those nested in it, by path."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from ((f"{layer.name}/{path}", inner) for path, inner in _layers(keras, layer))
        else:
            yield layer.name, layer


def _kernels(keras: Any, model: Any) -> Iterator[Kernel]:
    for path, layer in _layers(keras, model):
        for part in layer._flatten_layers():  # wrapped layers, a recurrent layer's cell, attention's projections
            for variable, inputs in _weights(keras.layers, part):
                outputs = tuple(axis for axis in range(len(variable.shape)) if axis not in inputs)
                yield Kernel(path, variable, inputs, outputs)


def _weights(layers: Any, layer: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """The layer's own kernels, each with the axes it sums over."""
    if isinstance(layer, layers.Embedding):
        return [(layer.embeddings, (0,))]
    if isinstance(layer, layers.EinsumDense):
        inputs = _summed_axes(layer.equation)
        return [(layer.kernel, inputs)] if inputs else []
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        return [_all_but_last(layer.pointwise_kernel)]
    if isinstance(layer, layers.Conv1DTranspose | layers.Conv2DTranspose | layers.Conv3DTranspose):
        *window, _, channels = range(len(layer.kernel.shape))
        return [(layer.kernel, (*window, channels))]
    if isinstance(layer, layers.Dense | layers.Conv1D | layers.Conv2D | layers.Conv3D):
        return [_all_but_last(layer.kernel)]
    if hasattr(layer, "recurrent_kernel"):
        return [_all_but_last(layer.kernel), _all_but_last(layer.recurrent_kernel)]
    return []


def _all_but_last(variable: Any) -> tuple[Any, tuple[int, ...]]:
    return variable, tuple(range(len(variable.shape) - 1))


def _summed_axes(equation: str) -> tuple[int, ...]:
    operands, _, result = equation.replace(" ", "").partition("->")
    kernel = operands.partition(",")[2]
    return tuple(axis for axis, letter in enumerate(kernel) if letter not in result)
