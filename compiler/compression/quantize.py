"""The quantize stage: from a float artifact to a smaller one, with each layer's error."""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Graph
from edgecc.compiler.backend.emission import ARTIFACT, LAYERS
from edgecc.compiler.compression.bias_correction import correct_biases, corrected_inputs, mean_values
from edgecc.compiler.compression.calibration import Calibration, calibrate, read_calibration
from edgecc.compiler.compression.fallback import Attempt, Fallback, Layers, Search
from edgecc.compiler.compression.layer_error import Comparison, LayerErrors, layer_errors
from edgecc.compiler.compression.not_held import NotHeldError
from edgecc.compiler.compression.probe import Inputs, Probe
from edgecc.compiler.compression.ranges import Range
from edgecc.compiler.compression.tflite_quantizer import FLOAT_SUFFIX
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.errors import ModelError, VerificationError
from edgecc.files import write_atomically
from edgecc.samples import in_order
from edgecc.scoring import Scorer, read_validation
from edgecc.variant import STATIC, QuantizeSection

Outputs = tuple[npt.NDArray[np.float32], ...]
Score = Callable[[Outputs], float]
"""How good a model's outputs on validation data are; more is better."""

LAYER_ERROR = "layer_error.json"
KEPT = "kept.json"
"""The layers that stay in float, and what their tensors may be called in the artifact."""
_WORST = 5


class Quantizer(Protocol):
    """What quantizes one format."""

    def activation_names(self, content: bytes) -> list[str]:
        """The float activation tensors whose ranges a static scheme needs."""

    def quantize(
        self, content: bytes, section: QuantizeSection, ranges: Mapping[str, Range], keep: Collection[str]
    ) -> bytes:
        """The quantized model; operators that give a tensor in `keep` stay in float."""


_QUANTIZERS = {
    Format.TFLITE: "edgecc.compiler.compression.tflite_quantizer",
    Format.ONNX: "edgecc.compiler.compression.onnx_quantizer",
}


def quantize(context: StageContext) -> Metrics:
    """Quantize the stage's float artifact, and write `artifact`, `layers.json`, `kept.json` and `layer_error.json`.

    Options: `format`, `quantize` (a QuantizeSection), `variant` (its name, for messages) and `score` (the project's
    `[metrics]`). With `max_drop`, the fewest layers are kept in float that hold it on the `validation` role's samples:
    in the project's score, or where there is none in the outputs' mean error, as a fraction of their range.

    Raises:
        DataError: the representative samples cannot be used.
        ModelError: `keep` names no layer of the model, or an operator cannot be quantized so.
        VerificationError: `max_drop` cannot be reached.
        ArtifactError: an artifact cannot be run.
        UserCodeError: a metric of the user's raised.
    """
    job = _Job(context)
    found = job.search() if job.section.max_drop is not None else Fallback((), (), ())
    kept = (*job.named, *found.kept)
    content = job.quantized(kept)
    errors = job.layer_errors(content, kept)
    write_atomically(context.output_dir / ARTIFACT, content)
    write_atomically(context.output_dir / LAYERS, json.dumps(job.layers, indent=1) + "\n")
    rows = [error.as_json() for error in errors.layers]
    kept_tensors = sorted(tensor for tensor, layer in job.layers.items() if layer in kept)
    kept_tensors += [f"{name}{FLOAT_SUFFIX}" for name in kept_tensors]
    write_atomically(context.output_dir / KEPT, json.dumps([*kept, *kept_tensors], indent=1) + "\n")
    write_atomically(context.output_dir / LAYER_ERROR, json.dumps(rows, indent=1) + "\n")
    return {
        "scheme": str(job.section.scheme),
        "calibration": job.section.calibration if job.is_static else None,
        "calibration_samples": len(job.samples),
        "biases_corrected": job.corrects_biases,
        "kept": list(kept),
        "kept_tensors": kept_tensors,
        "attempts": [_attempt(attempt) for attempt in found.attempts],
        "layers": rows,
        "worst_layers": [error.as_json() for error in errors.worst(_WORST)],
        "unmeasured_layers": dict(errors.unmeasured),
        "bytes_before": len(job.content),
        "bytes_after": len(content),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {"kept": list(attempt.kept), "score": attempt.score}


def named_layers(names: Collection[str], layers: Collection[str]) -> Layers:
    """The layers that are named by their path, or by a part of it, as `lstm` names `lstm/lstm_cell`.

    Raises:
        ModelError: a name fits no layer; says which is nearest.
    """
    found: list[str] = []
    known = sorted({name for layer in layers for name in _names(layer)})
    for name in names:
        matches = sorted(layer for layer in layers if name in _names(layer))
        if not matches:
            near = difflib.get_close_matches(name, known, n=1)
            raise ModelError(
                f"keep: expected the name of a layer; there is no `{name}`",
                hint=f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(layers))}",
            )
        found += matches
    return tuple(dict.fromkeys(found))


def _names(layer: str) -> set[str]:
    return {layer, *layer.split("/")}


