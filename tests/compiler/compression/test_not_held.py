from __future__ import annotations

from edgecc.compiler.compression.not_held import NotHeld, NotHeldError
from edgecc.variant import Quantization

FOUND = [
    NotHeld("NEG", "block/norm/Neg", "computes in float"),
    NotHeld("DIV", "block/norm/div", "computes in float"),
    NotHeld("DIV", "block/norm/div_1", "computes in float"),
]
LAYERS = {each.tensor: "block/norm" for each in FOUND}
ERROR = NotHeldError(Quantization.INT8, FOUND, [Quantization.DYNAMIC, Quantization.FLOAT16])


def test_where_layers_are_known_they_are_named_once() -> None:
    error = ERROR.in_layers(LAYERS)

    assert error.message == (
        "expected a model that int8 can hold; NEG in the layer `block/norm` computes in float; "
        "DIV in the layer `block/norm` computes in float"
    )
    assert error.hint == 'leave it in float with `keep = ["block/norm"]`, or quantize to "dynamic" or "float16"'


def test_where_a_layer_is_not_known_tensors_are_named() -> None:
    assert ERROR.in_layers({FOUND[0].tensor: "block/norm"}) is ERROR
    assert "DIV (tensor `block/norm/div_1`) computes in float" in ERROR.message


def test_a_long_list_is_cut() -> None:
    found = [NotHeld("DIV", f"t{index}", "computes in float") for index in range(10)]
    error = NotHeldError(Quantization.INT8, found, [])
    assert "`t7`" in error.message
    assert "`t8`" not in error.message
    assert error.message.endswith("; and 2 more")
    assert error.hint == "keep its layer in float with `keep`"
