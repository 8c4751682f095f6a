"""Quantizes ONNX files with ONNX Runtime's own tools. Inputs and outputs of the file stay float32 in every scheme."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from edgecc.compiler.backend.onnx_names import canonical, share_constants
from edgecc.compiler.compression.not_held import NotHeld, NotHeldError
from edgecc.compiler.compression.onnx_schemes import PRODUCT_SUFFIX, to_dynamic, to_float16, to_static
from edgecc.errors import MissingExtraError
from edgecc.variant import Quantization, QuantizeSection

Range = tuple[float, float]

WEIGHT_INPUTS = {"Conv": (1,), "ConvTranspose": (1,), "Gather": (0,), "Gemm": (0, 1), "MatMul": (0, 1)}
"""Operators whose constant inputs are weights: the positions of these inputs."""


def activation_names(content: bytes) -> list[str]:
    """The float tensors that are computed, inputs and outputs of the model among them, in the order of the graph."""
    graph = _inferred(content).graph
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    names = [value.name for value in graph.input] + [name for node in graph.node for name in node.output]
    return [name for name in names if name in values and _is_float(values[name])]


def quantize(content: bytes, section: QuantizeSection, ranges: Mapping[str, Range], keep: Collection[str]) -> bytes:
    """Quantize a float32 model; the same arguments give the same bytes.

    int8 is static and written as QuantizeLinear/DequantizeLinear pairs (QDQ): 8-bit weights, symmetric, per output
    channel or per tensor; 8-bit activations over `ranges`; int32 biases. A softmax that gives an output of the model
    stays in float. dynamic has 8-bit weights, per output channel in matrix products only, and activations that are
    quantized while it runs. All of these 8-bit numbers are unsigned: with signed weights the kernels of x86 CPUs
    without VNNI add two products in 16 bits, which overflows, and the outputs are wrong without an error.

    float16 computes in float16 between casts at its inputs and outputs, where the runtime has kernels for it.

    Tensors of the float model that are still there have their old names.

    Args:
        content: as `emit_onnx` writes it.
        section: what to quantize to.
        ranges: (low, high) of each tensor in `activation_names`; only int8 reads them.
        keep: tensors whose operators stay in float32.

    Raises:
        NotHeldError: an operator outside `keep` has weights that the scheme cannot hold.
        ModelError: a weight is too large for float16.
        MissingExtraError: onnx is not installed.
    """
    model = _inferred(content)
    names = [value.name for value in model.graph.input] + [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer]
    kept = [node.name for node in model.graph.node if set(node.output) & set(keep)]
    outputs = {node.name: node.output[0] for node in model.graph.node}
    quantized = _convert(model, section, ranges, kept)
    _require_held(quantized, section.scheme, kept, outputs)
    share_constants(quantized)
    return _serialized(canonical(quantized, keep=names))


def _convert(model: Any, section: QuantizeSection, ranges: Mapping[str, Range], kept: list[str]) -> Any:
    if section.scheme is Quantization.INT8:
        return to_static(model, ranges, kept, per_channel=section.per_channel)
    if section.scheme is Quantization.DYNAMIC:
        return to_dynamic(model, kept, per_channel=section.per_channel)
    if section.scheme is Quantization.FLOAT16:
        return to_float16(model, kept)
    raise ValueError(f"ONNX has no {section.scheme}")  # the project file refuses it


def _inferred(content: bytes) -> Any:
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="quantizing ONNX", library="onnx", extra="compile") from error
    return onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content), strict_mode=True)


def _is_float(value: Any) -> bool:
    import onnx

    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)


def _require_held(model: Any, scheme: Quantization, kept: Collection[str], outputs: Mapping[str, str]) -> None:
    """What no tool converted is still there as it was, under its own name."""
    import onnx

    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    found = []
    for node in model.graph.node:
        weights = [node.input[index] for index in WEIGHT_INPUTS.get(node.op_type, ()) if index < len(node.input)]
        name = node.name.removesuffix(PRODUCT_SUFFIX)
        if name not in kept and floats & set(weights):
            found.append(NotHeld(node.op_type, outputs.get(name, node.output[0]), "has weights in float32"))
    if found:
        raise NotHeldError(scheme, found, _NEAREST[scheme])


_NEAREST = {
    Quantization.INT8: (Quantization.FLOAT16,),
    Quantization.DYNAMIC: (Quantization.INT8, Quantization.FLOAT16),
    Quantization.FLOAT16: (Quantization.INT8,),
}


def _serialized(model: Any) -> bytes:
    import onnx

    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
