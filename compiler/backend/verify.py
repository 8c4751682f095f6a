"""Every artifact is run and compared with its Keras model before it may ship."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.artifact import ArtifactOutputs, Format
from edgecc.compiler.backend.freeze import check_interface
from edgecc.compiler.frontend.layer_graph import call, input_names, output_names
from edgecc.compiler.frontend.model import read_model
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError, VerificationError
from edgecc.files import write_atomically, writing_to
from edgecc.samples import Array, Arrays, by_name, in_order, match_names, read_arrays, sample_count, take, write_arrays

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
    The file has `x` and `outputs`, each one array (samples, ...) in float32 or several in the model's order
    (edgecc.samples), and `classes`: whether each output is one of several classes.

    Raises:
        ModelError: the model gives values that are not finite.
    """
    keras = fresh_keras(context.seed, needed_by="verifying artifacts")
    model = read_model(context)
    check_interface(model)
    x, y = _draw(context.inputs["data"]["validation.npz"], context.options["samples"], context.seed)
    outputs = _outputs(keras, model, x)
    for name, values in zip(output_names(model), outputs, strict=True):
        _require_finite(name, values)
    inputs = in_order(x, input_names(model))
    classes = [_are_classes(labels) for labels in _labels_of(y, output_names(model))]
    with writing_to(context.output_dir):
        write_arrays(
            context.output_dir / "reference.npz",
            x=_one_or_several(inputs), outputs=_one_or_several(outputs), classes=np.asarray(classes),
        )  # fmt: skip
    if (samples := sample_count(x)) < FEW_SAMPLES:
        context.progress.note(f"artifacts are compared with the model on {samples} validation samples only")
    return {"samples": sample_count(x)}


def _draw(path: Path, samples: int, seed: int) -> tuple[Arrays, Arrays | None]:
    arrays = read_arrays(path)
    count = sample_count(arrays["x"])
    chosen = np.sort(np.random.default_rng(seed).choice(count, size=min(samples, count), replace=False))
    return take(arrays["x"], chosen), arrays.get("y")


def _outputs(keras: Any, model: Any, x: Arrays) -> list[Floats]:
    """One array (samples, ...) for each of the model's outputs."""
    batches = [
        [
            keras.ops.convert_to_numpy(output)
            for output in keras.tree.flatten(call(model, take(x, slice(start, start + _BATCH))))
        ]
        for start in range(0, sample_count(x), _BATCH)
    ]
    return [np.concatenate(columns).astype(np.float32) for columns in zip(*batches, strict=True)]


def _require_finite(name: str, values: Floats) -> None:
    if not np.isfinite(values).all():
        raise ModelError(
            f"expected finite outputs; the Keras model gives NaN or infinity on {_samples_not_finite(values)} of "
            f"{len(values)} samples (output `{name}`)"
        )


def _labels_of(y: Arrays | None, outputs: Sequence[str]) -> list[Array | None]:
    """The labels of each output; None where they are not known."""
    matched = None if y is None else match_names(list(by_name(y)), outputs)
    return [None] * len(outputs) if y is None or matched is None else [by_name(y)[name] for name in matched]


def _are_classes(labels: Array | None) -> bool:
    """Whether labels name one of several classes: integers, one a sample."""
    return labels is not None and labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)


def _one_or_several(arrays: Sequence[Array]) -> Arrays:
    return arrays[0] if len(arrays) == 1 else list(arrays)


def verify(context: StageContext) -> Metrics:
    """Run an artifact on the samples of `reference.npz` and check that it agrees with the Keras model.

    Options: `format`, `quantize` (None or a scheme), `min_agreement` (fraction) and `variant` (its name, for messages).

    Where an output is a vector of classes, the share of samples with the same top-1 class must reach
    `min_agreement`. A float artifact's largest error must also stay below FLOAT_ERROR_LIMIT of the range of the
    model's output. A quantized output without classes is judged by its mean error instead, which may be
    1 - `min_agreement` of that range. Every output is judged by itself; of several, the worst figures are returned
    beside those of each.

    Raises:
        VerificationError: the artifact disagrees, or gives values that are not finite or of another shape.
        ArtifactError: the runtime cannot run it.
    """
    options = context.options
    groups = read_arrays(context.inputs["reference"]["reference.npz"])
    inputs, expected = (tuple(by_name(groups[name]).values()) for name in ("x", "outputs"))
    ran = context.run_artifact(context.inputs["artifact"]["artifact"], Format(options["format"]), inputs)
    compared = _compare_outputs(ran, expected, np.asarray(groups["classes"]).tolist(), options)
    metrics = {
        **_worst(list(compared.values())),
        **({"by_output": compared} if len(compared) > 1 else {}),
        "samples": len(expected[0]),
        "inputs": [spec.model_dump(mode="json") for spec in ran.inputs],
        "outputs": [spec.model_dump(mode="json") for spec in ran.outputs],
    }
    write_atomically(context.output_dir / "verification.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _compare_outputs(
    ran: ArtifactOutputs, expected: Sequence[Floats], classes: Sequence[bool], options: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """How far each output is from the model's, by its name; raises where that is too far."""
    name = f"{options['variant']} as {options['format']}"
    if len(ran.values) != len(expected):
        raise VerificationError(f"{name}: expected {len(expected)} outputs, as the Keras model; got {len(ran.values)}")
    compared = {}
    for spec, actual, wanted, are_classes in zip(ran.outputs, ran.values, expected, classes, strict=True):
        title = name if len(expected) == 1 else f"{name}, output `{spec.name}`"
        _require_comparable(title, actual, wanted)
        compared[spec.name] = _compare(actual, wanted, are_classes=bool(are_classes))
        _require_close(title, compared[spec.name] | {"samples": len(wanted)}, options)
    return compared


def _worst(compared: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    agreements = [each["top1_agreement"] for each in compared if each["top1_agreement"] is not None]
    figures = ("max_abs_error", "mean_abs_error", "output_range")
    return {"top1_agreement": min(agreements, default=None)} | {
        name: max(each[name] for each in compared) for name in figures
    }


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


def _compare(actual: Floats, expected: Floats, *, are_classes: bool) -> dict[str, Any]:
    error = np.abs(actual.astype(np.float64) - expected)
    return {
        "top1_agreement": top1_agreement(actual, expected) if are_classes else None,
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "output_range": _range(expected),
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
        "or lower [verify] min_agreement_quantized"
    )
