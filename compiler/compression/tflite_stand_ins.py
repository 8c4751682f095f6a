"""Operators that LiteRT computes on integers although litert-quantizer does not know them.

Each stands under the name of one that is quantized by the same rules while the quantizer works, and then gets its own
name back. The rules are those of the kernels in TensorFlow Lite's quantization specification.
"""

from __future__ import annotations

from typing import Any

from edgecc.compiler.backend.tflite_file import FLOAT32, builtin_operators
from edgecc.variant import Quantization

_FREE = "GELU"
"""Input and output have scales of their own."""
_SAME = "RESHAPE"
"""The output has the input's scale."""

_INT16X8 = {
    "ABS": _FREE, "EXP": _FREE, "LEAKY_RELU": _FREE, "LOG": _FREE, "PRELU": _FREE,
    "REDUCE_MAX": _SAME, "REVERSE_V2": _SAME, "SPLIT_V": _SAME, "SQUEEZE": _SAME, "EXPAND_DIMS": _SAME, "TILE": _SAME,
    "MINIMUM": "MAXIMUM",
    "GREATER": "EQUAL", "GREATER_EQUAL": "EQUAL", "LESS": "EQUAL", "LESS_EQUAL": "EQUAL",
}  # fmt: skip
STAND_INS = {
    Quantization.INT16X8: _INT16X8,
    Quantization.INT8: _INT16X8 | {
        "ELU": _FREE, "RELU6": _FREE, "L2_NORMALIZATION": "TANH",
        "BATCH_TO_SPACE_ND": _SAME, "DEPTH_TO_SPACE": _SAME, "SPACE_TO_BATCH_ND": _SAME,
    },
    Quantization.DYNAMIC: {},
    Quantization.WEIGHT_ONLY: {},
    Quantization.FLOAT16: {"CONV_3D": "CONV_2D"},
}  # fmt: skip


def disguise(model: Any, scheme: Quantization) -> list[int]:
    """Put stand-ins into an unpacked model; returns the codes that were there, for `undisguise`."""
    codes = builtin_operators()
    names = {codes[name]: codes[other] for name, other in STAND_INS[scheme].items()}
    before = [entry.builtinCode for entry in model.operatorCodes]
    for entry in model.operatorCodes:
        entry.builtinCode = names.get(entry.builtinCode, entry.builtinCode)
    return before


def undisguise(model: Any, codes: list[int]) -> None:
    """Give the operators their own names back. The quantizer adds its own operators behind these."""
    for entry, code in zip(model.operatorCodes, codes, strict=False):
        entry.builtinCode = code


def quantize_unread_outputs(model: Any) -> None:
    """The quantizer forgets outputs that nothing reads, such as that of an LSTM's first forget gate.

    They get the type and the scale of the operator's other outputs.
    """
    main = model.subgraphs[0]
    read = {index for operator in main.operators for index in operator.inputs} | set(main.outputs)
    for operator in main.operators:
        outputs = [main.tensors[index] for index in operator.outputs]
        others = [tensor for tensor in outputs if tensor.type != FLOAT32]
        for index in operator.outputs if others else ():
            if index not in read and main.tensors[index].type == FLOAT32:
                main.tensors[index].type = others[0].type
                main.tensors[index].quantization = others[0].quantization
