from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecc.compiler.frontend import data as data_stage
from edgecc.compiler.frontend.data import prepare, read_description, read_samples
from edgecc.compiler.pipeline.stage import StageContext
from edgecc.errors import DataError, UserCodeError
from edgecc.files import sha256_of_file

MakeContext = Callable[..., StageContext]


def split(samples: int, seed: int, classes: int = 3) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    x = np.random.default_rng(seed).normal(size=(samples, 4)).astype(np.float32)
    return x, np.arange(samples) % classes


def good() -> dict[str, Any]:
    return {"train": split(30, 1), "validation": split(12, 2), "test": split(9, 3)}


@pytest.fixture
def run(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StageContext]:
    """Run the data stage on what a loader would have returned."""

    def run(loaded: Any, name: str = "data", seed: int = 0, **options: Any) -> StageContext:
        monkeypatch.setattr(data_stage, "load_data", lambda *_: loaded)
        section = {"loader": "my_data:load", "representative_samples": 10, **options}
        context = make_context({"data": section, "files": {}}, name=name, seed=seed)
        object.__setattr__(context, "metrics", prepare(context))
        return context

    return run


def test_everything_is_written_and_described(run: Callable[..., StageContext]) -> None:
    loaded = good() | {"labels": ["a", "b", "c"]}
    context = run(loaded)
    output = context.output_dir
    assert sorted(path.name for path in output.iterdir()) == [
        "data.json", "evaluation.npz", "representative.npz", "train.npz", "validation.npz",
    ]  # fmt: skip
    x, y = read_samples(output / "evaluation.npz")
    np.testing.assert_array_equal(x, loaded["test"][0])
    np.testing.assert_array_equal(y, loaded["test"][1])
    description = read_description(output / "data.json")
    assert (description.task, description.classes, description.labels) == ("classification", 3, ("a", "b", "c"))
    assert description.input_shape == (4,)
    assert context.metrics["splits"]["test"] == {
        "samples": 9,
        "samples_by_class": [3, 3, 3],
        "sha256": sha256_of_file(output / "evaluation.npz"),
    }


def test_another_test_set_changes_no_file_that_training_reads(run: Callable[..., StageContext]) -> None:
    first = run(good(), "first").output_dir
    second = run({**good(), "test": split(6, 9)}, "second").output_dir
    changed = {path.name for path in first.iterdir() if path.read_bytes() != (second / path.name).read_bytes()}
    assert changed == {"evaluation.npz"}


def test_two_runs_write_the_same_bytes(run: Callable[..., StageContext]) -> None:
    first, second = run(good(), "first").output_dir, run(good(), "second").output_dir
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_representative_samples_are_drawn_from_training_by_seed(run: Callable[..., StageContext]) -> None:
    drawn = [np.load(run(good(), f"seed{seed}", seed=seed).output_dir / "representative.npz")["x"] for seed in (0, 1)]
    train = {row.tobytes() for row in good()["train"][0]}
    assert all({row.tobytes() for row in x} <= train and len(x) == 10 for x in drawn)
    assert not np.array_equal(*drawn)


def test_too_few_samples_to_calibrate_on_are_not_made_fewer(run: Callable[..., StageContext]) -> None:
    with pytest.raises(DataError, match="expected 31 training samples to calibrate on; there are 30") as caught:
        run(good(), representative_samples=31)
    assert caught.value.hint == "set `representative_samples = 30` under [data]"


def test_a_representative_set_of_the_loader_is_taken_as_it_is(run: Callable[..., StageContext]) -> None:
    own = split(7, 9)[0]
    output = run(good() | {"representative": own}).output_dir
    np.testing.assert_array_equal(np.load(output / "representative.npz")["x"], own)


def test_calibrating_on_test_samples_is_refused(run: Callable[..., StageContext]) -> None:
    loaded = good()
    loaded["representative"] = np.concatenate([split(5, 9)[0], loaded["test"][0][:2]])
    with pytest.raises(DataError, match="representative: 2 of 7 samples are in the test set too"):
        run(loaded)


