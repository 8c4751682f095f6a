from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from edgecc.compiler.frontend.distill import distill, teach
from edgecc.compiler.frontend.distillation import Lesson, answers_of, taught
from edgecc.compiler.frontend.keras_file import read_keras_file
from edgecc.compiler.frontend.train import train
from edgecc.compiler.frontend.views import draw_view
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import ModelError, UserCodeError

MODELS = """
import keras
import numpy as np

def teacher(hp):
    return keras.Sequential([
        keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(3)
    ])

def student(hp):
    width = hp.Int("width", 1, 8, default=2)
    return keras.Sequential([
        keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(width, activation="relu"),
        keras.layers.Dense(3, activation="softmax"),
    ])

def four(hp):
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])

def flipped(x, generator):
    chosen = generator.random(len(x)) < 0.5
    x[chosen] = x[chosen][:, :, ::-1]
    return x

def cropped(x, generator):
    return x[:, 1:]

def damaged(x, generator):
    return x / 0
"""
TRAIN = {
    "epochs": 4, "batch_size": 32, "precision": "float32", "learning_rate": {"schedule": "cosine", "initial": 0.02}
}  # fmt: skip


def _mean_loss(labels: Any, teacher: Any, student: Any, temperature: float, alpha: float) -> float:
    """The paper's loss by scipy, from logits."""
    own = -log_softmax(student, axis=1)[np.arange(len(labels)), labels]
    soft = softmax(teacher / temperature, axis=1)
    soft_loss = (soft * (log_softmax(teacher / temperature, axis=1) - log_softmax(student / temperature, axis=1))).sum(
        axis=1
    )
    return float(np.mean(alpha * own + (1 - alpha) * temperature**2 * soft_loss))


@pytest.mark.tf
@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_the_loss_is_the_papers(activation: str | None, alpha: float) -> None:
    keras = fresh_keras(0, needed_by="a test")
    student = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation=activation)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None)
    student.compile(optimizer="adam", loss=loss)
    generator = np.random.default_rng(1)
    x, labels = generator.normal(size=(16, 5)).astype("float32"), generator.integers(0, 4, 16)
    answers = 3 * generator.normal(size=(16, 4)).astype("float32")

    model = taught(keras, student, Lesson(3.0, alpha, classes=True), metrics=[])
    outputs = model(x)
    given = model.compute_loss(x, {"labels": labels, "answers": [answers]}, outputs, training=True)

    logits = np.log(outputs) if activation else np.asarray(outputs)
    assert float(given) == pytest.approx(_mean_loss(labels, answers, logits, 3.0, alpha), rel=1e-4)


@pytest.mark.tf
def test_penalties_are_counted_once_and_validation_sees_the_labels_alone() -> None:
    keras = fresh_keras(0, needed_by="a test")
    student = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, kernel_regularizer="l2")])
    student.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, labels = np.ones((2, 5), "float32"), np.array([0, 1])
    model = taught(keras, student, Lesson(1.0, 0.5, classes=True), metrics=[])
    outputs = model(x)
    answers = [np.asarray(outputs)]  # a teacher who agrees: what is left is half of the student's own loss

    own = float(student.loss(labels, outputs))
    penalty = float(sum(student.losses))
    given = float(model.compute_loss(x, {"labels": labels, "answers": answers}, outputs, training=True))

    assert given == pytest.approx(0.5 * own + penalty, rel=1e-5)
    assert float(model.compute_loss(x, labels, outputs, training=False)) == pytest.approx(own + penalty, rel=1e-5)


@pytest.mark.tf
def test_a_sigmoid_answers_with_the_logits_of_two_classes() -> None:
    keras = fresh_keras(0, needed_by="a test")
    teacher = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, activation="sigmoid")])
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")

    (answers,) = answers_of(keras, teacher, x, classes=True)

    probability = teacher.predict(x, verbose=0)[:, 0]
    np.testing.assert_allclose(softmax(answers, axis=1)[:, 1], probability, rtol=1e-5)


@pytest.mark.tf
def test_other_outputs_are_compared_by_their_squared_error() -> None:
    keras = fresh_keras(0, needed_by="a test")
    student = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    student.compile(optimizer="adam", loss="mse")
    x = np.ones((4, 3), "float32")
    model = taught(keras, student, Lesson(4.0, 0.0, classes=False), metrics=[])
    outputs = np.asarray(model(x))

    given = model.compute_loss(x, {"labels": outputs, "answers": [outputs + 2]}, model(x), training=True)

    assert float(given) == pytest.approx(4.0, rel=1e-5)


