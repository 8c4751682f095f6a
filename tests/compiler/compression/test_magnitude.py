from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgecc.compiler.compression.kernels import Kernel, prunable_kernels
from edgecc.compiler.compression.magnitude import prune
from edgecc.compiler.compression.masks import Masks, masking, pooled, schedule
from edgecc.compiler.compression.tfmot import pruning_core
from edgecc.compiler.frontend.data import prepare
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError
from edgecc.progress import Silent
from edgecc.project_code import importable
from edgecc.variant import MagnitudePruning

tf_only = pytest.mark.tf

LOADER = """
import numpy as np

def blobs(samples, seed):
    generator = np.random.default_rng(seed)
    y = np.arange(samples) % 3
    centres = np.random.default_rng(7).normal(size=(3, 6, 6, 4))
    return (centres[y] + 0.7 * generator.normal(size=(samples, 6, 6, 4))).astype("float32"), y

def load():
    return {"train": blobs(96, 1), "validation": blobs(48, 2), "test": blobs(30, 3)}
"""


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def keras() -> Any:
    return fresh_keras(0, needed_by="a test")


@pytest.fixture
def project_dir(tmp_path: Path) -> Iterator[Path]:
    with importable(tmp_path):
        yield tmp_path


@pytest.fixture
def make_context(tmp_path: Path, project_dir: Path) -> Callable[..., StageContext]:
    count = iter(range(100))

    def make(options: Any, inputs: Any) -> StageContext:
        output_dir = tmp_path / f"output{next(count)}"
        output_dir.mkdir()
        return StageContext(options, inputs, output_dir, tmp_path, tmp_path, project_dir, 0, Notes(), None)  # type: ignore[arg-type]

    return make


@pytest.fixture
def run(
    keras: Any, make_context: Callable[..., StageContext], project_dir: Path
) -> Callable[..., tuple[StageContext, Metrics]]:
    """Saves a model and prunes it as the keys say."""
    (project_dir / "blobs_of_data.py").write_text(LOADER)
    data = make_context({"data": {"loader": "blobs_of_data:load", "representative_samples": 20}}, {})
    prepare(data)

    def run(model: Any, **keys: Any) -> tuple[StageContext, Metrics]:
        model.save(project_dir / "model.keras")
        options = {
            "model": {"path": "model.keras"},
            "train": {"batch_size": 16},
            "prune": section(**{"epochs": 2, "learning_rate": 1e-2} | keys).model_dump(mode="json"),
        }
        inputs = {
            "model": {"model.keras": project_dir / "model.keras"},
            "data": {path.name: path for path in data.output_dir.iterdir()},
        }
        context = make_context(options, inputs)
        return context, prune(context)

    return run


def section(**keys: Any) -> MagnitudePruning:
    return MagnitudePruning.model_validate({"method": "magnitude", "sparsity": 0.5, "schedule": "constant"} | keys)


def cnn(keras: Any) -> Any:
    layers = keras.layers
    stack = [
        keras.Input((6, 6, 4)),
        layers.Conv2D(8, 3, name="conv"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Flatten(),
        layers.Dense(16, activation="relu", name="hidden"),
        layers.Dense(3, name="logits"),
    ]
    return keras.Sequential(stack)


def written(keras: Any, context: StageContext) -> Any:
    return keras.saving.load_model(context.output_dir / "model.keras", compile=False)


def zeros(model: Any, layer: str) -> int:
    return int((model.get_layer(layer).kernel.value.numpy() == 0).sum())


def sparsities(context: StageContext) -> dict[str, Any]:
    return json.loads((context.output_dir / "sparsity.json").read_text())  # type: ignore[no-any-return]


# --- the schedule -----------------------------------------------------------------------------------------------


@tf_only
def test_the_sparsity_climbs_as_zhu_and_gupta_published_it() -> None:
    climbing = section(schedule="polynomial_decay", sparsity=0.9, initial_sparsity=0.1)
    values = [schedule(climbing, steps=200)(step) for step in range(1, 202)]

    due = [step for step, (changes, _) in enumerate(values, start=1) if changes]
    assert due == list(range(1, 102, 2))  # from before the first batch to half of them
    for step in range(1, 202):
        expected = 0.9 + (0.1 - 0.9) * (1 - min(1, (step - 1) / 100)) ** 3
        assert float(values[step - 1][1]) == pytest.approx(expected, abs=1e-6)
    assert float(values[50][1]) == pytest.approx(0.8, abs=1e-6)  # half way: 0.9 - 0.8 / 8


@tf_only
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 49, 51, 1000, 12345])
def test_the_climb_ends_on_an_update_within_the_training(steps: int) -> None:
    climb = schedule(section(schedule="polynomial_decay"), steps)
    due = [step for step in range(1, steps + 2) if climb(step)[0]] if steps < 100 else [climb.end_step]
    assert 1 < due[-1] <= steps + 1
    assert climb(due[-1])[0]
    assert float(climb(due[-1])[1]) == 0.5
    assert len(due) <= 51


