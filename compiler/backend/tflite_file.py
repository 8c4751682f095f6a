"""TFLite files as objects of LiteRT's schema, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

FLOAT32 = 0
"""The schema's number for the type."""
_ALIGNMENT_BYTES = 16


def unpack(content: bytes) -> Any:
    """The model in a TFLite file, as a mutable `ModelT` that holds all its buffers."""
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None:  # behind the flatbuffer in large files, and then plain bytes
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return model


def pack(model: Any) -> bytes:
    """The TFLite file of a model.

    Every buffer lies in the flatbuffer itself, at a multiple of 16 bytes: small runtimes read it where it lies, and
    some processors fault on numbers that are not aligned. The schema asks for it, but Python's classes forget it.
    """
    import flatbuffers

    class Builder(flatbuffers.Builder):  # type: ignore[misc]
        def CreateNumpyVector(self, x: Any) -> Any:  # noqa: N802 - overridden
            self.Prep(_ALIGNMENT_BYTES, x.nbytes)
            return super().CreateNumpyVector(x)

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def builtin_operators() -> dict[str, int]:
    """The code of every built-in operator, by name."""
    from ai_edge_litert import schema_py_generated as schema

    return {name: code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def kinds_of(model: Any) -> list[str]:
    """The names of an unpacked model's operator codes, which its operators refer to by index."""
    names = {code: name for name, code in builtin_operators().items()}
    return [names[entry.builtinCode] for entry in model.operatorCodes]
