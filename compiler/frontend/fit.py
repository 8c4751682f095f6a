"""Whether a model's inputs and outputs are those that the data are for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgecc.compiler.frontend.data import DataDescription
from edgecc.compiler.frontend.layer_graph import input_names, output_activation, output_names
from edgecc.errors import ModelError
from edgecc.samples import listed, match_names


def check_fit(model: Any, data: DataDescription, source: str) -> None:
    """Check that the model takes the samples and, where the labels are classes, that it answers with one of them.

    Raises:
        ModelError: it does not; `source` says where it came from.
    """
    _check_inputs(model, data, source)
    if data.task != "classification":
        return
    if len(model.outputs) != 1:
        raise ModelError(
            f"{source}: expected a model with one output, since y is one array of classes; `{model.name}` has "
            f"{len(model.outputs)}",
            hint="for several outputs the loader gives y as a dict of arrays by the outputs' names",
        )
    outputs = tuple(model.outputs[0].shape[1:])
    is_binary = data.classes == 2 and outputs == (1,) and output_activation(model) == "sigmoid"
    if outputs != (data.classes,) and not is_binary:
        raise ModelError(
            f"{source}: expected outputs of shape ({data.classes},), one a class; the model gives {outputs}",
            hint="two classes: two outputs, or one that ends in a sigmoid" if data.classes == 2 else None,
        )


def _check_inputs(model: Any, data: DataDescription, source: str) -> None:
    shapes = data.input_shape if isinstance(data.input_shape, Mapping) else {"": data.input_shape}
    _check_names(model, "inputs", input_names(model), list(shapes), source)
    _check_explicit_names(model, list(shapes), source)
    matched = match_names(list(shapes), input_names(model)) or []
    for tensor, own_name, name in zip(model.inputs, input_names(model), matched, strict=True):
        own, given = tuple(tensor.shape[1:]), shapes[name]
        fits = len(own) == len(given) and all(size in (None, length) for size, length in zip(own, given, strict=True))
        if not fits:
            which = "the model takes samples" if name == "" else f"the model's input `{own_name}` takes samples"
            raise ModelError(f"{source}: {which} of shape {own}; the data have {given}")


def _check_explicit_names(model: Any, given: list[str], source: str) -> None:
    """Keras matches samples with the names that were given to keras.Input, and with no others."""
    if set(given) == set(input_names(model)) != {tensor.name for tensor in model.inputs}:
        raise ModelError(
            f"{source}: expected inputs with names of your own; `{model.name}` has those that Keras counts up",
            hint='keras.Input(..., name="image")',
        )


def check_targets(model: Any, data: DataDescription, source: str) -> None:
    """Check that there is something to train every output on.

    Raises:
        ModelError: there is not.
    """
    _check_names(model, "outputs", output_names(model), list(data.targets) or [""], source)


def _check_names(model: Any, kind: str, names: list[str], given: list[str], source: str) -> None:
    part = {"inputs": "x", "outputs": "y"}[kind]
    if match_names(given, names) is None:
        raise ModelError(
            f"{source}: the {kind} of the model are {listed(names)}; the data have {listed(given)} in {part}",
            hint=f"the loader gives {part} as a dict of arrays by these names",
        )
    if isinstance(getattr(model, f"_{kind}_struct", None), dict) and set(given) != set(names):
        raise ModelError(
            f"{source}: the model takes its {kind} by name; the data have {listed(given)} in {part}",
            hint=f"the loader gives {part} as a dict of arrays by the names {listed(names)}, "
            f"or keras.Model gets a list of {kind}",
        )
