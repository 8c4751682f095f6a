"""Every kind of stage, in the order in which data flows through them."""

from __future__ import annotations

from edgecc.compiler.pipeline.stage import Read, StageKind

_KERAS = ("tensorflow", "keras", "numpy")
_MODEL = Read(after=("train", "load"), files=("model.keras",))
_TRAINING_DATA = Read(after=("data",), files=("train.npz", "validation.npz", "data.json"))

_ALL = (
    StageKind(
        "data",
        1,
        "edgecc.compiler.frontend.data:prepare",
        {},
        ("numpy", "scikit-learn", "seglearn"),
    ),
    StageKind(
        "tune",
        1,
        "edgecc.compiler.frontend.tune:tune",
        {"data": _TRAINING_DATA},
        (*_KERAS, "keras-tuner", "scikit-learn", "scipy"),
    ),
    StageKind(
        "train",
        1,
        "edgecc.compiler.frontend.train:train",
        {"data": _TRAINING_DATA, "tune": Read(after=("tune",), files=("hp.json",), optional=True)},
        _KERAS,
    ),
    StageKind(
        "load",
        1,
        "edgecc.compiler.frontend.model:load",
        {"data": Read(after=("data",), files=("data.json",))},
        _KERAS,
    ),
    StageKind(
        "reference",
        1,
        "edgecc.compiler.backend.verify:reference",
        {"model": _MODEL, "data": Read(after=("data",), files=("validation.npz",))},
        _KERAS,
    ),
    StageKind(
        "emit_tflite",
        1,
        "edgecc.compiler.backend.tflite:emit",
        {"model": _MODEL, "data": Read(after=("data",), files=("representative.npz",), optional=True)},
        _KERAS,
    ),
    StageKind(
        "emit_onnx",
        1,
        "edgecc.compiler.backend.onnx:emit",
        {"model": _MODEL},
        (*_KERAS, "tf2onnx", "onnx"),
    ),
    StageKind(
        "verify",
        1,
        "edgecc.compiler.backend.verify:verify",
        {
            "reference": Read(after=("reference",), files=("reference.npz",)),
            "artifact": Read(after=("emit_tflite", "emit_onnx"), files=("artifact",)),
        },
        ("ai-edge-litert", "onnxruntime", "numpy"),
    ),
)
KINDS: dict[str, StageKind] = {kind.name: kind for kind in _ALL}