def test_drawing_avoids_test_samples_even_where_overlap_is_allowed(run: Callable[..., StageContext]) -> None:
    loaded = good()
    x, y = loaded["train"]
    loaded["train"] = np.concatenate([loaded["test"][0], x]), np.concatenate([loaded["test"][1], y])
    output = run(loaded, allow_overlap=True, representative_samples=30).output_dir
    drawn = {row.tobytes() for row in np.load(output / "representative.npz")["x"]}
    assert drawn == {row.tobytes() for row in x}
    with pytest.raises(DataError, match="there are 30"):
        run(loaded, "again", allow_overlap=True, representative_samples=31)


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_conversion_to_float32_is_told(run: Callable[..., StageContext], dtype: str) -> None:
    loaded = good()
    loaded["train"] = (np.arange(120).reshape(30, 4).astype(dtype), loaded["train"][1])
    context = run(loaded)
    x, _ = read_samples(context.output_dir / "train.npz")
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, np.arange(120).reshape(30, 4))
    assert context.progress.notes == [  # type: ignore[attr-defined]
        f"data: train came as {dtype} and was converted to float32 (not rescaled)"
    ]


def test_other_labels_make_another_task(run: Callable[..., StageContext]) -> None:
    loaded = {name: (x, np.stack([y, y * 0.5], axis=1)) for name, (x, y) in good().items()}
    output = run(loaded).output_dir
    document = json.loads((output / "data.json").read_text())
    assert (document["task"], document["classes"]) == ("other", None)
    np.testing.assert_array_equal(read_samples(output / "train.npz")[1], loaded["train"][1])


def several(samples: int, seed: int, *, as_tuple: bool = False) -> Any:
    """Two inputs, two kinds of labels."""
    x, y = split(samples, seed)
    tokens = np.arange(samples * 3).reshape(samples, 3) + 1000 * seed
    if as_tuple:
        return (x, tokens), (y, x.sum(axis=1))
    return {"image": x, "tokens": tokens}, {"kind": y, "value": x.sum(axis=1)}


def all_several(**options: Any) -> dict[str, Any]:
    return {name: several(30 - seed, seed, **options) for seed, name in enumerate(("train", "validation", "test"))}


def test_several_inputs_and_outputs_are_written_by_name(run: Callable[..., StageContext]) -> None:
    loaded = all_several()
    x, y = loaded["test"]
    loaded["test"] = dict(reversed(x.items())), y  # the order of the training set is everyone's
    context = run(loaded)
    output = context.output_dir
    with np.load(output / "train.npz") as members:
        assert members.files == ["x.image", "x.tokens", "y.kind", "y.value"]
        assert {members[name].dtype.name for name in members.files[:2]} == {"float32"}
    written_x, written_y = read_samples(output / "evaluation.npz")
    assert isinstance(written_x, dict)
    assert isinstance(written_y, dict)
    assert list(written_x) == ["image", "tokens"]
    np.testing.assert_array_equal(written_x["tokens"], x["tokens"])
    np.testing.assert_array_equal(written_y["value"], y["value"])
    description = read_description(output / "data.json")
    assert description.input_shape == {"image": (4,), "tokens": (3,)}
    assert (description.task, description.targets) == ("other", ("kind", "value"))
    with np.load(output / "representative.npz") as members:
        assert {name: members[name].shape for name in members.files} == {"x.image": (10, 4), "x.tokens": (10, 3)}
    assert context.metrics["splits"]["validation"]["samples"] == 29  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_inputs_in_order_are_written_by_position(run: Callable[..., StageContext], kind: type) -> None:
    loaded = {name: (kind(x), kind(y)) for name, (x, y) in all_several(as_tuple=True).items()}
    output = run(loaded).output_dir
    with np.load(output / "validation.npz") as members:
        assert members.files == ["x.0", "x.1", "y.0", "y.1"]
    assert read_description(output / "data.json").input_shape == {"0": (4,), "1": (3,)}