# --- what is chosen ---------------------------------------------------------------------------------------------


def kernel_of(keras: Any, values: npt.NDArray[Any]) -> Kernel:
    return Kernel("layer", keras.Variable(values), tuple(range(values.ndim - 1)), (values.ndim - 1,))


def masked(keras: Any, values: npt.NDArray[Any], **keys: Any) -> npt.NDArray[Any]:
    kernel = kernel_of(keras, values.astype(np.float32))
    Masks([kernel], section(**keys)).begin(0)
    return kernel.values


VALUES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-2, 2, width=32, allow_subnormal=False)),
)


@tf_only
@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4), st.floats(0.01, 0.99), st.sampled_from(["layer", "global"]))
def test_the_smallest_fall_and_no_more_of_them(
    tensors: list[npt.NDArray[np.float32]], sparsity: float, scope: str
) -> None:
    import keras

    kernels = [kernel_of(keras, values) for values in tensors]
    masks = Masks(kernels, section(sparsity=sparsity, scope=scope))
    masks.begin(0)
    masks.check()

    groups = [list(range(len(kernels)))] if scope == "global" else [[index] for index in range(len(kernels))]
    for group in groups:
        before = np.concatenate([tensors[index].ravel() for index in group])
        after = np.concatenate([kernels[index].values.ravel() for index in group])
        assert np.array_equal(after[after != 0], before[after != 0])
        count = int((after == 0).sum())
        assert abs(max(sparsity * len(before), int((before == 0).sum())) - count) <= 1
        fallen, kept = np.abs(before[after == 0]), np.abs(before[after != 0])
        assert not len(fallen) or not len(kept) or fallen.max() <= kept.min()
        assert not np.signbit(after[after == 0]).any()


@tf_only
def test_one_threshold_for_all_kernels_takes_from_the_small_ones(keras: Any) -> None:
    small, large = kernel_of(keras, np.full((4, 5), 0.1, np.float32)), kernel_of(keras, np.ones((4, 5), np.float32))
    Masks([small, large], section(scope="global")).begin(0)
    assert (small.values == 0).all()
    assert (large.values == 1).all()


@tf_only
@pytest.mark.parametrize("keys", [{}, {"block": (4, 2)}, {"block": (1, 3)}, {"m_by_n": (2, 4)}])
def test_masks_are_those_of_tfmot(keras: Any, keys: dict[str, Any]) -> None:
    """Where tfmot's own code can do it: a matrix without ties, several blocks each way."""
    import tensorflow as tf

    values = np.random.default_rng(0).normal(size=(20, 9)).astype(np.float32)
    weights, mask, threshold = tf.Variable(values), tf.Variable(np.ones_like(values)), tf.Variable(0.0)
    implementation, schedules = pruning_core()
    constant = schedules.ConstantSparsity(0.5, begin_step=1, end_step=1)
    block, m_by_n = keys.get("block", (1, 1)), keys.get("m_by_n")
    pruning = implementation.Pruning(lambda: 1, [(weights, mask, threshold)], constant, block, "AVG", m_by_n)
    pruning.conditional_mask_update()

    assert np.array_equal(masked(keras, values, **keys) != 0, mask.numpy() == 1)


