"""Which recipe to look at next: all of a small space, and Optuna's sampler in a large one.

Optuna was chosen over Keras Tuner's oracles because those know one objective and no constraints: TPE in its
multi-objective form (Ozaki et al. 2022, "Multiobjective tree-structured Parzen estimator") is told of every limited
metric, and by how much each recipe breaks its limit.
"""

from __future__ import annotations

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edgecc.errors import MissingExtraError
from edgecc.search_space import Choice, OpenOption, OpenVariant, Range

_VARIANT = "variant"


@dataclass(frozen=True)
class Proposal:
    """Values for the options of an open variant."""

    variant: OpenVariant
    values: Mapping[str, Any]
    trial: Any = None
    """Optuna's."""


class Proposer(ABC):
    """Proposes recipes, and is told what became of them."""

    is_endless: ClassVar[bool]
    """Whether it goes on for ever, and repeats itself when it has nothing new."""

    @abstractmethod
    def propose(self) -> Proposal | None:
        """The next one; None where there is none left."""

    def tell(  # noqa: B027 - what goes through everything learns nothing
        self, proposal: Proposal, values: Sequence[float], violations: Mapping[str, float]
    ) -> None:
        """What a recipe is worth: each objective, less being better, and by how much it breaks each limit."""


def proposer(variants: Sequence[OpenVariant], most: int, objectives: int, seed: int) -> Proposer:
    """Whatever suits the space: it is gone through where it has no more than `most` recipes.

    Raises:
        MissingExtraError: it is larger, and Optuna is not installed.
    """
    if sum(variant.count for variant in variants) <= most:
        return _Everything(variants, seed)
    return _Sampled(variants, objectives, seed)


class _Everything(Proposer):
    """Every recipe there is, in an order of chance: a search that is cut short has seen a fair part of them."""

    is_endless = False

    def __init__(self, variants: Sequence[OpenVariant], seed: int) -> None:
        every = [Proposal(variant, values) for variant in variants for values in _combinations(variant)]
        order = np.random.default_rng(seed).permutation(len(every))
        self._left = iter([every[index] for index in order])

    def propose(self) -> Proposal | None:
        return next(self._left, None)


def _combinations(variant: OpenVariant) -> Iterator[dict[str, Any]]:
    names = [option.name for option in variant.options]
    for values in itertools.product(*(option.values.every() for option in variant.options)):
        yield dict(zip(names, values, strict=True))


class _Sampled(Proposer):
    """Optuna's tree-structured Parzen estimator, with constraints."""

    is_endless = True

    def __init__(self, variants: Sequence[OpenVariant], objectives: int, seed: int) -> None:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._variants = {variant.name: variant for variant in variants}
        with warnings.catch_warnings():
            # `group` may change in a later Optuna, and the user can do nothing about it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # One recipe after the other: there are no trials under way to keep away from.
            sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=False)
        self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)

    def propose(self) -> Proposal | None:
        trial = self._study.ask()
        variant = self._variants[trial.suggest_categorical(_VARIANT, list(self._variants))]
        values = {option.name: _suggested(trial, f"{variant.name}.{option.name}", option) for option in variant.options}
        return Proposal(variant, values, trial)

    def tell(self, proposal: Proposal, values: Sequence[float], violations: Mapping[str, float]) -> None:
        for name, violation in violations.items():
            proposal.trial.set_constraint(name, violation)
        self._study.tell(proposal.trial, list(values))


def _suggested(trial: Any, name: str, option: OpenOption) -> Any:
    values = option.values
    if isinstance(values, Range) and not math.isfinite(values.count):
        return trial.suggest_float(name, values.low, values.high, log=values.log)
    if isinstance(values, Range) and values.log:
        return trial.suggest_int(name, int(values.low), int(values.high), log=True)
    if isinstance(values, Range) and values.is_whole:
        first, last = values.samples
        return trial.suggest_int(name, first, last, step=values.step or 1)
    count = int(values.count)
    if isinstance(values, Choice) and not _are_ordered(values.choice):
        return values.at(trial.suggest_categorical(name, list(range(count))))
    return values.at(trial.suggest_int(name, 0, count - 1))


def _are_ordered(values: Sequence[Any]) -> bool:
    """Whether they are numbers that grow: then neighbours are alike."""
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return are_numbers and all(before < after for before, after in itertools.pairwise(values))


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError(needed_by="the search", library="Optuna", extra="search") from error
    return optuna