class _Job:
    """One artifact's way through the stage."""

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.section = QuantizeSection.model_validate(context.options["quantize"])
        self.probe = Probe(Format(context.options["format"]), context.work_dir, context.run_artifact)
        files = context.inputs["artifact"]
        self.content = files[ARTIFACT].read_bytes()
        self.layers: dict[str, str] = json.loads(files[LAYERS].read_text())
        self.graph: Graph = self.probe.graph(self.content)
        self.quantizer = cast(Quantizer, importlib.import_module(_QUANTIZERS[self.probe.format]))
        representative = context.inputs["calibration"]["representative.npz"]
        self.samples: Calibration = read_calibration(representative, self.graph.inputs)

    @cached_property
    def named(self) -> Layers:
        """The layers that `keep` names; some could not be quantized at all."""
        return named_layers(self.section.keep, set(self.layers.values()))

    @property
    def is_static(self) -> bool:
        return self.section.scheme in STATIC

    @cached_property
    def ranges(self) -> dict[str, Range]:
        if not self.is_static:
            return {}
        names = self.quantizer.activation_names(self.content)
        with self.context.progress.task("calibrate", total=len(self.samples)) as task:
            return calibrate(self.probe, self.content, names, self.samples, self.section, task)

    @cached_property
    def means(self) -> dict[str, npt.NDArray[np.float64]]:
        """What `correct_biases` needs."""
        return mean_values(self.probe, self.content, corrected_inputs(self.content), self.samples.inputs)

    @cached_property
    def expected(self) -> Outputs:
        """What the float artifact gives for the representative samples."""
        return self.probe.run(self.content, self.samples.inputs).values

    @cached_property
    def corrects_biases(self) -> bool:
        """Whether corrected biases bring the outputs nearer to the float artifact's.

        They need not: what rounding the activations does to a mean can outweigh what rounding the weights does.
        """
        if not self.is_static or self.probe.format is not Format.TFLITE:
            return False
        content = self._converted(self.named)
        return self.noise(correct_biases(self.content, content, self.means)) < self.noise(content)

    def noise(self, content: bytes) -> float:
        """Of a quantized artifact's outputs on the representative samples."""
        return noise(self.expected, self.probe.run(content, self.samples.inputs).values)

    def quantized(self, kept: Collection[str]) -> bytes:
        """The artifact with these layers in float."""
        content = self._converted(kept)
        return correct_biases(self.content, content, self.means) if self.corrects_biases else content

    def _converted(self, kept: Collection[str]) -> bytes:
        keep = {tensor for tensor, layer in self.layers.items() if layer in kept}
        try:
            return self.quantizer.quantize(self.content, self.section, self.ranges, keep)
        except NotHeldError as error:
            raise error.in_layers(self.layers) from error

    def layer_errors(self, content: bytes, kept: Collection[str]) -> LayerErrors:
        """Each layer's error in the quantized artifact `content`."""
        with self.context.progress.task("compare layers", total=len(self.samples)) as task:
            return layer_errors(self.probe, self.content, content, self.layers, kept, self.samples.inputs, task)

    def search(self) -> Fallback:
        """Find the fewest layers to keep in float beside those that are named."""
        score, inputs = self._validation()
        order = dict.fromkeys(self.layers.get(each.outputs[0].name) for each in self.graph.operators)
        candidates = [layer for layer in order if layer is not None and layer not in self.named]
        with self.context.progress.task("find layers to keep in float", total=len(candidates)) as task:
            search = Search(
                quantize=lambda kept: self.quantized((*self.named, *kept)),
                score=lambda content: score(self.probe.run(content, inputs).values),
                error=self.noise,
                float_score=score(self.probe.run(self.content, inputs).values),
                max_drop=cast(float, self.section.max_drop_fraction),
                task=task,
            )
            try:
                return search.run(candidates)
            except VerificationError as error:
                name = f"{self.context.options['variant']} as {self.probe.format}"
                raise VerificationError(f"{name}: {error.message}", hint=error.hint) from None

    def _validation(self) -> tuple[Score, Inputs]:
        """How the outputs on validation samples are scored, and the samples."""
        validation = read_validation(self.context.inputs["validation"])
        inputs = in_order(validation.x, [tensor.name for tensor in self.graph.inputs])
        scorer = Scorer(validation, self.context.options["score"], self.context.project_dir)
        expected = self.probe.run(self.content, inputs).values

        def score(outputs: Outputs) -> float:
            goodness = scorer.goodness(outputs)
            return -relative_error(expected, outputs) if goodness is None else goodness

        return score, inputs


def relative_error(expected: Outputs, actual: Outputs) -> float:
    """Mean absolute error as a fraction of the range of the expected values; the mean over the outputs."""
    pairs = [(x.astype(np.float64), y) for x, y in zip(expected, actual, strict=True)]
    return float(np.mean([np.abs(x - y).mean() / (np.ptp(x) or 1.0) for x, y in pairs]))


def noise(expected: Outputs, actual: Outputs) -> float:
    """Noise to signal, sum (x - q)^2 / sum x^2; the mean over the outputs."""
    ratios = []
    for x, q in zip(expected, actual, strict=True):
        comparison = Comparison()
        comparison.add(x, q)
        ratios.append(comparison.noise / (comparison.signal or 1.0))
    return float(np.mean(ratios))