@tf_only
def test_of_four_neighbouring_input_channels_two_are_zero(keras: Any) -> None:
    values = np.random.default_rng(0).normal(size=(3, 3, 8, 5))
    pruned = masked(keras, values, m_by_n=(2, 4))
    groups = pruned.reshape(3, 3, 2, 4, 5)
    magnitudes = np.sort(np.abs(values.reshape(groups.shape)), axis=3)
    assert ((groups == 0).sum(axis=3) == 2).all()
    assert np.allclose(np.sort(np.abs(groups), axis=3)[:, :, :, 2:], magnitudes[:, :, :, 2:])


@tf_only
def test_blocks_fall_whole_and_a_convolution_is_a_matrix_of_patches_by_channels(keras: Any) -> None:
    values = np.random.default_rng(0).uniform(0.1, 1, size=(3, 3, 4, 10))
    pruned = masked(keras, values, block=(4, 4)).reshape(9, 4, 10)
    means = np.stack([values.reshape(9, 4, 10)[:, :, a:b].mean(axis=(1, 2)) for a, b in ((0, 4), (4, 8), (8, 10))])
    fallen = np.stack([(pruned[:, :, a:b] == 0).all(axis=(1, 2)) for a, b in ((0, 4), (4, 8), (8, 10))])
    kept = np.stack([(pruned[:, :, a:b] != 0).all(axis=(1, 2)) for a, b in ((0, 4), (4, 8), (8, 10))])
    assert np.array_equal(fallen, ~kept)
    assert abs(fallen.sum() - 27 / 2) <= 1
    assert means[fallen].max() < means[kept].min()


@tf_only
@pytest.mark.parametrize(("shape", "block"), [((8, 1), (4, 1)), ((4, 6), (4, 2)), ((1, 8), (1, 4)), ((4, 4), (4, 4))])
def test_blocks_may_be_as_high_or_wide_as_the_kernel(
    keras: Any, shape: tuple[int, int], block: tuple[int, int]
) -> None:
    pruned = masked(keras, np.random.default_rng(0).uniform(1, 2, size=shape), block=block)
    blocks = math.prod(shape) // math.prod(block)
    assert abs((pruned == 0).sum() / math.prod(block) - blocks / 2) <= 0.5


def test_the_mean_of_a_block_at_the_edge_is_over_what_is_there() -> None:
    matrix = np.arange(15.0).reshape(3, 5)
    assert pooled(matrix, (2, 3)).tolist() == [[3.5, 6.0], [11.0, 13.5]]
    assert pooled(matrix, (1, 1)) is matrix


# --- which weights ----------------------------------------------------------------------------------------------


def everything(keras: Any) -> Any:
    layers = keras.layers
    tokens = keras.Input((6,), name="tokens")
    x = layers.Embedding(10, 8, name="words")(tokens)
    x = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both_ways")(x)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization()(x)
    x = layers.TimeDistributed(layers.Dense(8), name="each_step")(x)
    inner = keras.Sequential([keras.Input((6, 8)), layers.Conv1D(4, 3, name="conv")], name="inner")
    x = layers.SeparableConv1D(6, 2, name="separable")(inner(x))
    x = layers.Conv1DTranspose(5, 3, name="transposed")(x)
    x = layers.DepthwiseConv1D(2, name="depthwise")(x)
    x = layers.GRU(3, name="gru")(x)
    return keras.Model(tokens, layers.EinsumDense("ab,cb->ac", 2, name="einsum")(x))


