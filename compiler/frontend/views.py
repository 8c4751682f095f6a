"""Changed copies of the training samples, drawn once from the seed: teacher and student see the very same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgecc.errors import UserCodeError
from edgecc.samples import Array, Arrays, by_name, from_names, sample_count, take


def draw_view(x: Arrays, augment: Callable[..., Any] | None, seed: int, index: int, *, spec: str) -> Arrays:
    """Draw one view of the samples: `augment(x, generator)`, or the samples themselves.

    The generator depends on the seed and the view's number alone, so that a view can be drawn again.

    Raises:
        UserCodeError: `augment`, which `spec` names, gave samples of another shape, or values that are not finite.
    """
    if augment is None:
        return x
    copy = take(x, np.arange(sample_count(x)))  # of the user's own, to change as he likes
    view = augment(copy, np.random.default_rng([seed, index]))
    given = {name: np.asarray(array) for name, array in by_name(view).items()}
    expected = by_name(x)
    if _shapes(given) != _shapes(expected):
        got = "None" if view is None else _in_words(given)
        raise UserCodeError(
            f"{spec}: expected as many samples of the same shape, {_in_words(expected)}; got {got}",
            hint="does it end with `return x`?" if view is None else None,
        )
    if not all(np.isfinite(array).all() for array in given.values()):
        raise UserCodeError(f"{spec}: expected finite samples; got NaN or infinity")
    return from_names({name: array.astype(expected[name].dtype) for name, array in given.items()})


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _in_words(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"`{name}` {shape}" if name else str(shape) for name, shape in _shapes(arrays).items())
