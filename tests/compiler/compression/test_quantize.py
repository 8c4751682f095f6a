from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from edgecc.artifact import ArtifactRunner, Format
from edgecc.compiler.compression import tflite_quantizer
from edgecc.compiler.compression.not_held import NotHeld, NotHeldError
from edgecc.compiler.compression.quantize import _Job, named_layers, noise, quantize, relative_error
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.errors import ModelError, VerificationError
from edgecc.files import sha256_of_json
from edgecc.progress import Silent
from edgecc.samples import write_arrays
from edgecc.targets.host import run_outputs
from edgecc.variant import Quantization, QuantizeSection

Floats = npt.NDArray[np.float32]
MakeContext = Callable[..., StageContext]
DATA = Path(__file__).parents[2] / "data"
LAYERS = {"product": "encoder/dense", "hidden": "encoder/dense", "output": "head"}
TENSORS = {"w0": "product", "w1": "output"}


class Rounder:
    """Stands in for a quantizer: rounds weights to multiples of a quarter, but for those of kept operators."""

    def __init__(self) -> None:
        self.ranges: Mapping[str, tuple[float, float]] = {}

    def activation_names(self, content: bytes) -> list[str]:
        return ["x", "hidden", "output"]

    def quantize(
        self, content: bytes, section: QuantizeSection, ranges: Mapping[str, tuple[float, float]], keep: Collection[str]
    ) -> bytes:
        self.ranges = ranges
        model = onnx.load_model_from_string(content)
        for tensor in model.graph.initializer:
            if TENSORS[tensor.name] not in keep:
                rounded = np.round(numpy_helper.to_array(tensor) * 4) / 4
                tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), tensor.name))
        return bytes(model.SerializeToString(deterministic=True))


