"""The same model with some of its inner tensors as outputs too, so that any runtime can show what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgecc.artifact import Format
from edgecc.compiler.backend.tflite_file import pack, unpack
from edgecc.errors import ArtifactError


def expose(content: bytes, format: Format, names: Sequence[str]) -> bytes:
    """The model with these tensors as further outputs, in this order; those that are outputs already stay in place.

    It computes what `content` does, and is for looking at only: what describes the model's interface (the signatures
    of a TFLite file) is dropped.

    Raises:
        ArtifactError: the model has no operator that gives such a tensor.
    """
    exposers = {Format.TFLITE: _expose_tflite, Format.ONNX: _expose_onnx}
    return exposers[format](content, names)


def _expose_tflite(content: bytes, names: Sequence[str]) -> bytes:
    model = unpack(content)
    main = model.subgraphs[0]
    given = [index for operator in main.operators for index in operator.outputs]
    indices = {main.tensors[index].name.decode(): index for index in given}
    _require(names, indices)
    main.outputs = _each_once([*main.outputs, *(indices[name] for name in names)])
    model.signatureDefs = []  # they must name every output, and the probe has no use for them
    return pack(model)


def _expose_onnx(content: bytes, names: Sequence[str]) -> bytes:
    import onnx

    model = onnx.load_model_from_string(content)
    outputs = {value.name for value in model.graph.output}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    given = {name for node in model.graph.node for name in node.output}
    known = {value.name: value for value in (*inferred.value_info, *inferred.output)}
    _require(names, given)
    # ONNX Runtime infers the type of an output that comes without one.
    untyped = onnx.ValueInfoProto
    model.graph.output.extend(known.get(name, untyped(name=name)) for name in _each_once(names) if name not in outputs)
    return bytes(model.SerializeToString(deterministic=True))


def _each_once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _require(names: Iterable[str], given: Iterable[str]) -> None:
    missing = sorted(set(names) - set(given))
    if missing:
        raise ArtifactError(f"expected tensors that operators of the model give; there is no {', '.join(missing)}")
