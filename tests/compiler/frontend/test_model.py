"""What a builder or a file may give, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend.data import DataDescription
from edgecc.compiler.frontend.keras_file import read_keras_file, write_keras_file
from edgecc.compiler.frontend.layer_graph import output_activation
from edgecc.compiler.frontend.model import (
    build_model,
    check_names,
    compile_for_training,
    hyperparameters,
    load,
    read_model,
)
from edgecc.compiler.frontend.precision import as_float32
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError
from edgecc.files import sha256_of_file
from edgecc.training import ModelSection
from edgecc.user_code import load_entry_point

pytestmark = pytest.mark.tf

MakeContext = Callable[..., StageContext]
WriteBuilder = Callable[..., None]

DATA = DataDescription(task="classification", input_shape=(6, 6, 1), classes=3, labels=None)
REGRESSION = DATA.model_copy(update={"task": "other", "classes": None})


@pytest.fixture
def keras() -> Any:
    return fresh_keras(0, needed_by="a test")


def build(keras: Any, project_dir: Path, data: DataDescription = DATA, **section: Any) -> Any:
    model = ModelSection(builder="models:build", **section)
    builder = load_entry_point("models:build", project_dir)
    return build_model(keras, builder, hyperparameters(model.hp), model, data)


GOOD = "return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("model = keras.Sequential()", "expected a keras.Model; got NoneType"),
        ("return keras.layers.Dense(3)", "expected a keras.Model; got Dense"),
        ("return keras.Sequential([keras.layers.Dense(3)])", "does not know its input"),
        ("class Mine(keras.Model):\n    pass\nreturn Mine()", "is of the class Mine, whose graph of layers nobody"),
        (
            "class Inner(keras.Model):\n    def call(self, x):\n        return x\n"
            "i = keras.Input((6, 6, 1))\n"
            "return keras.Model(i, keras.layers.Dense(3)(keras.layers.Flatten()(Inner(name='inner')(i))))",
            "`inner` is of the class Inner",
        ),
        ("a, b = keras.Input((6,), name='a'), keras.Input((6,), name='b')\nreturn keras.Model([a, b], a + b)",
         "the inputs of the model are `a`, `b`; the data have one array without a name in x"),
        ("a = keras.Input((6, 6, 1))\nreturn keras.Model(a, [a, a])",
         "expected a model with one output, since y is one array of classes; .* has 2"),
        ("a = keras.Input((6, 6, 1), name='a')\nreturn keras.Model({'a': a}, a)", "takes its inputs by name; the data"),
        ("a, b = keras.Input((6, 6, 1)), keras.Input((2,))\nreturn keras.Model([a, [b]], [a])", "inputs in one list"),
        (GOOD.replace("(6, 6, 1)", "(6, 6)"), r"takes samples of shape \(6, 6\); the data have \(6, 6, 1\)"),
        (GOOD.replace("(6, 6, 1)", "(5, 6, 1)"), r"takes samples of shape \(5, 6, 1\)"),
        (GOOD.replace("Dense(3)", "Dense(4)"), r"expected outputs of shape \(3,\), .*gives \(4,\)"),
        (GOOD.replace(", keras.layers.Flatten(), keras.layers.Dense(3)", ", keras.layers.GlobalMaxPooling2D(), "
                      "keras.layers.RepeatVector(3), keras.layers.Flatten()"), "expected a model with weights"),
        (GOOD.replace("keras.layers.Flatten()", "keras.layers.Lambda(lambda x: x), keras.layers.Flatten()"),
         "layer `lambda` is a Lambda"),
    ],
)  # fmt: skip
def test_what_is_not_a_usable_model_is_refused(
    keras: Any, project_dir: Path, write_builder: WriteBuilder, body: str, message: str
) -> None:
    write_builder(body)
    with pytest.raises(ModelError, match=message):
        build(keras, project_dir)


def test_open_dimensions_fit_any_size(keras: Any, project_dir: Path, write_builder: WriteBuilder) -> None:
    write_builder(
        "return keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(3, 3), "
        "keras.layers.GlobalAveragePooling2D()])"
    )
    assert build(keras, project_dir).count_params() == 30


def test_fixed_hyperparameters_replace_the_builders_own(
    keras: Any, project_dir: Path, write_builder: WriteBuilder
) -> None:
    write_builder(
        "units = hp.Int('units', 4, 8)\n"
        "if hp.Boolean('deep', default=True):\n"
        "    with hp.conditional_scope('deep', [True]):\n"
        "        units += hp.Choice('extra', [1, 2])\n"
        f"{GOOD.replace('keras.layers.Dense(3)', 'keras.layers.Dense(units), keras.layers.Dense(3)')}"
    )
    assert build(keras, project_dir).layers[1].units == 5
    assert build(keras, project_dir, hp={"units": 20}).layers[1].units == 21
    assert build(keras, project_dir, hp={"units": 20, "extra": 7}).layers[1].units == 27
    assert build(keras, project_dir, hp={"deep": False, "units": 20}).layers[1].units == 20


def test_a_misspelt_fixed_hyperparameter_is_named() -> None:
    hp = hyperparameters({})
    hp.Int("units", 4, 8)
    check_names({"units": 5}, hp, "models:build")
    with pytest.raises(ModelError, match=r"hp\.unit: models:build has no such hyperparameter; it has units") as caught:
        check_names({"unit": 5}, hp, "models:build")
    assert caught.value.hint == "did you mean `units`?"


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("layers.Dense(3, activation='softmax')", True),
        ("layers.Softmax()", True),
        ("layers.Activation('softmax')", True),
        ("layers.Dense(3)", False),
        ("layers.Dense(3, activation='sigmoid')", False),
        ("Sequential([keras.Input((3,)), keras.layers.Dense(3), keras.layers.Softmax()])", True),
    ],
)
def test_the_loss_is_of_logits_unless_the_model_ends_in_a_softmax(keras: Any, last: str, expected: bool) -> None:
    layer = eval(f"keras.{last}", {"keras": keras})  # noqa: S307
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3), layer])
    assert (output_activation(model) == "softmax") is expected
    compile_for_training(keras, model, DATA)
    assert model.loss.from_logits is not expected


def test_a_softmax_operation_counts_too(keras: Any) -> None:
    inputs = keras.Input((3,))
    assert output_activation(keras.Model(inputs, keras.ops.softmax(keras.layers.Dense(3)(inputs)))) == "softmax"


def test_a_compiled_model_keeps_its_loss_and_optimizer(keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    optimizer, loss = keras.optimizers.SGD(0.5), keras.losses.MeanSquaredError()
    model.compile(optimizer=optimizer, loss=loss)
    compile_for_training(keras, model, DATA)
    assert (model.optimizer, model.loss) == (optimizer, loss)


@pytest.mark.parametrize(("activation", "fits"), [("sigmoid", True), (None, False)])
def test_two_classes_may_be_one_probability(
    keras: Any, project_dir: Path, write_builder: WriteBuilder, activation: str | None, fits: bool
) -> None:
    write_builder(GOOD.replace("Dense(3)", f"Dense(1, activation={activation!r})"))
    binary = DATA.model_copy(update={"classes": 2})
    if not fits:
        with pytest.raises(ModelError, match=r"expected outputs of shape \(2,\)") as caught:
            build(keras, project_dir, binary)
        assert "sigmoid" in str(caught.value.hint)
        return
    model = build(keras, project_dir, binary)
    compile_for_training(keras, model, binary)
    assert model.loss.name == "binary_crossentropy"
    x, y = np.random.default_rng(0).normal(size=(32, 6, 6, 1)), np.arange(32) % 2
    history = model.fit(x, y, verbose=0).history
    assert 0 <= history["accuracy"][0] <= 1


def test_a_compiled_model_keeps_its_metrics_beside_the_accuracy(keras: Any) -> None:
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    model.compile(optimizer="sgd", loss=loss, metrics=["accuracy", top2])
    compile_for_training(keras, model, DATA)
    x, y = np.random.default_rng(0).normal(size=(32, 6, 6, 1)), np.arange(32) % 3
    history = model.fit(x, y, verbose=0).history
    assert sorted(history) == ["accuracy", "loss", "top2"]
    assert history["top2"][0] >= history["accuracy"][0]


def test_another_task_is_trained_as_its_builder_compiled_it(keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    compile_for_training(keras, model, REGRESSION)
    history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0).history
    assert sorted(history) == ["loss", "mae"]


SEVERAL = DATA.model_copy(
    update={
        "task": "other", "classes": None, "input_shape": {"image": (6, 6, 1), "tokens": (4,)},
        "targets": ("value", "kind"),
    }
)  # fmt: skip
TWO = """
image, tokens = keras.Input((6, 6, 1), name="image"), keras.Input((4,), dtype="int32", name="tokens")
x = [keras.layers.Flatten()(image), keras.layers.Flatten()(keras.layers.Embedding(9, 2)(tokens))]
x = keras.layers.Concatenate()(x)
kind, value = keras.layers.Dense(3, name="kind")(x), keras.layers.Dense(1, name="value")(x)
model = keras.Model([tokens, image], [kind, value])
crossentropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss={"kind": crossentropy, "value": "mse"}, loss_weights={"kind": 2.0, "value": 0.5})
return model
"""


def _two_samples(count: int = 32) -> tuple[dict[str, Any], dict[str, Any]]:
    random = np.random.default_rng(0)
    x = {
        "image": random.normal(size=(count, 6, 6, 1)).astype(np.float32),
        "tokens": random.integers(0, 9, (count, 4)).astype(np.float32),
    }
    return x, {"value": x["image"].mean((1, 2)), "kind": x["tokens"][:, 0].astype(np.int64) % 3}


def test_several_inputs_and_outputs_are_trained_by_their_names(
    keras: Any, project_dir: Path, write_builder: WriteBuilder
) -> None:
    write_builder(TWO)
    model = build(keras, project_dir, SEVERAL)
    compile_for_training(keras, model, SEVERAL)
    x, y = _two_samples()
    first, last = (model.evaluate(x, y, return_dict=True, verbose=0) for _ in (0, model.fit(x, y, epochs=3, verbose=0)))
    assert first["loss"] == pytest.approx(2 * first["kind_loss"] + 0.5 * first["value_loss"], rel=1e-5)
    rebuilt = as_float32(keras, model, x)
    for given, expected in zip(rebuilt(x), model(x), strict=True):
        np.testing.assert_array_equal(given, expected)
    assert last["loss"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_shape": {"image": (6, 6, 1), "ids": (4,)}}, "inputs of the model are `tokens`, `image`; the data have "
         "`image`, `ids` in x"),
        ({"input_shape": {"image": (6, 5, 1), "tokens": (4,)}}, r"input `image` takes samples of shape \(6, 6, 1\); .*"
         r"\(6, 5, 1\)"),
        ({"input_shape": {"0": (6, 6, 1), "1": (4,)}}, r"input `tokens` takes samples of shape \(4,\)"),
        ({"targets": ()}, "outputs of the model are `kind`, `value`; the data have one array without a name in y"),
        ({"targets": ("kind",)}, "the data have `kind` in y"),
        ({"task": "classification", "classes": 3}, "expected a model with one output"),
    ],
)  # fmt: skip
def test_data_for_other_inputs_or_outputs_are_refused(
    keras: Any, project_dir: Path, write_builder: WriteBuilder, changes: dict[str, Any], message: str
) -> None:
    write_builder(TWO)
    with pytest.raises(ModelError, match=message):
        build(keras, project_dir, SEVERAL.model_copy(update=changes))


def test_samples_by_name_need_inputs_with_names(keras: Any, project_dir: Path, write_builder: WriteBuilder) -> None:
    write_builder(
        "a, b = keras.Input((6,)), keras.Input((6,))\nreturn keras.Model([a, b], keras.layers.Dense(1)(a + b))"
    )
    names = {f"input_layer{suffix}": (6,) for suffix in ("", "_1")}
    with pytest.raises(ModelError, match="expected inputs with names of your own"):
        build(keras, project_dir, REGRESSION.model_copy(update={"input_shape": names}))
    assert build(keras, project_dir, REGRESSION.model_copy(update={"input_shape": {"0": (6,), "1": (6,)}}))


def test_another_task_needs_a_compiled_model(keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    with pytest.raises(ModelError, match="expected a compiled model"):
        compile_for_training(keras, model, REGRESSION)


# --- files -----------------------------------------------------------------------------------------------------


def small(keras: Any, *layers: Any) -> Any:
    return keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3)])


def test_equal_models_give_equal_bytes_that_load_again(keras: Any, tmp_path: Path) -> None:
    for name in ("a.keras", "b.keras"):
        write_keras_file(small(fresh_keras(0, needed_by="a test"), keras.layers.Dense(5)), tmp_path / name)
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    model = small(fresh_keras(0, needed_by="a test"), keras.layers.Dense(5))
    x = np.ones((2, 4), np.float32)
    loaded = read_keras_file(keras, tmp_path / "a.keras", tmp_path)
    np.testing.assert_array_equal(loaded(x), model(x))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3000] ^= 0xFF  # inside the weights, far from the zip directory at the end
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "no such file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n"), r"expected a \.keras file"),
        (_truncated, r"expected a \.keras file"),
        (_flipped, "the file is damaged"),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    keras: Any, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / "model.keras"
    write_keras_file(small(keras), path)
    damage(path)
    with pytest.raises(ModelError, match=message):
        read_keras_file(keras, path, tmp_path)


def run_load(
    make_context: MakeContext, path: Path, sha256: str | None = None, shape: tuple[int, ...] = (4,), **section: Any
) -> StageContext:
    options = {"model": {"path": path.name, **section}, "sha256": sha256 or sha256_of_file(path)}
    description = path.with_name("data.json")
    description.write_text(DATA.model_copy(update={"input_shape": shape}).model_dump_json())
    context = make_context(options, {"data": {"data.json": description}}, name=f"load-{path.name}")
    load(context)
    return context


def reread(make_context: MakeContext, context: StageContext) -> Any:
    files = {"model": {"model.keras": context.output_dir / "model.keras"}}
    return read_model(make_context(context.options, files, name="later"))


def test_a_model_of_mixed_precision_comes_out_in_float32(
    keras: Any, make_context: MakeContext, project_dir: Path
) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small(keras, keras.layers.Dense(16, activation="relu"), keras.layers.BatchNormalization())
    keras.config.set_dtype_policy("float32")
    model.save(project_dir / "mixed.keras")
    loaded = reread(make_context, run_load(make_context, project_dir / "mixed.keras"))
    assert {layer.compute_dtype for layer in loaded._flatten_layers()} == {"float32"}
    for given, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(given, expected)


def test_code_in_a_file_runs_only_where_it_is_allowed(keras: Any, make_context: MakeContext, project_dir: Path) -> None:
    small(keras, keras.layers.Lambda(lambda x: 2 * x)).save(project_dir / "code.keras")
    with pytest.raises(ModelError, match="carries Python code in a Lambda layer") as caught:
        run_load(make_context, project_dir / "code.keras")
    assert "allow_code = true" in str(caught.value.hint)
    context = run_load(make_context, project_dir / "code.keras", allow_code=True)
    x = np.ones((1, 4), np.float32)
    original = read_keras_file(keras, project_dir / "code.keras", project_dir, allow_code=True)
    np.testing.assert_array_equal(reread(make_context, context)(x), original(x))


CUSTOM = """
import keras