@pytest.fixture
def rounder(monkeypatch: pytest.MonkeyPatch) -> Rounder:
    rounder = Rounder()
    module = SimpleNamespace(activation_names=rounder.activation_names, quantize=rounder.quantize)
    monkeypatch.setitem(sys.modules, "edgecc.compiler.compression.onnx_quantizer", module)
    return rounder


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """Contexts of the stage; `y` makes a validation set of the calibration samples."""

    def make(
        content: bytes, layers: Mapping[str, str], x: Floats, format: Format, section: Mapping[str, Any],
        run_artifact: ArtifactRunner = run_outputs, y: npt.NDArray[Any] | None = None, classes: int | None = None,
        score: Mapping[str, Any] | None = None,
    ) -> StageContext:  # fmt: skip
        (tmp_path / "artifact").write_bytes(content)
        (tmp_path / "layers.json").write_text(json.dumps(layers))
        write_arrays(tmp_path / "representative.npz", x=x)
        inputs = {
            "artifact": {name: tmp_path / name for name in ("artifact", "layers.json")},
            "calibration": {"representative.npz": tmp_path / "representative.npz"},
        }
        if y is not None:
            write_arrays(tmp_path / "validation.npz", x=x, y=y)
            (tmp_path / "data.json").write_text(json.dumps({"classes": classes}))
            inputs["validation"] = {name: tmp_path / name for name in ("validation.npz", "data.json")}
        folders = [tmp_path / name for name in ("output", "work")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        dumped = QuantizeSection.model_validate(section).model_dump(mode="json")
        return StageContext(
            options={"format": str(format), "quantize": dumped, "variant": "small", "score": score or {}},
            inputs=inputs, output_dir=folders[0], work_dir=folders[1], log_dir=tmp_path, project_dir=tmp_path, seed=0,
            progress=Silent(), run_artifact=run_artifact,
        )  # fmt: skip

    return make


@pytest.fixture
def run(make_context: MakeContext, two_layers: Any, x: Floats, rounder: Rounder, run_onnx: ArtifactRunner) -> Any:
    """Runs the stage on `two_layers` with the stand-in; returns its metrics and its output folder."""

    def run(section: Mapping[str, Any], **validation: Any) -> tuple[Any, Path]:
        context = make_context(two_layers.onnx(), LAYERS, x, Format.ONNX, section, run_onnx, **validation)
        return quantize(context), context.output_dir

    return run


def test_what_it_writes_and_tells(run: Any, two_layers: Any, x: Floats, rounder: Rounder) -> None:
    metrics, folder = run({"scheme": "int8"})

    written = (folder / "artifact").read_bytes()
    assert written == rounder.quantize(two_layers.onnx(), QuantizeSection(scheme="int8"), {}, ())
    assert json.loads((folder / "layers.json").read_text()) == LAYERS
    written_files = ["artifact", "kept.json", "layer_error.json", "layers.json"]
    assert sorted(path.name for path in folder.iterdir()) == written_files
    assert json.loads((folder / "kept.json").read_text()) == []
    rows = json.loads((folder / "layer_error.json").read_text())
    assert [(row["layer"], row["operator"], row["kept"]) for row in rows] == [
        ("encoder/dense", "Relu", False), ("head", "MatMul", False),
    ]  # fmt: skip
    assert metrics["worst_layers"] == sorted(rows, key=lambda row: row["sqnr_db"])
    assert {key: metrics[key] for key in ("scheme", "calibration", "calibration_samples", "kept", "attempts")} == {
        "scheme": "int8", "calibration": "min_max", "calibration_samples": 60, "kept": [], "attempts": [],
    }  # fmt: skip
    assert (metrics["bytes_before"], metrics["bytes_after"]) == (len(two_layers.onnx()), len(written))
    assert metrics["unmeasured_layers"] == {}
    sha256_of_json(metrics)  # finite JSON


@pytest.mark.parametrize("calibration", ["min_max", "percentile", "entropy", "mse"])
def test_static_schemes_get_ranges(run: Any, rounder: Rounder, x: Floats, calibration: str) -> None:
    run({"scheme": "int8", "calibration": calibration})
    low, high = rounder.ranges["x"]
    assert list(rounder.ranges) == ["x", "hidden", "output"]
    assert x.min() <= low < 0 < high <= x.max()
    assert rounder.ranges["hidden"][0] == 0


def test_the_others_get_none(run: Any, rounder: Rounder) -> None:
    metrics, _ = run({"scheme": "dynamic"})
    assert rounder.ranges == {}
    assert metrics["calibration"] is None


def test_named_layers_stay_in_float(run: Any) -> None:
    metrics, folder = run({"scheme": "int8", "keep": ["dense"]})
    rows = json.loads((folder / "layer_error.json").read_text())
    assert metrics["kept"] == ["encoder/dense"]
    assert [(row["kept"], row["sqnr_db"] is None) for row in rows] == [(True, True), (False, False)]


def _labels(two_layers: Any, x: Floats) -> npt.NDArray[np.int64]:
    return np.asarray(two_layers(x)["output"].argmax(axis=1))


def test_the_fewest_layers_that_hold_the_accuracy(run: Any, two_layers: Any, x: Floats) -> None:
    y = _labels(two_layers, x)
    metrics, _ = run({"scheme": "int8", "max_drop": "100 pp"}, y=y, classes=2)
    assert metrics["kept"] == []
    assert len(metrics["attempts"]) == 1
    whole = metrics["attempts"][0]["score"]
    assert 0.5 < whole < 1

    metrics, _ = run({"scheme": "int8", "max_drop": f"{100 * (1 - whole) - 0.01} pp"}, y=y, classes=2)
    kept = {"encoder/dense": (two_layers.w0, _rounded(two_layers.w1)), "head": (_rounded(two_layers.w0), two_layers.w1)}
    scores = {layer: float(np.mean(_labels(type(two_layers)(*weights), x) == y)) for layer, weights in kept.items()}
    (layer,) = metrics["kept"]
    assert metrics["attempts"] == [{"kept": [], "score": whole}, {"kept": [layer], "score": scores[layer]}]
    errors = {
        layer: noise((two_layers(x)["output"],), (type(two_layers)(*weights)(x)["output"],))
        for layer, weights in kept.items()
    }
    assert layer == min(errors, key=lambda each: errors[each])


def _rounded(weights: Floats) -> Floats:
    return np.asarray(np.round(weights * 4) / 4, np.float32)


def test_without_classes_or_metrics_the_error_of_the_outputs_counts(run: Any, two_layers: Any, x: Floats) -> None:
    y = np.zeros((60, 2))
    expected = two_layers(x)["output"]
    actual = type(two_layers)(_rounded(two_layers.w0), _rounded(two_layers.w1))(x)["output"]

    metrics, _ = run({"scheme": "int8", "max_drop": "50 pp"}, y=y)

    error = np.abs(actual - expected).mean() / np.ptp(expected)
    assert metrics["attempts"][0]["score"] == pytest.approx(-error, rel=1e-4)


def test_the_users_metric_counts_where_there_are_no_classes(
    run: Any, two_layers: Any, x: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_metrics.py").write_text("def worst(outputs, y):\n    return abs(outputs - y).max()\n")
    monkeypatch.syspath_prepend(tmp_path)
    y = two_layers(x)["output"]
    score = {"worst": {"function": "my_metrics:worst", "better": "lower"}}
    metrics, _ = run({"scheme": "int8", "max_drop": "1000 pp"}, y=y, score=score)
    actual = type(two_layers)(_rounded(two_layers.w0), _rounded(two_layers.w1))(x)["output"]
    assert metrics["attempts"][0]["score"] == pytest.approx(-np.abs(actual - y).max(), rel=1e-4)


def test_a_drop_that_cannot_be_held_names_the_artifact(run: Any) -> None:
    with pytest.raises(
        VerificationError, match=r"small as onnx: expected a drop of at most .* sensitive layers: "
    ) as caught:
        run({"scheme": "int8", "max_drop": "0.0001 pp"}, y=np.zeros((60, 2)))
    assert "max_drop" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("a/conv",), ("a/conv",)),
        (("conv",), ("a/conv", "b/conv", "conv")),
        (("dense", "conv", "a/conv"), ("a/dense", "a/conv", "b/conv", "conv")),
        (("a",), ("a/conv", "a/convolution", "a/dense")),
        ((), ()),
    ],
)
def test_layers_are_named_by_path_or_a_part_of_it(names: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert named_layers(names, ["conv", "a/conv", "b/conv", "a/dense", "a/convolution"]) == found


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dens", "did you mean `dense`?"), ("a/con", "did you mean `a/conv`?"), ("x", "there are a/conv, a/dense")],
)
def test_a_name_that_fits_nothing_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ModelError, match=f"there is no `{name}`") as caught:
        named_layers([name], ["a/conv", "a/dense"])
    assert caught.value.hint == hint


