"""Which Keras layer an operation of a traced graph came from, so that an error can name it."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any


def layer_path(model: Any, operation: str) -> str | None:
    """The path of the Keras layer that an operation came from, such as `encoder/dense`; None where none is known.

    `operation` is a path of name scopes, such as `model_1/dense_1_2/MatMul`. Keras opens a layer's scope twice (to
    build it, then to call it), so TensorFlow always appends a counter to the name of the one that is called.
    """
    names = {layer.name for layer in model._flatten_layers(include_self=False)}
    scopes = [re.sub(r"_\d+$", "", scope) for scope in operation.split("/")[1:-1]]
    path = [scope for scope in scopes if scope in names]
    # A separable convolution opens its own scope again for its depthwise part.
    return "/".join(scope for scope, _ in groupby(path)) or None


def origin_of(model: Any, operation: str) -> str:
    """Say where an operation came from: "layer `name`", or the operation's own name where no layer is known."""
    path = layer_path(model, operation)
    return f"operation `{operation}`" if path is None else f"layer `{path}`"
