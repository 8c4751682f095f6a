from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgecc.artifact import Format
from edgecc.compiler.backend.artifact_graph import Tensor
from edgecc.compiler.compression import probe as probe_module
from edgecc.compiler.compression.calibration import Calibration, calibrate, observe, read_calibration
from edgecc.compiler.compression.histogram import histogram_of
from edgecc.compiler.compression.probe import Probe
from edgecc.errors import DataError, ModelError
from edgecc.progress import Silent
from edgecc.samples import Arrays, write_arrays
from edgecc.targets.host import run_outputs
from edgecc.variant import Quantization, QuantizeSection

Floats = npt.NDArray[np.float32]
DATA = Path(__file__).parents[2] / "data"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(30, 5)).astype(np.float32)
NAMES = ["x", "product", "hidden", "output"]


class Counter(Silent):
    """A task that counts its steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def advance(self, steps: int = 1) -> None:
        self.steps.append(steps)


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Writes samples, and reads them for a model with these inputs: the shape of one sample by name."""

    def read(x: Arrays, **shapes: tuple[int, ...]) -> Calibration:
        write_arrays(tmp_path / "representative.npz", x=x)
        inputs = [Tensor(name, "float32", (1, *shape), constant=False) for name, shape in shapes.items()]
        return read_calibration(tmp_path / "representative.npz", inputs)

    return read


def test_samples_are_read_as_float32(read: Any) -> None:
    samples = read(X.astype(np.float64), image=(5,))
    assert len(samples) == 30
    assert samples.inputs[0].dtype == np.float32
    np.testing.assert_array_equal(samples.inputs[0], X)


def test_several_inputs_come_in_the_models_order(read: Any) -> None:
    other = RANDOM.normal(size=(30, 2, 2))
    by_name = read({"b": other, "a": X}, a=(5,), b=(2, 2))
    by_order = read([X, other], a=(5,), b=(2, 2))
    for samples in (by_name, by_order):
        assert [array.shape for array in samples.inputs] == [(30, 5), (30, 2, 2)]


def test_an_input_may_be_the_same_in_every_sample(read: Any) -> None:
    assert len(read([X, np.tile(np.arange(4.0), (30, 1))], a=(5,), b=(4,))) == 30


def test_one_sample_is_enough(read: Any) -> None:
    assert len(read(X[:1], a=(5,))) == 1


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], r"shape \(5,\); got \(0, 5\)"),
        (X[:, :3], r"shape \(5,\); got \(30, 3\)"),
        (np.full((2, 5), np.nan), "finite values; got NaN or infinity$"),
        (np.repeat(X[:1], 7, axis=0), "samples that differ; all 7 are the same"),
        (np.full((4, 5), 0.5), "every value is 0.5"),
        (np.zeros((1, 5)), "every value is 0$"),
        ([X, X], "expected samples for `a`; got 2 arrays"),
    ],
)
def test_samples_that_teach_nothing_are_refused(read: Any, x: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(x, a=(5,))


def test_the_input_at_fault_is_named(read: Any) -> None:
    with pytest.raises(DataError, match="every value of `b` is 3"):
        read([X, np.full((30, 2), 3.0)], a=(5,), b=(2,))
    with pytest.raises(DataError, match=r"shape \(5,\), \(2,\); got \(30, 5\), \(29, 2\)"):
        read([X, X[:29, :2]], a=(5,), b=(2,))


def test_every_tensor_is_observed_over_all_samples(
    probe: Probe, two_layers: Any, x: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "CHUNK_BYTES", 25 * 4 * (3 + 3 + 2))
    task = Counter()

    seen = observe(probe, two_layers.onnx(), NAMES, Calibration((x,)), task)

    assert task.steps == [25, 25, 10]
    assert list(seen) == NAMES
    for name, values in two_layers(x).items():
        expected = histogram_of(values)
        assert (seen[name].low, seen[name].high) == pytest.approx((expected.low, expected.high), rel=1e-5)
        assert seen[name].zeros == expected.zeros
        assert seen[name].counts.sum() + seen[name].zeros == values.size


def test_ranges_are_those_of_the_activations(probe: Probe, two_layers: Any, x: Floats) -> None:
    section = QuantizeSection(scheme=Quantization.INT8)
    ranges = calibrate(probe, two_layers.onnx(), NAMES, Calibration((x,)), section, Silent())
    for name, values in two_layers(x).items():
        assert ranges[name] == pytest.approx((min(values.min(), 0), values.max()), rel=1e-5)


def test_tflite_is_observed_too(tmp_path: Path) -> None:
    images = RANDOM.random((20, 8, 8, 1), dtype=np.float32)
    names = ["image", "Relu;add;Conv2D;add/y1", "Mean", "Identity"]
    content = (DATA / "cnn_float32.tflite").read_bytes()

    seen = observe(Probe(Format.TFLITE, tmp_path, run_outputs), content, names, Calibration((images,)), Silent())

    with np.load(DATA / "cnn_weights.npz") as weights:
        windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], (3, 3), axis=(1, 2))
        features = np.einsum("nhwij,ijo->nhwo", windows, weights["kernel"][:, :, 0]) + weights["bias"]
    assert (seen["image"].low, seen["image"].high) == (0, images.max())
    assert seen[names[1]].high == pytest.approx(features.max(), rel=1e-5)
    assert seen[names[1]].zeros == (features < 0).sum()


def test_activations_that_are_not_finite_are_named(probe: Probe, two_layers: Any, x: Floats) -> None:
    huge = type(two_layers)(two_layers.w0 * np.float32(1e30), two_layers.w1 * np.float32(1e30))
    with pytest.raises(ModelError, match="tensor `output` holds NaN or infinity"):
        observe(probe, huge.onnx(), NAMES, Calibration((x,)), Silent())