def test_errors_of_several_outputs_are_averaged() -> None:
    expected = (np.array([[0.0, 4.0]], np.float32), np.array([[3.0, 3.0]], np.float32))
    actual = (np.array([[1.0, 4.0]], np.float32), np.array([[3.0, 0.0]], np.float32))
    assert relative_error(expected, actual) == pytest.approx((0.5 / 4 + 1.5) / 2)
    assert noise(expected, actual) == pytest.approx((1 / 16 + 9 / 18) / 2)


@pytest.mark.parametrize("scheme", ["int8", "dynamic", "float16"])
def test_onnx_for_real(make_context: MakeContext, two_layers: Any, x: Floats, scheme: str) -> None:
    context = make_context(two_layers.onnx(), LAYERS, x, Format.ONNX, {"scheme": scheme})
    metrics = quantize(context)
    first = (context.output_dir / "artifact").read_bytes()
    assert [row["layer"] for row in json.loads((context.output_dir / "layer_error.json").read_text())] == [
        "encoder/dense", "head",
    ]  # fmt: skip
    assert all(row["sqnr_db"] is None or row["sqnr_db"] > 25 for row in metrics["worst_layers"])
    assert quantize(context) == metrics
    assert (context.output_dir / "artifact").read_bytes() == first


@pytest.mark.parametrize("is_better", [True, False])
def test_biases_are_corrected_where_the_outputs_gain(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, is_better: bool
) -> None:
    float_file, other = (DATA / "cnn_float32.tflite").read_bytes(), b"with other biases"
    images = np.random.default_rng(7).random((20, 8, 8, 1), dtype=np.float32)

    def run_artifact(path: Path, format: Format, inputs: Any) -> Any:
        if path.read_bytes() != other:
            return run_outputs(path, format, inputs)
        path.write_bytes(float_file)
        ran = run_outputs(path, format, inputs)
        return ran if is_better else replace(ran, values=tuple(value + 9 for value in ran.values))

    monkeypatch.setattr("edgecc.compiler.compression.quantize.correct_biases", lambda *_: other)
    layers = {"Relu;add;Conv2D;add/y1": "conv", "Mean": "pool", "Identity": "dense"}
    job = _Job(make_context(float_file, layers, images, Format.TFLITE, {"scheme": "int8"}, run_artifact))
    assert job.corrects_biases is is_better
    assert (job.quantized(()) == other) is is_better


def test_what_keep_names_is_never_quantized_on_the_way(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(content: bytes, section: Any, ranges: Any, keep: Any) -> bytes:
        if "Mean" not in keep:
            raise ModelError("this layer cannot be quantized")
        return really(content, section, ranges, keep)

    really = tflite_quantizer.quantize
    monkeypatch.setattr(tflite_quantizer, "quantize", refuse)
    layers = {"Relu;add;Conv2D;add/y1": "conv", "Mean": "pool", "Identity": "dense"}
    images = np.random.default_rng(7).random((20, 8, 8, 1), dtype=np.float32)
    content = (DATA / "cnn_float32.tflite").read_bytes()
    section = {"scheme": "int8", "keep": ["pool"]}
    assert quantize(make_context(content, layers, images, Format.TFLITE, section))["kept"] == ["pool"]


def test_what_the_scheme_cannot_hold_is_named_by_its_layer(
    run: Any, rounder: Rounder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> bytes:
        raise NotHeldError(Quantization.INT8, [NotHeld("MatMul", "hidden", "computes in float")], [])

    monkeypatch.setattr(sys.modules["edgecc.compiler.compression.onnx_quantizer"], "quantize", refuse)
    with pytest.raises(ModelError, match="MatMul in the layer `encoder/dense` computes in float") as caught:
        run({"scheme": "int8"})
    assert caught.value.hint == 'leave it in float with `keep = ["encoder/dense"]`'


@pytest.mark.parametrize("scheme", ["int8", "int16x8", "dynamic", "float16"])
def test_tflite_for_real(make_context: MakeContext, scheme: str) -> None:
    layers = {"Relu;add;Conv2D;add/y1": "conv", "Mean": "pool", "Identity": "dense"}
    images = np.random.default_rng(7).random((20, 8, 8, 1), dtype=np.float32)
    context = make_context(
        (DATA / "cnn_float32.tflite").read_bytes(), layers, images, Format.TFLITE, {"scheme": scheme}
    )
    metrics = quantize(context)
    assert [row["layer"] for row in json.loads((context.output_dir / "layer_error.json").read_text())] == [
        "conv", "pool", "dense",
    ]  # fmt: skip
    assert all(row["sqnr_db"] > 25 for row in metrics["worst_layers"])
    assert metrics["unmeasured_layers"] == {}
