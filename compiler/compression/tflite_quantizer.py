"""Quantizes TFLite files after training, file to file, with litert-quantizer and ranges of edgecc's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from edgecc.compiler.backend.tflite_file import pack, unpack
from edgecc.compiler.compression.tflite_ranges import Range, activations, statistics
from edgecc.compiler.compression.tflite_schemes import require_scheme
from edgecc.compiler.compression.tflite_stand_ins import disguise, quantize_unread_outputs, undisguise
from edgecc.errors import MissingExtraError, ModelError
from edgecc.variant import STATIC, Quantization, QuantizeSection

_BITS = {Quantization.INT8: 8, Quantization.INT16X8: 16}
"""Of activations."""
FLOAT_SUFFIX = "_float"
"""Ends the name of a float tensor whose quantized copy is an output of the file."""


def activation_names(content: bytes) -> list[str]:
    """The float tensors that are computed, inputs and outputs of the model among them, in the order of the graph."""
    return activations(unpack(content))


def quantize(content: bytes, section: QuantizeSection, ranges: Mapping[str, Range], keep: Collection[str]) -> bytes:
    """Quantize a float32 model; the same arguments give the same bytes.

    int8 and int16x8 compute in integers from the inputs to the outputs of the file: int8 weights, symmetric, per
    output channel or per tensor; activations over `ranges`, asymmetric in int8 and symmetric in int16; int32 biases
    (int64 in int16x8); the fixed output scales that the kernels of softmax, sigmoid and tanh have.

    In dynamic, weight_only and float16 the weights of convolutions and matrix products are int8, int8 and float16, and
    the rest stays float32. dynamic computes in integers, with inputs that are quantized while it runs; the other two
    compute in float32 with weights that are dequantized.

    Tensors of the float model have their old names.

    Args:
        content: as `emit_tflite` writes it.
        section: what to quantize to.
        ranges: (low, high) of each tensor in `activation_names`; only the static schemes read them.
        keep: tensors whose operators stay in float32. The file's inputs and outputs are integers all the same.

    Raises:
        ModelError: an operator cannot be held in the scheme; names its tensor and the nearest way.
        MissingExtraError: litert-quantizer is not installed.
    """
    quantized = _quantize(unpack(content), section, ranges, keep)
    require_scheme(content, quantized, section.scheme, {*keep, *(f"{name}{FLOAT_SUFFIX}" for name in keep)})
    return quantized


def _quantize(model: Any, section: QuantizeSection, ranges: Mapping[str, Range], keep: Collection[str]) -> bytes:
    try:
        from litert_quantizer.model_modifier import ModelModifier
        from litert_quantizer.params_generator import ParamsGenerator
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="quantizing TFLite", library="litert-quantizer", extra="compile") from error
    known = None
    if section.scheme in STATIC:
        known = statistics(model, ranges, section.scheme, per_channel=section.per_channel)
    recipe = _recipe(model, section, keep)
    codes, outputs = disguise(model, section.scheme), _output_names(model)
    try:
        parameters = ParamsGenerator(model).generate_quantization_parameters(recipe, known, enable_progress_bar=False)
        modified = ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected a model that can be quantized to {section.scheme}; litert-quantizer says: {error}",
            hint="keep the layer in float with `keep`, or quantize to another scheme",
        ) from error
    quantized = unpack(modified)
    undisguise(quantized, codes)
    quantize_unread_outputs(quantized)
    _rename_outputs(quantized, outputs)
    return pack(quantized)


def _output_names(model: Any) -> list[str]:
    main = model.subgraphs[0]
    return [main.tensors[index].name.decode() for index in main.outputs]


def _rename_outputs(model: Any, names: list[str]) -> None:
    """Where a kept operator gives an output, the quantizer puts another tensor behind it: that one gets the name."""
    tensors = model.subgraphs[0].tensors
    by_name = {tensor.name.decode(): tensor for tensor in tensors}
    for name, index in zip(names, model.subgraphs[0].outputs, strict=True):
        if by_name[name] is not tensors[index]:
            by_name[name].name = f"{name}{FLOAT_SUFFIX}".encode()
            tensors[index].name = name.encode()


def _recipe(model: Any, section: QuantizeSection, keep: Collection[str]) -> Any:
    """What to do with each operator. Where several rules fit, the last one counts."""
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import TFLOperationName
    from litert_quantizer.recipe_manager import RecipeManager

    everything = TFLOperationName.ALL_SUPPORTED
    recipe = RecipeManager()
    _add_scheme(recipe, ".*", everything, section)
    for scope in _scopes(model, keep):
        recipe.add_quantization_config(rf"\A{re.escape(scope)}\Z", everything, None, AlgorithmName.NO_QUANTIZE)
    if section.scheme in STATIC:
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            _add_scheme(recipe, "", edge, section)
    return recipe


def _add_scheme(recipe: Any, regex: str, operation: Any, section: QuantizeSection) -> None:
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import QuantGranularity

    granularity = QuantGranularity.CHANNELWISE if section.per_channel else QuantGranularity.TENSORWISE
    if section.scheme in STATIC:
        recipe.add_static_config(regex, operation, _BITS[section.scheme], 8, granularity)
    elif section.scheme is Quantization.DYNAMIC:
        recipe.add_dynamic_config(regex, operation, 8, granularity)
    elif section.scheme is Quantization.WEIGHT_ONLY:
        recipe.add_weight_only_config(regex, operation, 8, granularity)
    else:
        recipe.add_weight_only_config(regex, operation, 16, granularity, AlgorithmName.FLOAT_CASTING)


def _scopes(model: Any, keep: Collection[str]) -> list[str]:
    """What the quantizer matches its rules with, for every operator that gives a tensor in `keep`."""
    from litert_quantizer.utils.tfl_flatbuffer_utils import get_op_scope

    main = model.subgraphs[0]

    def is_kept(operator: Any) -> bool:
        return any(main.tensors[index].name.decode() in keep for index in operator.outputs)

    return [get_op_scope(operator, main.tensors) for operator in main.operators if is_kept(operator)]
