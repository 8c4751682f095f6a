"""Samples of models with one input or several, in memory and on disk: the compiler writes them, benchmarks read them.

In memory they are what Keras takes: one array (samples, ...), or a list of arrays in order, or a dict of them by name.
On disk they are an `.npz`: one array is a member such as `x`, several are `x.NAME`, or `x.0`, `x.1`, ... in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgecc.errors import DataError

Array = npt.NDArray[Any]
Arrays = Array | list[Array] | dict[str, Array]


def by_name(arrays: Arrays) -> dict[str, Array]:
    """The arrays by name: "0", "1", ... where they have an order only, and "" for one alone."""
    if isinstance(arrays, dict):
        return arrays
    if isinstance(arrays, list):
        return {str(index): array for index, array in enumerate(arrays)}
    return {"": arrays}


def from_names(named: Mapping[str, Array]) -> Arrays:
    """The arrays that `by_name` gave names to."""
    if list(named) == [""]:
        return named[""]
    if is_ordered(list(named)):
        return list(named.values())
    return dict(named)


def is_ordered(names: Sequence[str]) -> bool:
    """Whether these names are positions: "0", "1", ..."""
    return list(names) == [str(index) for index in range(len(names))]


def sample_count(arrays: Arrays) -> int:
    """How many samples there are."""
    return len(next(iter(by_name(arrays).values())))


def take(arrays: Arrays, chosen: Any) -> Arrays:
    """These samples of every array: a slice, or an array of indices."""
    return from_names({name: array[chosen] for name, array in by_name(arrays).items()})


def in_order(arrays: Arrays, names: Sequence[str]) -> tuple[Array, ...]:
    """One array for each of these names: matched by name, or by order where the arrays have no names.

    Raises:
        DataError: other names, or another number of arrays.
    """
    given = by_name(arrays)
    matched = match_names(list(given), names)
    if matched is None:
        raise DataError(f"expected samples for {listed(names)}; got {listed(list(given))}")
    return tuple(given[name] for name in matched)


def match_names(given: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """For each of `names` the given one that belongs to it; None where they do not fit together.

    What `by_name` named by position, or not at all, fits by its order.
    """
    if sorted(given) == sorted(names):
        return list(names)
    without_names = list(given) == [""] or is_ordered(given)
    return list(given) if without_names and len(given) == len(names) else None


def listed(names: Sequence[str]) -> str:
    """The inputs that `by_name` named, in words."""
    if list(names) == [""]:
        return "one array without a name"
    if is_ordered(names):
        return f"{len(names)} arrays without names"
    return ", ".join(f"`{name}`" for name in names)


def write_arrays(path: Path, **groups: Arrays) -> None:
    """Write groups of arrays, such as `x` and `y`. Equal arrays give equal bytes."""
    members: dict[str, Any] = {}
    for group, arrays in groups.items():
        members |= {f"{group}.{name}" if name else group: array for name, array in by_name(arrays).items()}
    np.savez(path, **members)  # numpy stamps every member with 1980-01-01


def read_arrays(path: Path) -> dict[str, Arrays]:
    """Read what `write_arrays` wrote, by group.

    Raises:
        OSError, ValueError, EOFError, zipfile.BadZipFile: it cannot be read, or is no `.npz`.
    """
    groups: dict[str, dict[str, Array]] = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as members:
        for member in members.files:
            group, _, name = member.partition(".")
            groups.setdefault(group, {})[name] = members[member]
    return {group: from_names(named) for group, named in groups.items()}