@tf_only
def test_kernels_of_every_kind_of_layer_are_found(keras: Any) -> None:
    kernels = prunable_kernels(keras, everything(keras), ())
    shapes: dict[str, list[tuple[int, int]]] = {}
    for kernel in kernels:
        values = np.random.default_rng(0).normal(size=kernel.variable.shape)
        matrix = kernel.as_matrix(values)
        assert np.array_equal(kernel.from_matrix(matrix), values)
        shapes.setdefault(kernel.layer, []).append(matrix.shape)
    assert shapes == {
        "words": [(10, 8)],
        "both_ways": [(8, 16), (4, 16), (8, 16), (4, 16)],
        "attention": [(8, 8), (8, 8), (8, 8), (8, 8)],
        "each_step": [(8, 8)],
        "inner/conv": [(24, 4)],
        "separable": [(4, 6)],
        "transposed": [(18, 5)],
        "gru": [(5, 9), (3, 9)],
        "einsum": [(3, 2)],
    }


@tf_only
def test_the_matrix_is_what_a_layer_multiplies_by(keras: Any) -> None:
    random = np.random.default_rng(0)
    conv, einsum = keras.layers.Conv2D(4, 3, use_bias=False), keras.layers.EinsumDense("abc,dbc->ad", 5)
    model = keras.Sequential([keras.Input((3, 3, 2)), conv])
    other = keras.Sequential([keras.Input((3, 2)), einsum])
    (kernel,), (other_kernel,) = prunable_kernels(keras, model, ()), prunable_kernels(keras, other, ())

    x = random.normal(size=(6, 3, 3, 2)).astype(np.float32)
    expected = x.reshape(6, -1) @ kernel.as_matrix(kernel.values)
    np.testing.assert_allclose(model.predict(x, verbose=0).reshape(6, -1), expected, rtol=1e-4, atol=1e-5)
    x = random.normal(size=(6, 3, 2)).astype(np.float32)
    expected = x.reshape(6, -1) @ other_kernel.as_matrix(other_kernel.values)
    np.testing.assert_allclose(other.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@tf_only
def test_a_shared_layer_is_pruned_once(keras: Any) -> None:
    shared = keras.layers.Dense(4, name="shared")
    source = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), shared], name="inner")
    kernels = prunable_kernels(keras, keras.Model(source, inner(shared(shared(source)))), ())
    assert len(kernels) == 1


@tf_only
@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("conv",), {"hidden", "logits", "encoder/dense"}),
        (("encoder",), {"conv", "hidden", "logits"}),
        (("encoder/dense", "logits"), {"conv", "hidden"}),
        (("dense",), {"conv", "hidden", "logits"}),
    ],
)
def test_excluded_layers_stay_whole(keras: Any, exclude: tuple[str, ...], left: set[str]) -> None:
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense")], name="encoder")
    source = keras.Input((6, 6, 4))
    x = source
    for layer in cnn(keras).layers:
        x = layer(x)
    kernels = prunable_kernels(keras, keras.Model(source, encoder(x)), exclude)
    assert {kernel.layer for kernel in kernels} == left


@tf_only
@pytest.mark.parametrize(
    ("exclude", "message", "hint"),
    [
        (("hiden",), "the model has no `hiden`", "did you mean `hidden`?"),
        (("xyz",), "the model has no `xyz`", "it has conv, hidden, logits"),
        (("depthwise",), "`depthwise` has nothing to prune", "leave it out"),
        (("flatten",), "`flatten` has nothing to prune", "leave it out"),
        (("conv", "hidden", "logits"), "`exclude` names all there are", ""),
    ],
)
def test_wrong_exclusions_are_told(keras: Any, exclude: tuple[str, ...], message: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        prunable_kernels(keras, cnn(keras), exclude)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@tf_only
def test_a_model_without_kernels_is_refused(keras: Any) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()], name="norm_only")
    with pytest.raises(ModelError, match="expected a layer to prune in `norm_only`"):
        prunable_kernels(keras, model, ())


