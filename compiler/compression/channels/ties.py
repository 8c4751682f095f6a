"""Which channels stand or fall together: a label for each, and labels that are tied become one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
"""One label a channel, in the order of the tensor's or weight's axis."""


class Ties:
    """A union-find over labels (Tarjan 1975), with reasons why some must stay."""

    def __init__(self) -> None:
        self._parents = np.empty(0, dtype=np.int64)
        self._held: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parents)

    def fresh(self, count: int) -> Labels:
        """New labels, tied to nothing."""
        labels = np.arange(len(self), len(self) + count, dtype=np.int64)
        self._parents = np.concatenate([self._parents, labels])
        return labels

    def tie(self, a: Labels, b: Labels) -> None:
        """Tie two arrays of labels element by element; one of length 1 to all of the other."""
        pairs = np.stack(np.broadcast_arrays(self.resolve(a), self.resolve(b)), axis=1)
        for one, other in np.unique(pairs, axis=0):
            self._tie_one(int(one), int(other))

    def hold(self, labels: Labels, reason: str) -> None:
        """These must stay. The last reason given is the one that is told."""
        self._held |= dict.fromkeys(np.unique(labels).tolist(), reason)

    def resolve(self, labels: Labels) -> Labels:
        """One label for all that are tied: equal numbers stand or fall together."""
        while not np.array_equal(labels, parents := self._parents[labels]):
            labels = parents
        return labels

    def held(self) -> dict[int, str]:
        """The resolved labels that must stay, with the reason."""
        return {int(self.resolve(np.array([label]))[0]): reason for label, reason in self._held.items()}

    def _tie_one(self, a: int, b: int) -> None:
        roots = sorted((self._root(a), self._root(b)))
        self._parents[roots[1]] = roots[0]

    def _root(self, label: int) -> int:
        while (parent := int(self._parents[label])) != label:
            self._parents[label] = self._parents[parent]
            label = int(self._parents[label])
        return label
