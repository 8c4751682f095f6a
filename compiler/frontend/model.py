"""From a builder or a model file to a model that the rest of edgecc can work with."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgecc.compiler.frontend.data import DataDescription, read_description
from edgecc.compiler.frontend.fit import check_fit, check_targets
from edgecc.compiler.frontend.keras_file import read_keras_file, write_keras_file
from edgecc.compiler.frontend.layer_graph import input_names, models_within, output_activation
from edgecc.compiler.frontend.precision import as_float32
from edgecc.compiler.pipeline.stage import Metrics, StageContext
from edgecc.compiler.session import fresh_keras
from edgecc.errors import MissingExtraError, ModelError
from edgecc.files import sha256_of_file
from edgecc.samples import Array, Arrays
from edgecc.training import ModelSection

_UNBUILT_HINT = "begin a Sequential model with keras.Input(shape=...)"
_SUBCLASS_HINT = "write it as keras.Sequential or as a functional model: keras.Model(inputs, outputs)"


def load(context: StageContext) -> Metrics:
    """The load stage: read a trained `.keras` or `.h5` file and write it as float32 `model.keras`.

    Raises:
        ModelError: the file cannot be used; names why.
    """
    section = ModelSection.model_validate(context.options["model"])
    path = context.project_dir / str(section.path)
    keras = fresh_keras(context.seed, needed_by="the load stage")
    model = read_keras_file(keras, path, context.project_dir, allow_code=section.allow_code)
    if sha256_of_file(path) != context.options["sha256"]:
        raise ModelError(f"{path}: the file changed while it was being compiled", hint="run it again")
    check_model(keras, model, str(section.path))
    check_fit(model, read_description(context.inputs["data"]["data.json"]), str(section.path))
    policies = sorted({layer.dtype_policy.name for layer in model._flatten_layers()})
    rebuilt = as_float32(keras, model, _made_up_samples(model, context.seed))
    write_keras_file(rebuilt, context.output_dir / "model.keras")
    return {"parameters": rebuilt.count_params(), "policies_in_file": policies}


def read_model(context: StageContext) -> Any:
    """The Keras model that a later stage was given in the role `model`, uncompiled, in float32.

    Raises:
        ModelError: the file is damaged, or a custom layer's module is gone from the project.
    """
    import keras

    section = ModelSection.model_validate(context.options["model"])
    path = context.inputs["model"]["model.keras"]
    module = None if section.builder is None else section.builder.partition(":")[0]
    return read_keras_file(keras, path, context.project_dir, allow_code=section.allow_code, builder_module=module)


def hyperparameters(values: Mapping[str, Any]) -> Any:
    """Keras Tuner's hyperparameters for one build: these values, and the builder's defaults for the others.

    Raises:
        MissingExtraError: Keras Tuner is not installed.
    """
    try:
        import keras_tuner
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="a builder", library="Keras Tuner", extra="compile") from error
    return Pinned(keras_tuner.HyperParameters(), values)


class Pinned:
    """Keras Tuner's hyperparameters with some of them held fixed: no search varies those."""

    _KINDS = frozenset({"Boolean", "Choice", "Fixed", "Float", "Int"})

    def __init__(self, hp: Any, values: Mapping[str, Any]) -> None:
        self._hp = hp
        self._values = values

    def __getattr__(self, attribute: str) -> Any:
        own = getattr(self._hp, attribute)
        if attribute not in self._KINDS:
            return own

        def ask(name: str, *args: Any, **kwargs: Any) -> Any:
            if name not in self._values:
                return own(name, *args, **kwargs)
            parents = {key: kwargs[key] for key in ("parent_name", "parent_values") if key in kwargs}
            return self._hp.Fixed(name, self._values[name], **parents)

        return ask

    def __getitem__(self, name: str) -> Any:
        return self._hp[name]

    def __contains__(self, name: str) -> bool:
        return name in self._hp


def check_names(fixed: Mapping[str, Any], hp: Any, builder: str, *, key: str = "[model] hp") -> None:
    """Check that the builder asked for every hyperparameter that the project fixes under `key`.

    Raises:
        ModelError: it did not; names the nearest one that it asked for.
    """
    known = [parameter.name for parameter in hp.space]
    for name in fixed:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise ModelError(
                f"{key}.{name}: {builder} has no such hyperparameter; it has {', '.join(known) or 'none'}",
                hint=f"did you mean `{close[0]}`?" if close else None,
            )


def build_model(keras: Any, builder: Callable[..., Any], hp: Any, section: ModelSection, data: DataDescription) -> Any:
    """Call the builder and check what it returns against the data.

    Args:
        keras: the Keras module of `fresh_keras`.
        builder: `callable(hp) -> keras.Model`, from `load_entry_point`.
        hp: hyperparameters, for instance of `hyperparameters()`.
        section: names the builder, and says whether Python code (Lambda layers) may be in the model.
        data: what the model is to fit.

    Raises:
        UserCodeError: the builder raised.
        ModelError: the model is not one that can be compiled, or does not fit the data.
    """
    name = str(section.builder)
    model = builder(hp)
    check_model(keras, model, name)
    if not section.allow_code:
        _refuse_lambdas(keras, model, name)
    check_fit(model, data, name)
    check_targets(model, data, name)
    if not model.trainable_weights:
        raise ModelError(f"{name}: expected a model with weights to train; `{model.name}` has none")
    return model


