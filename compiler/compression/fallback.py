"""Which layers to keep in float so that quantizing the others loses no more than is allowed: as few as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgecc.errors import VerificationError
from edgecc.progress import Task

_TOLERANCE = 1e-9
"""Scores are means, and limits are inclusive: rounding alone must not break one."""
_BLAMED = 3

Layers = tuple[str, ...]


@dataclass(frozen=True)
class Attempt:
    """One quantized artifact that was scored."""

    kept: Layers
    score: float


@dataclass(frozen=True)
class Fallback:
    """What was found, and how."""

    kept: Layers
    """Layers to keep in float, in the order in which they run."""
    ranking: Layers
    """All candidates, the most sensitive first; empty where nothing had to be kept."""
    attempts: tuple[Attempt, ...]
    """Every artifact that was scored, in order."""


@dataclass
class Search:
    """A search for the fewest layers to keep in float, whatever the format.

    First nothing is kept. If that loses too much, the layers are ranked by what keeping each one alone in float does
    for the error of the model's outputs (leave-one-out). Then the smallest prefix of the ranking that loses little
    enough is found by doubling and bisection, which takes a longer prefix to score no worse than a shorter one.
    Last, each layer of it that proves dispensable is given up again, the least sensitive first.
    """

    quantize: Callable[[Layers], bytes]
    """The artifact with these layers in float."""
    score: Callable[[bytes], float]
    """On validation data; more is better."""
    error: Callable[[bytes], float]
    """Of the outputs on calibration samples, such as noise to signal; less is better."""
    float_score: float
    max_drop: float
    task: Task
    _attempts: dict[frozenset[str], Attempt] = field(default_factory=dict)

    def run(self, candidates: Sequence[str]) -> Fallback:
        """Find which of these layers, given in the order in which they run, to keep.

        `task` counts the layers that were ranked.

        Raises:
            VerificationError: keeping any of them, short of all, still loses more than `max_drop`.
        """
        if self._holds(()):
            return Fallback((), (), tuple(self._attempts.values()))
        ranking = self._rank(candidates)
        kept = self._without_dispensable(self._smallest_prefix(ranking))
        return Fallback(tuple(layer for layer in candidates if layer in kept), ranking, tuple(self._attempts.values()))

    def _rank(self, candidates: Sequence[str]) -> Layers:
        errors = {}
        for layer in candidates:
            self.task.describe(f"{layer} in float")
            errors[layer] = self.error(self.quantize((layer,)))
            self.task.advance()
        return tuple(sorted(candidates, key=errors.__getitem__))

    def _smallest_prefix(self, ranking: Layers) -> Layers:
        longest = len(ranking) - 1  # with all of them it would be the float model
        fails, holds = 0, 1
        while holds < longest and not self._holds(ranking[:holds]):
            fails, holds = holds, 2 * holds
        holds = min(holds, longest)
        if not self._holds(ranking[:holds]):
            raise self._failure(ranking)
        while holds - fails > 1:
            middle = (fails + holds) // 2
            fails, holds = (fails, middle) if self._holds(ranking[:middle]) else (middle, holds)
        return ranking[:holds]

    def _without_dispensable(self, kept: Layers) -> Layers:
        """The last layer is known to be needed: without it the prefix is too short."""
        for layer in reversed(kept[:-1]):
            fewer = tuple(other for other in kept if other != layer)
            kept = fewer if self._holds(fewer) else kept
        return kept

    def _holds(self, kept: Layers) -> bool:
        key = frozenset(kept)
        if key not in self._attempts:
            self.task.describe(f"{len(kept)} layers in float" if kept else "no layer in float")
            self._attempts[key] = Attempt(kept, self.score(self.quantize(kept)))
        return self.float_score - self._attempts[key].score <= self.max_drop + _TOLERANCE

    def _failure(self, ranking: Layers) -> VerificationError:
        best = max(self._attempts.values(), key=lambda attempt: attempt.score)
        blamed = ", ".join(ranking[:_BLAMED]) or "none"
        return VerificationError(
            f"expected a drop of at most {self.max_drop:.4g} from the float artifact's score {self.float_score:.4g} on "
            f"validation data; the best is {best.score:.4g}, with {len(best.kept)} of {len(ranking)} layers in float "
            f"(with none: {self._attempts[frozenset()].score:.4g}). The most sensitive layers: {blamed}",
            hint="another `calibration`, more [data] representative_samples, a scheme with more bits, or a larger "
            "`max_drop`",
        )