def test_a_list_of_samples_is_one_array(run: Callable[..., StageContext]) -> None:
    loaded = {name: (list(x), list(y)) for name, (x, y) in good().items()}
    output = run(loaded).output_dir
    np.testing.assert_array_equal(read_samples(output / "train.npz")[0], good()["train"][0])


def test_several_inputs_with_one_array_of_classes_are_a_classification(run: Callable[..., StageContext]) -> None:
    loaded = {name: (x, y["kind"]) for name, (x, y) in all_several().items()}
    assert read_description(run(loaded).output_dir / "data.json").classes == 3


def test_samples_are_the_same_where_all_their_inputs_are(run: Callable[..., StageContext]) -> None:
    loaded = all_several()
    loaded["train"][0]["image"][:3] = loaded["test"][0]["image"][:3]
    assert run(loaded).metrics["overlap"]["train"] == 0  # type: ignore[attr-defined]
    loaded["train"][0]["tokens"][2] = loaded["test"][0]["tokens"][2]
    with pytest.raises(DataError, match=r"1 samples of train are in the test set too, .*train\[2\] = test\[2\]"):
        run(loaded, "again")


def test_an_autoencoder_may_be_scored_on_labels_it_is_not_trained_on(run: Callable[..., StageContext]) -> None:
    loaded = {name: (x, x) for name, (x, _) in good().items()}
    loaded["test"] = (good()["test"][0], np.array([0, 1, 0] * 3))
    output = run(loaded).output_dir
    assert read_description(output / "data.json").task == "other"
    assert read_samples(output / "evaluation.npz")[1].tolist() == [0, 1, 0] * 3  # type: ignore[union-attr]
    with np.load(output / "evaluation.npz") as members:
        assert members["task"] == "other"
    with np.load(run(good(), "classes").output_dir / "evaluation.npz") as members:
        assert members.files == ["x", "y"]


