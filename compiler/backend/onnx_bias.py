"""Biases that tf2onnx leaves beside their operators, put back: quantized on their own, they would cost accuracy.

Of one-dimensional convolutions, which have a Squeeze between, and of matrix products where the batch is open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Constants = Mapping[str, npt.NDArray[Any]]


def merge_biases(model: Any) -> None:
    """Merge each bias, in place.

    `Conv, Squeeze, Add` of a constant per channel becomes `Conv` with a bias and `Squeeze`; `MatMul, Add` of a constant
    per column, where both factors are matrices, becomes `Gemm`.
    """
    import onnx

    graph = model.graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    _merge_into_convolutions(graph, constants)
    _merge_into_products(graph, constants, _matrices(model))


def _merge_into_convolutions(graph: Any, constants: Constants) -> None:
    import onnx

    for convolution in [node for node in graph.node if _lacks_bias(node, constants)]:
        squeeze = _only_reader(graph, convolution, "Squeeze")
        add = _only_reader(graph, squeeze, "Add")
        bias = _bias(convolution, squeeze, add, constants)
        if bias is not None:
            name = f"{add.name}.bias"
            graph.initializer.append(onnx.numpy_helper.from_array(bias, name))
            convolution.input.append(name)
            squeeze.output[0] = add.output[0]
            graph.node.remove(add)


def _merge_into_products(graph: Any, constants: Constants, matrices: Collection[str]) -> None:
    import onnx

    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        left, right = product.input
        add = _only_reader(graph, product, "Add")
        if add is None or left not in matrices or right not in constants or constants[right].ndim != 2:
            continue
        (bias,) = [name for name in add.input if name != product.output[0]] or [left]
        if bias in constants and constants[bias].shape in ((columns := constants[right].shape[1],), (1, columns)):
            graph.node.append(onnx.helper.make_node("Gemm", [left, right, bias], list(add.output), product.name))
            graph.node.remove(product)
            graph.node.remove(add)


def _matrices(model: Any) -> set[str]:
    """The tensors that have two dimensions."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name for value in values if len(value.type.tensor_type.shape.dim) == 2}


def _lacks_bias(node: Any, constants: Constants) -> bool:
    return node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 2 and node.input[1] in constants


def _only_reader(graph: Any, node: Any, kind: str) -> Any:
    """The node of that kind that alone reads what `node` writes; None where there is none."""
    if node is None:
        return None
    name = node.output[0]
    readers = [other for other in graph.node for read in other.input if read == name]
    leaves = any(output.name == name for output in graph.output)
    return readers[0] if len(readers) == 1 and not leaves and readers[0].op_type == kind else None


def _bias(convolution: Any, squeeze: Any, add: Any, constants: Constants) -> npt.NDArray[Any] | None:
    """The constant that `add` adds, shape (channels,); None where it is not one value for each channel."""
    found = [constants[name] for name in add.input if name in constants] if add is not None else []
    if not found:
        return None
    kernel = constants[convolution.input[1]]
    # Channels are axis 1 of (batch, channels, spatial ...); squeezing takes spatial axes away.
    rank = kernel.ndim - constants[squeeze.input[1]].size
    expected = np.ones(rank, dtype=int)
    expected[1] = _channels(convolution, kernel)
    aligned = (1,) * (rank - found[0].ndim) + found[0].shape
    return found[0].reshape(-1) if aligned == tuple(expected) else None


def _channels(convolution: Any, kernel: npt.NDArray[Any]) -> int:
    if convolution.op_type == "Conv":
        return int(kernel.shape[0])
    groups = [attribute.i for attribute in convolution.attribute if attribute.name == "group"]
    return int(kernel.shape[1]) * (groups[0] if groups else 1)
