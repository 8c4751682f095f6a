"""Every kind of stage, in the order in which data flows through them."""

from __future__ import annotations

from edgecc.compiler.pipeline.stage import Read, StageKind

_KERAS = ("tensorflow", "keras", "numpy")
_MODEL_KINDS = ("train", "load", "distill", "prune_magnitude", "prune_channel")
_MODEL = Read(after=_MODEL_KINDS, files=("model.keras",))
_ARTIFACT_KINDS = ("emit_tflite", "emit_onnx", "quantize_tflite", "quantize_onnx")
_ARTIFACT = Read(after=_ARTIFACT_KINDS, files=("artifact",))
_TRAINING_DATA = Read(after=("data",), files=("train.npz", "validation.npz", "data.json"))


def _quantizing(emit: str, name: str, libraries: tuple[str, ...]) -> StageKind:
    return StageKind(
        name,
        3,
        "edgecc.compiler.compression.quantize:quantize",
        {
            "artifact": Read(after=(emit,), files=("artifact", "layers.json")),
            "calibration": Read(after=("data",), files=("representative.npz",)),
            "validation": Read(after=("data",), files=("validation.npz", "data.json"), optional=True),
        },
        libraries,
    )


_ALL = (
    StageKind(
        "data",
        3,
        "edgecc.compiler.frontend.data:prepare",
        {},
        ("numpy", "scikit-learn", "seglearn"),
    ),
    StageKind(
        "tune",
        2,
        "edgecc.compiler.frontend.tune:tune",
        {"data": _TRAINING_DATA},
        (*_KERAS, "keras-tuner", "scikit-learn", "scipy"),
    ),
    StageKind(
        "train",
        2,
        "edgecc.compiler.frontend.train:train",
        {"data": _TRAINING_DATA, "tune": Read(after=("tune",), files=("hp.json",), optional=True)},
        _KERAS,
    ),
    StageKind(
        "load",
        2,
        "edgecc.compiler.frontend.model:load",
        {"data": Read(after=("data",), files=("data.json",))},
        (*_KERAS, "h5py"),
    ),
    StageKind(
        "teach",
        1,
        "edgecc.compiler.frontend.distill:teach",
        {"model": Read(after=("train", "load"), files=("model.keras",)), "data": _TRAINING_DATA},
        _KERAS,
    ),
    StageKind(
        "distill",
        1,
        "edgecc.compiler.frontend.distill:distill",
        {"data": _TRAINING_DATA, "teacher": Read(after=("teach",), files=("answers.npz",), optional=True)},
        _KERAS,
    ),
    StageKind(
        "prune_magnitude",
        1,
        "edgecc.compiler.compression.magnitude:prune",
        {"model": _MODEL, "data": _TRAINING_DATA},
        (*_KERAS, "tensorflow-model-optimization"),
    ),
    StageKind(
        "prune_channel",
        1,
        "edgecc.compiler.compression.channels.prune:prune",
        {"model": _MODEL, "data": _TRAINING_DATA},
        _KERAS,
    ),
    StageKind(
        "reference",
        2,
        "edgecc.compiler.backend.verify:reference",
        {"model": _MODEL, "data": Read(after=("data",), files=("validation.npz",))},
        _KERAS,
    ),
    StageKind("emit_tflite", 2, "edgecc.compiler.backend.tflite:emit", {"model": _MODEL}, _KERAS),
    StageKind("emit_onnx", 2, "edgecc.compiler.backend.onnx:emit", {"model": _MODEL}, (*_KERAS, "tf2onnx", "onnx")),
    _quantizing("emit_tflite", "quantize_tflite", ("litert-quantizer", "ai-edge-litert", "numpy")),
    _quantizing("emit_onnx", "quantize_onnx", ("onnxruntime", "onnx", "numpy")),
    StageKind(
        "verify",
        2,
        "edgecc.compiler.backend.verify:verify",
        {"reference": Read(after=("reference",), files=("reference.npz",)), "artifact": _ARTIFACT},
        ("ai-edge-litert", "onnxruntime", "numpy"),
    ),
    StageKind(
        "lint",
        2,
        "edgecc.compiler.backend.lint.stage:lint",
        {
            "artifact": _ARTIFACT,
            "kept": Read(after=("quantize_tflite", "quantize_onnx"), files=("kept.json",), optional=True),
        },
        ("ai-edge-litert", "onnxruntime", "onnx", "numpy"),
    ),
    StageKind(
        "evaluate",
        1,
        "edgecc.compiler.compression.payoff:evaluate",
        {"artifact": _ARTIFACT, "data": Read(after=("data",), files=("validation.npz", "data.json"))},
        ("ai-edge-litert", "onnxruntime", "numpy"),
    ),
    StageKind(
        "compare",
        1,
        "edgecc.compiler.compression.payoff:compare",
        {role: Read(after=("evaluate",), files=("correct.npy",)) for role in ("before", "after")},
        ("scipy",),
    ),
)
KINDS: dict[str, StageKind] = {kind.name: kind for kind in _ALL}
