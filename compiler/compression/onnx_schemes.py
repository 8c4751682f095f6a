"""ONNX Runtime's converters behind each scheme: from a float32 model with inferred shapes to another model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgecc.errors import ModelError

INTEGER_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gather", "Gemm", "GlobalAveragePool",
    "LeakyRelu", "MatMul", "MaxPool", "Mul", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Split",
    "Squeeze", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip
"""What static int8 quantizes. ONNX Runtime's CPU kernels compute these on integers, but for ConvTranspose and Resize
that is not nearest-neighbour: they are computed on the same 8-bit values in float."""

FLOAT16_MAX = 65504.0
PRODUCT_SUFFIX = "_MatMul"
"""Before it looks at names, the dynamic quantizer splits each Gemm into a product of this name and an addition."""


def to_static(model: Any, ranges: Mapping[str, tuple[float, float]], kept: Iterable[str], *, per_channel: bool) -> Any:
    """Quantize weights, and activations over their ranges, as QDQ.

    `kept` names nodes that stay in float32.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    _subtractions_to_additions(model)
    limits = _limits(model)
    known = {name: _within(limits.get(name, (-np.inf, np.inf)), given) for name, given in ranges.items()}
    quantizer = QDQQuantizer(
        _with_shapes(model),
        per_channel=per_channel,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: TensorData(lowest=low, highest=high) for name, (low, high) in known.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=[*kept, *_last_softmaxes(model), *_beyond_zero(model, limits)],
        op_types_to_quantize=INTEGER_OPERATORS,
        extra_options={"ForceQuantizeNoInputCheck": True},  # pooling after an operator in float is quantized as well
    )
    quantizer.quantize_model()
    _make_weights_unsigned(quantizer.model.model)
    return quantizer.model.model


def to_dynamic(model: Any, kept: Iterable[str], *, per_channel: bool) -> Any:
    """Quantize the weights of convolutions, matrix products and lookups; activations are quantized at run time."""
    from onnxruntime.quantization import QuantizationMode, QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer

    quantizer = ONNXQuantizer(
        _with_shapes(model),
        per_channel=per_channel,
        reduce_range=False,
        mode=QuantizationMode.IntegerOps,
        static=False,
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=[],
        nodes_to_exclude=[name for node in kept for name in (node, node + PRODUCT_SUFFIX)],
        op_types_to_quantize=("Conv", "Gather", "MatMul"),
        extra_options={"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def to_float16(model: Any, kept: Iterable[str]) -> Any:
    """Store and compute in float16, with casts at the model's inputs and outputs and around the nodes in `kept`.

    Raises:
        ModelError: a weight is too large for float16.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _require_float16_weights(model, set(kept))
    return convert_float_to_float16(model, keep_io_types=True, node_block_list=list(kept), disable_shape_infer=True)


def _with_shapes(model: Any) -> Any:
    """Marked as inferred already, so that the quantizer does not write it to disk to infer shapes again."""
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    add_infer_metadata(model)
    return model


def _subtractions_to_additions(model: Any) -> None:
    """Where a constant is subtracted, add its negative: there is an integer kernel for Add and none for Sub."""
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Sub" and node.input[1] in constants:
            name = f"{node.input[1]}_negative"
            if name not in constants:
                negative = -onnx.numpy_helper.to_array(constants[node.input[1]])
                constants[name] = onnx.numpy_helper.from_array(negative, name)
                model.graph.initializer.append(constants[name])
            node.op_type, node.input[1] = "Add", name


def _make_weights_unsigned(model: Any) -> None:
    """Move int8 weights and their zero points up by 128: the same values, scales and all."""
    import onnx

    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT8:
            moved = (onnx.numpy_helper.to_array(tensor).astype(np.int16) + 128).astype(np.uint8)
            tensor.CopyFrom(onnx.numpy_helper.from_array(moved, tensor.name))


def _last_softmaxes(model: Any) -> list[str]:
    """Softmaxes that give an output of the model, which is float32: in 255 steps many classes would tie."""
    outputs = {value.name for value in model.graph.output}
    return [node.name for node in model.graph.node if node.op_type == "Softmax" and node.output[0] in outputs]


def _limits(model: Any) -> dict[str, tuple[float, float]]:
    """What Relu and Clip limit their outputs to.

    The quantizer leaves these operators out: the range of what they give must do their work.
    """
    import onnx

    constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def bound(node: Any, position: int, default: float) -> float:
        name = node.input[position] if position < len(node.input) else ""
        if not name:
            return default
        return float(onnx.numpy_helper.to_array(constants[name]).item()) if name in constants else -default

    relus = {node.output[0]: (0.0, np.inf) for node in model.graph.node if node.op_type == "Relu"}
    clips = [node for node in model.graph.node if node.op_type == "Clip"]
    return relus | {node.output[0]: (bound(node, 1, -np.inf), bound(node, 2, np.inf)) for node in clips}


def _within(limits: tuple[float, float], given: tuple[float, float]) -> tuple[Any, Any]:
    low, high = np.clip(given, *limits) if limits[0] <= limits[1] else given
    return np.float32(low), np.float32(high)


def _beyond_zero(model: Any, limits: Mapping[str, tuple[float, float]]) -> list[str]:
    """Clips that no quantized range can stand for, as these include zero, or whose limits are not constant."""
    beyond = {name for name, (low, high) in limits.items() if low > 0 or high < 0}
    return [node.name for node in model.graph.node if node.output[0] in beyond]


def _require_float16_weights(model: Any, kept: set[str]) -> None:
    import onnx

    values = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in model.graph.node:
        for name in node.input if node.name not in kept else ():
            if name in values and np.abs(onnx.numpy_helper.to_array(values[name])).max(initial=0) > FLOAT16_MAX:
                raise ModelError(
                    f"expected weights within ±{FLOAT16_MAX:,.0f}, the range of float16; {node.op_type}, which gives "
                    f"the tensor `{node.output[0]}`, has larger ones",
                    hint='keep its layer in float with `keep`, or quantize to "int8"',
                )