class Scale(keras.layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
"""


def test_a_custom_layer_of_the_project_is_found(keras: Any, make_context: MakeContext, project_dir: Path) -> None:
    (project_dir / "my_layers.py").write_text(CUSTOM)
    scale = load_entry_point("my_layers:Scale", project_dir)(3.0)
    model = small(keras, scale)
    model.save(project_dir / "custom.keras")
    x = np.ones((1, 4), np.float32)
    expected = np.asarray(model(x))
    loaded = reread(make_context, run_load(make_context, project_dir / "custom.keras"))
    np.testing.assert_array_equal(loaded(x), expected)


def test_a_custom_layer_that_is_nowhere_is_named(keras: Any, make_context: MakeContext, project_dir: Path) -> None:
    (project_dir / "my_layers.py").write_text(CUSTOM)
    small(keras, load_entry_point("my_layers:Scale", project_dir)(3.0)).save(project_dir / "custom.keras")
    (project_dir / "my_layers.py").unlink()
    with pytest.raises(ModelError, match=r"custom\.keras: no module of the project defines my_layers\.Scale"):
        run_load(make_context, project_dir / "custom.keras")


def test_a_file_that_changed_under_way_is_refused(keras: Any, make_context: MakeContext, project_dir: Path) -> None:
    small(keras).save(project_dir / "model.keras")
    with pytest.raises(ModelError, match="changed while it was being compiled"):
        run_load(make_context, project_dir / "model.keras", sha256="0" * 64)


def test_a_file_that_does_not_fit_the_data_is_refused(keras: Any, make_context: MakeContext, project_dir: Path) -> None:
    small(keras).save(project_dir / "model.keras")
    with pytest.raises(ModelError, match=r"the model takes samples of shape \(4,\); the data have \(5,\)"):
        run_load(make_context, project_dir / "model.keras", shape=(5,))