def check_model(keras: Any, model: Any, source: str) -> None:
    """Check that this is one built Functional or Sequential model.

    Raises:
        ModelError: it is not; `source` says where it came from.
    """
    if not isinstance(model, keras.Model):
        hint = "does the builder end with `return model`?" if model is None else None
        raise ModelError(f"{source}: expected a keras.Model; got {type(model).__name__}", hint=hint)
    for part in models_within(model):
        if type(part).__name__ not in {"Functional", "Sequential"}:
            raise ModelError(
                f"{source}: expected a Functional or Sequential model; `{part.name}` is of the class "
                f"{type(part).__name__}, whose graph of layers nobody can see",
                hint=_SUBCLASS_HINT,
            )
    if not model.built or not getattr(model, "inputs", None):
        raise ModelError(
            f"{source}: expected a built model; `{model.name}` does not know its input", hint=_UNBUILT_HINT
        )
    for kind in ("inputs", "outputs"):
        struct = getattr(model, f"_{kind}_struct", None)
        if any(isinstance(part, list | tuple | dict) for part in _parts(struct)):
            raise ModelError(
                f"{source}: expected {kind} in one list or dict; those of `{model.name}` are nested",
                hint=f"keras.Model takes a flat list or dict of {kind}",
            )


def _parts(struct: Any) -> list[Any]:
    if isinstance(struct, dict):
        return list(struct.values())
    return list(struct) if isinstance(struct, list | tuple) else []


def compile_for_training(keras: Any, model: Any, data: DataDescription) -> None:
    """Give the model what it trains with, in place.

    A model that its builder compiled keeps its loss, optimizer and metrics. Another one gets Adam and the sparse
    categorical cross-entropy, of logits unless it ends in a softmax; one with a single output, which ends in a
    sigmoid, the binary cross-entropy. A classifier also gets the metric `accuracy`.

    Raises:
        ModelError: the task is not classification and the builder did not compile the model.
    """
    metrics = accuracy_metrics(keras, model, data)
    if model.compiled and metrics:
        _add_metrics(keras, model, metrics)
    elif data.task == "classification":
        from_logits = output_activation(model) != "softmax"
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        loss = keras.losses.BinaryCrossentropy() if _has_one_output(model) else cross_entropy
        model.compile(optimizer=keras.optimizers.Adam(), loss=loss, metrics=metrics)
    elif not model.compiled:
        raise ModelError(
            "expected a compiled model: the labels are not classes, so there is no loss to choose for it",
            hint="call `model.compile(optimizer=..., loss=...)` in the builder, or give integer classes",
        )


def _add_metrics(keras: Any, model: Any, metrics: list[Any]) -> None:
    """Compile a classifier again as its builder did, with these metrics in place of its own `accuracy`."""
    own = getattr(model._compile_metrics, "_user_metrics", None)
    kept = [each for each in keras.tree.flatten(own or []) if getattr(each, "name", each) not in ("accuracy", "acc")]
    model.compile(
        optimizer=model.optimizer, loss=model.loss, metrics=[*kept, *metrics], run_eagerly=model.run_eagerly,
    )  # fmt: skip


def accuracy_metrics(keras: Any, model: Any, data: DataDescription) -> list[Any]:
    """The metric `accuracy` of a classifier; nothing for another task."""
    if data.task != "classification":
        return []
    kind = keras.metrics.BinaryAccuracy if _has_one_output(model) else keras.metrics.SparseCategoricalAccuracy
    return [kind(name="accuracy")]


def _has_one_output(model: Any) -> bool:
    return tuple(model.outputs[0].shape[1:]) == (1,)


def _refuse_lambdas(keras: Any, model: Any, source: str) -> None:
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Lambda):
            raise ModelError(
                f"{source}: layer `{layer.name}` is a Lambda: its Python code would be stored in model files",
                hint="write a layer class, use keras.ops, or set `allow_code = true` under [model]",
            )


def _made_up_samples(model: Any, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    # A file's inputs have the names of their layers.
    made = {name: _made_up(each, generator) for name, each in zip(input_names(model), model.inputs, strict=True)}
    takes_one = len(made) == 1 and not isinstance(getattr(model, "_inputs_struct", None), dict)
    return next(iter(made.values())) if takes_one else made


def _made_up(tensor: Any, generator: np.random.Generator) -> Array:
    shape = (16, *(8 if size is None else size for size in tensor.shape[1:]))
    if "int" in tensor.dtype:
        return np.zeros(shape, tensor.dtype)
    return generator.normal(size=shape).astype(np.float32)