@tf_only
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"block": (1, 4)}, r"got \[1, 4\], and that of `logits` is a matrix of 16 by 3"),
        ({"block": (64, 1)}, r"got \[64, 1\], and that of `conv` is a matrix of 36 by 8"),
        ({"m_by_n": (3, 6)}, "a multiple of 6; `conv` has 4, `hidden` has 32, `logits` has 16"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(keras: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Masks(prunable_kernels(keras, cnn(keras), ()), section(**keys))


@tf_only
@pytest.mark.parametrize(("n", "hint"), [(8, 'exclude = ["conv"]'), (3, None)])
def test_the_layers_a_pattern_does_not_fit_can_be_excluded_unless_they_are_all(
    keras: Any, n: int, hint: str | None
) -> None:
    with pytest.raises(ModelError, match=f"a multiple of {n}") as caught:
        Masks(prunable_kernels(keras, cnn(keras), ()), section(m_by_n=(1, n), sparsity=1 / n))
    assert caught.value.hint == hint


# --- while training ---------------------------------------------------------------------------------------------


@tf_only
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_masks_hold_against_the_optimizer_after_every_batch(keras: Any, optimizer: str) -> None:
    optimizers = {
        "momentum": keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "adam": keras.optimizers.Adam(0.05, weight_decay=0.01),
    }
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(2)])
    model.compile(optimizers[optimizer], "mse")
    kernels = prunable_kernels(keras, model, ())
    masks = Masks(kernels, section(schedule="polynomial_decay", sparsity=0.75, initial_sparsity=0.25))
    seen: list[npt.NDArray[np.bool_]] = []

    def look(*_: Any, **__: Any) -> None:
        seen.append(np.concatenate([(kernel.values == 0).ravel() for kernel in kernels]))

    probe = keras.callbacks.LambdaCallback(on_train_begin=look, on_train_batch_end=look)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 8)), random.normal(size=(40, 2))
    model.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[masking(keras, masks), probe])

    masks.check()
    assert len(seen) == 41
    assert [int(zero.sum()) for zero in seen][::40] == [160 // 4, 160 * 3 // 4]
    for before, after in pairwise(seen):
        assert (after >= before).all()
    # They do not hold by themselves: what the optimizer would add there is not zero.
    slots = [slot for slot in model.optimizer.variables if slot.path.endswith("kernel_momentum")]
    moments = np.concatenate([slot.value.numpy().ravel() for slot in slots])
    assert np.abs(moments[seen[-1]]).max() > 0


@tf_only
def test_a_sparsity_that_was_not_reached_is_an_error(keras: Any) -> None:
    kernel = kernel_of(keras, np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32))
    masks = Masks([kernel], section())
    with pytest.raises(ModelError, match="expected 50 of the 100 weights of `layer` to be zero; 0 are"):
        masks.check()
    masks.begin(0)
    masks.check()
    kernel.variable.assign(np.zeros((10, 10)))
    with pytest.raises(ModelError, match="100 are"):
        masks.check()


# --- the stage --------------------------------------------------------------------------------------------------


@tf_only
@pytest.mark.parametrize("keys", [{}, {"alpha": 0.3}])
def test_each_kernel_of_the_written_model_has_the_sparsity(keras: Any, run: Any, keys: dict[str, Any]) -> None:
    context, metrics = run(cnn(keras), **{"schedule": "polynomial_decay", "sparsity": 0.8, "epochs": 6} | keys)
    model = written(keras, context)
    counts = {"conv": 288, "hidden": 512, "logits": 48}
    for layer, weights in counts.items():
        assert abs(zeros(model, layer) - 0.8 * weights) <= 1
    assert zeros(model, "depthwise") == 0
    expected = {layer: {"sparsity": zeros(model, layer) / size, "weights": size} for layer, size in counts.items()}
    assert sparsities(context) == expected
    assert metrics["sparsity_by_layer"] == {layer: each["sparsity"] for layer, each in expected.items()}
    assert metrics["sparsity"] == pytest.approx(sum(zeros(model, layer) for layer in counts) / 848)
    assert (metrics["weights"], metrics["epochs"]) == (848, 6)
    assert metrics["validation_accuracy"] > max(0.6, metrics["validation_accuracy_before"])  # it was not trained before
    assert not model.compiled


