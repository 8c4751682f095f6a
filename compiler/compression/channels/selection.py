"""Which units go: the least important ones, so many that the asked share is gone in the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgecc.compiler.compression.channels.groups import Channels
from edgecc.compiler.compression.channels.importance import Scores


@dataclass(frozen=True)
class Quota:
    """Units that are weighed against each other: those of a group, or of the whole model."""

    layers: frozenset[str]
    units: int
    """Before anything was taken out."""


def quotas(channels: Channels, scope: Literal["layer", "global"]) -> tuple[Quota, ...]:
    """The quotas of a model that is still whole."""
    found = tuple(Quota(frozenset(group.layers), len(group.units)) for group in channels.groups)
    if scope == "layer":
        return found
    return (Quota(frozenset().union(*(quota.layers for quota in found)), sum(quota.units for quota in found)),)


def choose(channels: Channels, scores: Scores, quotas: tuple[Quota, ...], sparsity: float) -> set[int]:
    """The units to take out so that, of each quota, the share `sparsity` is gone since the beginning.

    Shares of a unit are rounded, halves up. Every layer keeps one channel: where that leaves too few to take out,
    fewer go.

    Args:
        channels: of the model as it is now.
        scores: the importance of each unit; of equals, the first one goes.
        quotas: of the model as it was.
        sparsity: between 0 and 1.
    """
    layers = _layers_by_unit(channels)
    left = Counter(path for paths in layers.values() for path in paths)
    removed: set[int] = set()
    for quota in quotas:
        units = [unit for group in channels.groups if quota.layers & set(group.layers) for unit in group.units.tolist()]
        wanted = math.floor(sparsity * quota.units + 0.5) - (quota.units - len(units))
        removed |= _take(sorted(units, key=lambda unit: float(scores[unit])), wanted, layers, left)
    return removed


def _take(ranked: list[int], wanted: int, layers: Mapping[int, list[str]], left: Counter[str]) -> set[int]:
    taken: set[int] = set()
    for unit in ranked:
        if len(taken) >= wanted:
            break
        if all(left[path] > 1 for path in layers[unit]):
            left.subtract(layers[unit])
            taken.add(unit)
    return taken


def _layers_by_unit(channels: Channels) -> dict[int, list[str]]:
    """The producers of each unit; held ones count as channels that stay."""
    found: dict[int, list[str]] = {}
    for producer in channels.producers():
        for unit in np.unique(producer.flow.output).tolist():
            found.setdefault(unit, []).append(producer.path)
    return found