def test_a_view_is_drawn_from_the_seed_and_its_number_and_the_samples_stay_as_they_are() -> None:
    x = np.arange(24, dtype=np.float32).reshape(4, 6)

    def noisy(samples: Any, generator: Any) -> Any:
        samples += generator.normal(size=samples.shape)
        return samples.astype(np.float64)

    first, again, other = (draw_view(x, noisy, 3, index, spec="m:noisy") for index in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert isinstance(first, np.ndarray)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(x, np.arange(24).reshape(4, 6))


@pytest.mark.parametrize(
    ("augment", "got"),
    [
        (lambda x, _generator: x[:, :3], r"\(4, 6\); got \(4, 3\)$"),
        (lambda x, _generator: None, r"\(4, 6\); got None$"),
        (lambda x, _generator: {"a": x, "b": x}, r"\(4, 6\); got `a` \(4, 6\), `b` \(4, 6\)$"),
    ],
)
def test_another_shape_than_the_samples_is_told_as_the_user_knows_it(augment: Any, got: str) -> None:
    with pytest.raises(UserCodeError, match=f"^m:augment: expected as many samples of the same shape, {got}"):
        draw_view(np.zeros((4, 6), np.float32), augment, 0, 0, spec="m:augment")


@pytest.fixture
def run(make_context: Callable[..., StageContext], data_files: dict[str, Path], project_dir: Path) -> Any:
    """Train a teacher, let it answer, and distil: gives the context of the distill stage and its metrics."""
    (project_dir / "models.py").write_text(MODELS)

    def files(context: StageContext) -> dict[str, Path]:
        return {path.name: path for path in context.output_dir.iterdir()}

    def teacher() -> dict[str, Path]:
        context = make_context({"model": {"builder": "models:teacher"}, "train": TRAIN}, {"data": data_files}, "train")
        train(context)
        return files(context)

    def run(name: str = "distill", teaches: str = "models:teacher", **options: Any) -> tuple[StageContext, Any]:
        section = {"student": "models:student", "temperature": 2.0, "alpha": 0.1, "views": 1, **options}
        inputs: dict[str, Any] = {"data": data_files}
        if section["alpha"] < 1:
            asked = {"model": {"builder": teaches}, "augment": section.get("augment"), "views": section["views"]}
            context = make_context(asked, {"data": data_files, "model": teacher()}, f"{name}-teach")
            teach(context)
            inputs["teacher"] = files(context)
        model = {"builder": section["student"], "hp": section.get("hp", {})}
        context = make_context({"model": model, "train": TRAIN, "distill": section}, inputs, name)
        return context, distill(context)

    return run


@pytest.mark.tf
def test_the_student_is_made_again_to_the_byte(run: Any) -> None:
    options = {"augment": "models:flipped", "views": 2, "hp": {"width": 8}}
    first, metrics = run("first", **options)
    second, _ = run("second", **options)

    assert metrics["epochs"] == TRAIN["epochs"]
    assert metrics["parameters"] == 36 * 8 + 8 + 8 * 3 + 3
    assert metrics["validation_accuracy"] > 0.8
    for name in ("model.keras", "history.json"):
        assert (first.output_dir / name).read_bytes() == (second.output_dir / name).read_bytes()


@pytest.mark.tf
def test_without_a_teacher_the_student_takes_as_many_steps(run: Any, project_dir: Path) -> None:
    alone, metrics = run("alone", alpha=1.0)
    with_teacher, taught_metrics = run("taught", alpha=0.0)

    assert metrics["steps"] == taught_metrics["steps"]
    keras = fresh_keras(0, needed_by="a test")
    kernels = [
        read_keras_file(keras, context.output_dir / "model.keras", project_dir).get_weights()[0]
        for context in (alone, with_teacher)
    ]
    assert not np.allclose(*kernels)


@pytest.mark.tf
def test_a_student_that_answers_another_question_is_refused(run: Any) -> None:
    with pytest.raises(ModelError, match=r"models:four: expected outputs of shape \(3,\), one a class"):
        run(student="models:four")


@pytest.mark.tf
@pytest.mark.parametrize(
    ("augment", "said"),
    [("cropped", "expected as many samples of the same shape"), ("damaged", "got NaN or infinity")],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_samples_that_augment_spoils_are_refused(run: Any, augment: str, said: str) -> None:
    with pytest.raises(UserCodeError, match=said):
        run(augment=f"models:{augment}", views=1)


@pytest.mark.tf
def test_a_hyperparameter_that_the_student_does_not_ask_for_is_named(run: Any) -> None:
    with pytest.raises(ModelError, match=r"^distill\.hp\.widht"):
        run(hp={"widht": 3})
