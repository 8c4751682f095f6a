"""Every artifact is run and compared with its Keras model before it may ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import ArtifactOutputs, Format
from edgecc.compiler.backend.freeze import check_interface
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError, VerificationError
from edgecc.files import write_atomically, writing_to

Floats = npt.NDArray[np.float32]

FEW_SAMPLES = 100
"""Below so many, an agreement of 100 % says little."""
FLOAT_ERROR_LIMIT = 1e-3
"""Largest error of a float artifact, as a fraction of the range of the model's outputs.

Rounding alone stays two orders of magnitude below it; an operator that was converted wrongly does not.
"""
TIE = 1e-5
"""Outputs closer than this fraction of the range are one value to float32: which of them is first is rounding."""
_BATCH = 256


def reference(context: StageContext) -> Metrics:
    """Run the Keras model on a seeded draw of validation samples, and write both to `reference.npz`.

    Options: `model` (the project's `[model]`) and `samples` (how many, or all where there are fewer).
    The file has `x`, shape (samples, ...), and `outputs`, shape (samples, ...), float32.

    Raises:
        ModelError: the model has several inputs or outputs, or gives values that are not finite.
    """
    keras = fresh_keras(context.seed, needed_by="verifying artifacts")
    model = read_model(context)
    check_interface(model)
    x = _draw(context.inputs["data"]["validation.npz"], context.options["samples"], context.seed)
    batches = [model(x[start : start + _BATCH], training=False) for start in range(0, len(x), _BATCH)]
    outputs = np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches]).astype(np.float32)
    if not np.isfinite(outputs).all():
        count = _samples_not_finite(outputs)
        raise ModelError(
            f"expected finite outputs; the Keras model gives NaN or infinity on {count} of {len(x)} samples"
        )
    with writing_to(context.output_dir):
        np.savez(context.output_dir / "reference.npz", x=x, outputs=outputs)
    if len(x) < FEW_SAMPLES:
        context.progress.note(f"artifacts are compared with the model on {len(x)} validation samples only")
    return {"samples": len(x)}


def verify(context: StageContext) -> Metrics:
    """Run the emitted artifact on the reference's samples and refuse it where it disagrees with the Keras model.

    Options: `format`, `quantize` (None or "int8"), `min_agreement` (fraction) and `variant` (its name, for messages).

    Where the output is a vector of several classes, the share of samples with the same top-1 class must reach
    `min_agreement`. A float artifact's largest error must also stay below FLOAT_ERROR_LIMIT of the range of the
    model's outputs. A quantized artifact without classes is judged by its mean error instead, which may be
    1 - `min_agreement` of that range.

    Raises:
        VerificationError: the artifact disagrees, or gives values that are not finite or of another shape.
        ArtifactError: the runtime cannot run it.
    """
    options = context.options
    with np.load(context.inputs["reference"]["reference.npz"]) as arrays:
        x, expected = arrays["x"], arrays["outputs"]
    outputs = context.run_artifact(context.inputs["artifact"]["artifact"], Format(options["format"]), x)
    name = f"{options['variant']} as {options['format']}"
    _require_comparable(name, outputs.values, expected)
    metrics = _compare(outputs, expected)
    _require_close(name, metrics, options)
    write_atomically(context.output_dir / "verification.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _draw(path: Path, samples: int, seed: int) -> Floats:
    with np.load(path) as arrays:
        x: Floats = arrays["x"].astype(np.float32)
    chosen = np.random.default_rng(seed).choice(len(x), size=min(samples, len(x)), replace=False)
    return x[np.sort(chosen)]


def _require_comparable(name: str, actual: Floats, expected: Floats) -> None:
    if actual.shape != expected.shape:
        raise VerificationError(
            f"{name}: expected outputs of shape {expected.shape}, as the Keras model gives; got {actual.shape}"
        )
    if not np.isfinite(actual).all():
        count = _samples_not_finite(actual)
        raise VerificationError(
            f"{name}: expected finite outputs; got NaN or infinity on {count} of {len(actual)} samples",
            hint="look for divisions, logarithms or exponentials of unbounded values in the model",
        )


def _samples_not_finite(outputs: Floats) -> int:
    return int((~np.isfinite(outputs)).reshape(len(outputs), -1).any(axis=1).sum())


def _compare(outputs: ArtifactOutputs, expected: Floats) -> dict[str, Any]:
    error = np.abs(outputs.values.astype(np.float64) - expected)
    return {
        "top1_agreement": top1_agreement(outputs.values, expected),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "output_range": _range(expected),
        "samples": len(expected),
        "inputs": [spec.model_dump(mode="json") for spec in outputs.inputs],
        "outputs": [spec.model_dump(mode="json") for spec in outputs.outputs],
    }


def top1_agreement(actual: Floats, expected: Floats) -> float | None:
    """Share of samples on which the artifact's top-1 class is one the model accepts as its own.

    The model accepts each class whose output is within TIE of its largest: a float artifact must not fail on a tie
    that only rounding decides. A tie among the artifact's own outputs, as int8 makes them, is not forgiven: the
    device takes the first, and so does this.

    Returns:
        None where the outputs, shape (samples, classes), are not vectors of two classes or more.
    """
    if expected.ndim != 2 or expected.shape[1] < 2:
        return None
    chosen = expected[np.arange(len(expected)), actual.argmax(axis=1)]
    return float(np.mean(chosen >= expected.max(axis=1) - TIE * _range(expected)))


def _range(outputs: Floats) -> float:
    """From the smallest output to the largest, or a hundredth of their size: constant outputs are rounded too."""
    return float(max(np.ptp(outputs), 0.01 * np.abs(outputs).max()))


def _require_close(name: str, metrics: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    agreement, min_agreement = metrics["top1_agreement"], options["min_agreement"]
    if agreement is not None and agreement < min_agreement:
        raise VerificationError(
            f"{name}: expected the Keras model's top-1 class on at least {min_agreement:.2%} of the samples; "
            f"got {agreement:.2%} of {metrics['samples']}",
            hint=_hint(options),
        )
    if options["quantize"] is None:
        _require_error_below(name, "largest", metrics["max_abs_error"], FLOAT_ERROR_LIMIT, metrics, options)
    elif agreement is None:
        _require_error_below(name, "mean", metrics["mean_abs_error"], 1 - min_agreement, metrics, options)


def _require_error_below(
    name: str, which: str, error: float, limit: float, metrics: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    allowed = limit * metrics["output_range"]
    if error > allowed:
        raise VerificationError(
            f"{name}: expected the {which} error to be at most {allowed:.3g}, {limit:.2%} of the range of the Keras "
            f"model's outputs; got {error:.3g} on {metrics['samples']} samples",
            hint=_hint(options),
        )


def _hint(options: Mapping[str, Any]) -> str:
    if options["quantize"] is None:
        return "the conversion changed the model: leave out layers one by one to find the one that is converted wrongly"
    return (
        "train longer (an undertrained model has many near-ties), give more [data] representative_samples, "
        "or lower [verify] min_agreement_int8"
    )