def _several_with(change: Callable[[Any, Any], Any], name: str = "test") -> dict[str, Any]:
    loaded = all_several()
    loaded[name] = change(*loaded[name])
    return loaded


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (_several_with(lambda x, y: ({"image": x["image"], "ids": x["tokens"]}, y)),
         "test: expected x to be `image`, `tokens`, as in train; got `image`, `ids`"),
        (_several_with(lambda x, y: (x["image"], y)), "as in train; got one array without a name"),
        (_several_with(lambda x, y: ((x["image"], x["tokens"]), y)), "got 2 arrays without names"),
        (_several_with(lambda x, y: (x | {"tokens": x["tokens"][:, :2]}, y)),
         r"test: expected x\['tokens'\] of shape \(3,\) .*; got \(2,\)"),
        (_several_with(lambda x, y: (x | {"tokens": x["tokens"][1:]}, y)),
         r"as many samples in every input; got 28 in x\['image'\], 27 in x\['tokens'\]"),
        (_several_with(lambda x, y: (x | {"tokens": x["tokens"] * np.nan}, y)),
         r"test: expected finite numbers in x\['tokens'\]; 28 of 28"),
        (_several_with(lambda x, y: ({}, y)), "test: expected samples; x is empty"),
        (_several_with(lambda x, y: (x, {"kind": y["kind"]}), "validation"),
         "validation: expected y to be `kind`, `value`, as in train; got `kind`"),
        (_several_with(lambda x, y: (x, y | {"value": y["value"][1:]})), r"28 samples and 27 in y\['value'\]"),
        (all_several() | {"representative": split(5, 9)[0]}, "representative: expected x to be `image`, `tokens`"),
    ],
)  # fmt: skip
def test_several_inputs_that_do_not_fit_are_refused(
    run: Callable[..., StageContext], loaded: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(loaded)


def test_two_values_of_truth_are_two_classes(run: Callable[..., StageContext]) -> None:
    loaded = {name: (x, y == 1) for name, (x, y) in good().items()}
    assert read_description(run(loaded).output_dir / "data.json").classes == 2


def _with(name: str, change: Callable[[Any, Any], Any]) -> dict[str, Any]:
    loaded = good()
    loaded[name] = change(*loaded[name])
    return loaded


def _without_finite(x: Any, y: Any) -> Any:
    x = x.copy()
    x[4, 1], x[7, 0], x[7, 2] = np.nan, np.inf, np.nan
    return x, y


def _shared() -> dict[str, Any]:
    loaded = good()
    loaded["train"][0][[5, 8]] = loaded["test"][0][[2, 0]]
    return loaded


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ([1, 2], "expected the loader to return a mapping of splits; got list"),
        ({"train": split(9, 1), "test": split(9, 2)}, 'expected the splits .*; got "train", "test"'),
        (good() | {"extra": 1}, 'got "train", "validation", "test", "extra"'),
        (good() | {"test": 3}, r"test: expected a pair \(x, y\) or a tf.data.Dataset; got int"),
        (_with("test", lambda x, y: (x, y[:-1])), "test: expected as many labels as samples; got 9 samples and 8 in y"),
        (_with("train", lambda x, y: (x[:0], y[:0])), r"train: expected samples; x is empty, shape \(0, 4\)"),
        (_with("validation", _without_finite), "2 of 12 samples have NaN or infinity, the first at index 4"),
        (_with("train", lambda x, y: (x.astype(np.float64) * 1e300, y)), "train: expected finite numbers in x"),
        (_with("train", lambda x, y: (x, np.where(y == 1, np.nan, y))), "train: expected finite numbers in y"),
        (_with("test", lambda x, y: (x[:, :3], y)), r"test: expected x of shape \(4,\) a sample, .*; got \(3,\)"),
        (_with("train", lambda x, y: (x.astype(str), y)), "train: expected x to hold real numbers; got dtype <U"),
        (_with("train", lambda x, y: ([[1, 2], [3]], y)), "train: expected x to be one array; its rows"),
        (_with("train", lambda x, y: (x[:, 0], y)), r"train: expected x of shape \(samples, ...\); got shape \(30,\)"),
        (_with("train", lambda x, y: (x, 0 * y)), r"validation: expected classes 0 to 0 .*; got 1, 2"),
        (_with("test", lambda x, y: (x, y + 1)), r"test: expected classes 0 to 2 \(that is what the training.*got 3"),
        (_with("test", lambda x, y: (x, y - 1)), "test: expected classes 0 to 2 .*; got -1"),
        (_with("train", lambda x, y: (x, y * 2)), "expected samples of all the classes 0 to 4; none of 1, 3"),
        (good() | {"labels": ["a", "b"]}, r"train: expected classes 0 to 1 \(the loader names that many.*got 2"),
        (good() | {"labels": ["a", "b", "c", "d"]}, "none of 3"),
        (_with("test", lambda x, y: (x, y.astype(float))), "test: expected integer classes in y, .*got dtype float64"),
        (_shared(), r"2 samples of train are in the test set too, the first train\[5\] = test\[2\]"),
        (good() | {"representative": np.zeros((3, 5))}, r"representative: expected x of shape \(4,\) .*got \(5,\)"),
    ],
)  # fmt: skip
def test_data_that_would_lie_are_refused(run: Callable[..., StageContext], loaded: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(loaded)


def test_labels_in_the_wrong_shape_are_explained(run: Callable[..., StageContext]) -> None:
    with pytest.raises(DataError, match="got one-hot labels") as caught:
        run({name: (x, np.eye(3)[y]) for name, (x, y) in good().items()})
    assert caught.value.hint == "y.argmax(axis=1)"
    with pytest.raises(DataError, match=r"expected classes of shape \(samples,\); got \(30, 1\)"):
        run({name: (x, y[:, np.newaxis]) for name, (x, y) in good().items()})


def test_all_of_one_class_is_refused(run: Callable[..., StageContext]) -> None:
    with pytest.raises(DataError, match="every sample is of class 0"):
        run({name: (x, 0 * y) for name, (x, y) in good().items()})


def test_overlap_can_be_allowed_and_is_counted(run: Callable[..., StageContext]) -> None:
    context = run(_shared(), allow_overlap=True)
    assert context.metrics["overlap"] == {"train": 2, "validation": 0}  # type: ignore[attr-defined]


def test_a_built_in_loader_is_found_by_name(make_context: MakeContext) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: edgecc[datasets] brings it")
    context = make_context({"data": {"loader": "edgecc:digits"}})
    prepare(context)
    assert read_description(context.output_dir / "data.json").input_shape == (8, 8, 1)


def test_a_misspelt_built_in_loader_gets_the_nearest_name(make_context: MakeContext) -> None:
    with pytest.raises(UserCodeError, match="expected one of edgecc:digits") as caught:
        prepare(make_context({"data": {"loader": "edgecc:digit"}}))
    assert caught.value.hint == "did you mean `edgecc:digits`?"


def test_a_loader_of_the_project_is_called(data_files: dict[str, Path]) -> None:
    assert read_description(data_files["data.json"]).input_shape == (6, 6, 1)


def test_a_loader_that_shuffles_gives_the_same_splits_each_time(make_context: MakeContext, project_dir: Path) -> None:
    (project_dir / "my_data.py").write_text(
        "import random\nimport numpy as np\n"
        "def split(n):\n    return np.random.rand(n, 4) + random.random(), np.arange(n) % 2\n"
        "def load():\n    return {'train': split(30), 'validation': split(8), 'test': split(8)}\n"
    )
    options = {"data": {"loader": "my_data:load", "representative_samples": 5}}
    first, second, other = (
        make_context(options, name=name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    digests = []
    for context in (first, second, other):
        prepare(context)
        digests.append(sha256_of_file(context.output_dir / "train.npz"))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.tf
@pytest.mark.parametrize("batch", [None, 7])
def test_a_tensorflow_data_set_gives_the_same_as_arrays(run: Callable[..., StageContext], batch: int | None) -> None:
    import tensorflow as tf

    datasets: dict[str, Any] = {}
    for name, arrays in good().items():
        dataset = tf.data.Dataset.from_tensor_slices(arrays)
        datasets[name] = dataset if batch is None else dataset.batch(batch)
    from_datasets, from_arrays = run(datasets, "a").output_dir, run(good(), "b").output_dir
    for path in from_arrays.iterdir():
        assert path.read_bytes() == (from_datasets / path.name).read_bytes()


@pytest.mark.tf
def test_an_endless_data_set_is_refused(run: Callable[..., StageContext]) -> None:
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices(good()["train"]).repeat()
    with pytest.raises(DataError, match=r"expected a finite tf\.data\.Dataset"):
        run(good() | {"train": endless})


@pytest.mark.tf
@pytest.mark.parametrize("as_tuple", [False, True])
@pytest.mark.parametrize("batch", [None, 7])
def test_a_tensorflow_data_set_of_several_inputs_gives_the_same_as_arrays(
    run: Callable[..., StageContext], batch: int | None, as_tuple: bool
) -> None:
    import tensorflow as tf

    loaded = all_several(as_tuple=as_tuple)
    datasets = {name: tf.data.Dataset.from_tensor_slices(arrays) for name, arrays in loaded.items()}
    if batch is not None:
        datasets = {name: dataset.batch(batch) for name, dataset in datasets.items()}
    from_datasets, from_arrays = run(datasets, "a").output_dir, run(loaded, "b").output_dir
    for path in from_arrays.iterdir():
        assert path.read_bytes() == (from_datasets / path.name).read_bytes()


@pytest.mark.tf
def test_batches_that_cannot_be_told_from_samples_are_refused(run: Callable[..., StageContext]) -> None:
    import tensorflow as tf

    images = np.random.default_rng(0).normal(size=(6, 4, 4)).astype(np.float32)
    dataset = tf.data.Dataset.from_tensor_slices((images, images))
    with pytest.raises(DataError, match="batches can be told from single samples; every part of an element begins"):
        run(good() | {"train": dataset})
