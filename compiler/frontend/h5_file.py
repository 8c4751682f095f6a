"""Reading `.h5` model files, as Keras 2 wrote them and Keras 3 still can."""

from __future__ import annotations

import copy
import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecc.errors import ModelError

SUFFIXES = (".h5", ".hdf5")
_HINT = "load it in the Keras that wrote it, and save the whole model with `model.save(...)`"

_ANYTHING = object()
_GONE: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"LSTM|GRU|SimpleRNN|RNN|ConvLSTM\dD", {"time_major": False}),
    (r"(Separable|Depthwise)Conv\dD|Conv\dDTranspose", {"groups": 1}),
    (r"SeparableConv\dD", dict.fromkeys(("kernel_initializer", "kernel_regularizer", "kernel_constraint"), _ANYTHING)),
    (r"MultiHeadAttention", dict.fromkeys(("query_shape", "key_shape", "value_shape"), _ANYTHING)),
    (r"MultiHeadAttention", {"softmax_robust_masking": False}),
    (r"SpatialDropout\dD", {"trainable": _ANYTHING, "noise_shape": _ANYTHING}),
    (r"Embedding", {"input_length": _ANYTHING, "batch_input_shape": _ANYTHING}),
    (r"Random\w+", {"rng_type": _ANYTHING}),
)
"""Arguments of Keras 2 that Keras 3 does not know, with the value at which they change nothing."""


def read_h5_config(path: Path) -> Any:
    """The model's configuration, in the words of Keras 3.

    Raises:
        ModelError: the file is not one of HDF5, truncated, or holds no model.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config, has_weights = file.attrs.get("model_config"), "model_weights" in file
            is_of_keras_3 = str(file.attrs.get("keras_version")).startswith("3")
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path}: expected an .h5 model file; it cannot be opened: {reason}", hint=_HINT) from error
    if config is None or not has_weights:
        raise ModelError(f"{path}: expected a whole model; the file holds weights or other data alone", hint=_HINT)
    try:
        parsed = json.loads(config)
    except ValueError as error:
        raise ModelError(f"{path}: the file is damaged: its configuration cannot be read: {error}") from error
    return parsed if is_of_keras_3 else _translated(parsed, path)


def load_h5(keras: Any, path: Path, config: Any, **options: Any) -> Any:
    """Load a model as `keras.saving.load_model` does, but of this configuration."""
    import h5py

    with tempfile.TemporaryDirectory(prefix="edgecc-") as folder, warnings.catch_warnings():
        duplicate = Path(shutil.copy(path, Path(folder) / "model.h5"))
        with h5py.File(duplicate, "r+") as file:
            file.attrs["model_config"] = json.dumps(config)
        warnings.simplefilter("ignore")  # Keras says of every legacy file how it would be written today
        return keras.saving.load_model(duplicate, **options)


def carries_code(node: dict[str, Any]) -> bool:
    """Whether this object of a configuration is Python code: Keras 2 stores it in a list, Keras 3 says `__lambda__`."""
    function = node["config"].get("function") if isinstance(node.get("config"), dict) else None
    return node.get("class_name") == "__lambda__" or (node.get("class_name") == "Lambda" and isinstance(function, list))


def _translated(value: Any, path: Path) -> Any:
    """A configuration of Keras 2 in the words of Keras 3."""
    if isinstance(value, list):
        return [_translated(item, path) for item in value]
    if value == "hard_sigmoid":
        raise ModelError(
            f"{path}: the model uses hard_sigmoid, which is another function in Keras 3: its outputs would change",
            hint="build it in Keras 3 with the activation written out, clip(0.2 x + 0.5, 0, 1), and train it there",
        )
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "Policy" and isinstance(config, dict):  # of mixed precision
        return config.get("name")
    if isinstance(kind, str) and isinstance(config, dict):
        kept = {key: item for key, item in config.items() if not _is_gone(kind, key, item)}
        value = {**value, "config": _with_nodes_from_zero(kept)}
    return {key: _translated(item, path) for key, item in value.items()}


def _is_gone(kind: str, key: str, item: Any) -> bool:
    return any(key in gone and gone[key] in (_ANYTHING, item) for pattern, gone in _GONE if re.fullmatch(pattern, kind))


def _with_nodes_from_zero(config: dict[str, Any]) -> dict[str, Any]:
    """A functional model's configuration in which the first call of each nested Sequential model is its node 0.

    In Keras 2 node 0 was the model's own, from the time when it was built.
    """
    layers = config.get("layers", [])
    nested = {layer["name"] for layer in layers if layer.get("class_name") == "Sequential" and "name" in layer}
    calls = [config.get("output_layers"), *(layer.get("inbound_nodes") for layer in layers)]
    used = [node for call in calls for node in _nodes_of(call, nested)]
    if not used or any(node[1] == 0 for node in used):
        return config
    config = copy.deepcopy(config)
    for call in [config["output_layers"], *(layer.get("inbound_nodes") for layer in config["layers"])]:
        for node in _nodes_of(call, nested):
            node[1] -= 1
    return config


def _nodes_of(value: Any, names: set[str]) -> Iterator[list[Any]]:
    """References to these layers, which are lists of a name, a node's index and a tensor's."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return
    if len(value) >= 3 and isinstance(value[0], str) and value[0] in names and isinstance(value[1], int):
        yield value
    for item in value:
        yield from _nodes_of(item, names)