@tf_only
def test_a_global_sparsity_is_that_of_all_kernels_together(keras: Any, run: Any) -> None:
    context, metrics = run(cnn(keras), scope="global", sparsity=0.7)
    model = written(keras, context)
    by_layer = {layer: zeros(model, layer) for layer in ("conv", "hidden", "logits")}
    assert abs(sum(by_layer.values()) - 0.7 * 848) <= 1
    assert len({round(share, 2) for share in metrics["sparsity_by_layer"].values()}) > 1


@tf_only
def test_a_layer_that_lost_all_weights_is_told(keras: Any, run: Any) -> None:
    model = cnn(keras)
    model.get_layer("hidden").kernel.assign(1e-6 * model.get_layer("hidden").kernel)
    context, _ = run(model, scope="global", sparsity=0.7, epochs=0)
    assert context.progress.notes == ["prune: no weight of `hidden` is left; exclude it, or ask for less sparsity"]


@tf_only
def test_pruning_in_one_shot_changes_nothing_else(keras: Any, run: Any) -> None:
    model = cnn(keras)
    context, metrics = run(model, epochs=0, exclude=("conv",))
    for before, after in zip(model.get_weights(), written(keras, context).get_weights(), strict=True):
        assert np.array_equal(before[after != 0], after[after != 0])
    assert set(sparsities(context)) == {"hidden", "logits"}
    assert metrics["epochs"] == 0


@tf_only
def test_a_pruned_model_keeps_its_zeros_when_it_is_pruned_less(keras: Any, run: Any) -> None:
    first, _ = run(cnn(keras), sparsity=0.6, epochs=0)
    sparse = written(keras, first)
    second, metrics = run(sparse, sparsity=0.3, schedule="polynomial_decay")
    for layer, weights in {"conv": 288, "hidden": 512, "logits": 48}.items():
        zero = sparse.get_layer(layer).kernel.value.numpy() == 0
        assert abs(zero.sum() - 0.6 * weights) <= 1
        assert np.array_equal(written(keras, second).get_layer(layer).kernel.value.numpy() == 0, zero)
    assert metrics["sparsity"] == pytest.approx(0.6, abs=0.01)


@tf_only
def test_a_pattern_is_held_through_training(keras: Any, run: Any) -> None:
    context, metrics = run(cnn(keras), m_by_n=(2, 4), schedule="polynomial_decay")
    kernel = written(keras, context).get_layer("conv").kernel.value.numpy()
    assert ((kernel.reshape(9, 1, 4, 8) == 0).sum(axis=2) == 2).all()
    assert metrics["sparsity"] == 0.5


@tf_only
def test_pruning_gives_the_same_bytes_again(keras: Any, run: Any) -> None:
    model = cnn(keras)
    keys = {"schedule": "polynomial_decay", "alpha": 0.5}
    (first, metrics), (second, again) = run(model, **keys), run(model, **keys)
    assert metrics == again
    for name in ("model.keras", "sparsity.json"):
        assert (first.output_dir / name).read_bytes() == (second.output_dir / name).read_bytes()


# --- tfmot ------------------------------------------------------------------------------------------------------

QUIETLY = """
import os, sys, warnings
import tensorflow
warnings.simplefilter("error")
from edgecc.compiler.compression.tfmot import pruning_core
implementation, schedules = pruning_core()
assert implementation.Pruning and schedules.PolynomialDecay
left = [name for name in sys.modules if name.startswith(("tensorflow_model_optimization", "tf_keras"))]
assert not left, left
assert "TF_USE_LEGACY_KERAS" not in os.environ
"""


@tf_only
def test_the_core_of_tfmot_brings_no_second_keras_and_no_warning() -> None:
    subprocess.run([sys.executable, "-c", QUIETLY], check=True, capture_output=True)
