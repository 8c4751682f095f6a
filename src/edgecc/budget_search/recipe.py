"""A recipe: an open variant with a value for each option, and the shorter ways of making it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgecc.artifact import Format
from edgecc.files import sha256_of_json
from edgecc.search_outcome import Rung
from edgecc.search_space import OpenVariant
from edgecc.training import LearningRate, TrainSection
from edgecc.variant import ChannelPruning, DistillSection, MagnitudePruning, VariantSection


@dataclass(frozen=True)
class Recipe:
    """One way through the stages, in one format."""

    open_variant: str
    values: Mapping[str, Any]
    section: VariantSection

    @classmethod
    def of(cls, variant: OpenVariant, values: Mapping[str, Any]) -> Recipe:
        """Close an open variant.

        Raises:
            ValidationError: the values do not fit together.
        """
        return cls(variant.name, dict(values), variant.closed(values))

    @cached_property
    def name(self) -> str:
        """For it as a variant: the same recipe has the same name in every search."""
        return f"{self.open_variant[:50]}-{sha256_of_json(self.table)[:8]}"

    @cached_property
    def table(self) -> dict[str, Any]:
        """The variant as a table of the project file, with what differs from the defaults."""
        return self.section.model_dump(mode="json", exclude_defaults=True)

    @property
    def format(self) -> Format:
        """The one format it is emitted in."""
        (format,) = self.section.formats or ()
        return format

    @property
    def is_trained(self) -> bool:
        """Whether it trains anything of its own: if not, a short training of it would be the whole one."""
        prune = self.section.prune
        return self.section.distill is not None or (prune is not None and prune.epochs > 0)

    @property
    def shape_depends_on_weights(self) -> bool:
        """Whether what remains after pruning is only known with trained weights."""
        prune = self.section.prune
        return isinstance(prune, ChannelPruning) and prune.scope == "global"

    def is_settled(self, metric: str, rung: Rung) -> bool:
        """Whether what a rung tells of a cost is what it will be, or the least that it can be."""
        quantize = self.section.quantize
        keeps_layers = quantize is not None and quantize.max_drop is not None
        if rung is Rung.UNTRAINED:
            # All in integers is the smallest file, and not always the fastest.
            is_cut_as_trained = self.section.distill is None or not self.shape_depends_on_weights
            return is_cut_as_trained and (metric == "size" or not keeps_layers)
        if rung is Rung.SHORT:
            return not self.shape_depends_on_weights and not keeps_layers and metric != "size.compressed"
        return True

    def at(self, rung: Rung, train: TrainSection, short: float) -> VariantSection:
        """The variant as a rung makes it.

        Args:
            rung: untrained, it has its shape and no more; a short training has its epochs scaled.
            train: what the recipe takes over where it says nothing.
            short: share of the epochs that a short training has.
        """
        if rung is Rung.FULL:
            return self.section
        distill, prune, quantize = self.section.distill, self.section.prune, self.section.quantize
        changed: dict[str, Any] = {}
        if distill is not None:
            changed["distill"] = _unlearnt(distill) if rung is Rung.UNTRAINED else _shortly(distill, train, short)
        if prune is not None:
            changed["prune"] = _unhealed(prune) if rung is Rung.UNTRAINED else _briefly_healed(prune, short)
        if quantize is not None and rung is Rung.UNTRAINED:
            # Which layers it keeps in float depends on what training makes of them: without it, the smallest it can be.
            changed["quantize"] = quantize.model_copy(update={"max_drop": None})
        return self.section.model_copy(update=changed)


def epochs_of(section: VariantSection, train: TrainSection) -> int:
    """How many epochs its own trainings have."""
    distill, prune = section.distill, section.prune
    distilling = 0 if distill is None else train.epochs if distill.epochs is None else distill.epochs
    return distilling + (0 if prune is None else prune.epochs * getattr(prune, "iterations", 1))


def _scaled(epochs: int, short: float) -> int:
    return min(epochs, max(1, round(epochs * short)))


def _unlearnt(distill: DistillSection) -> DistillSection:
    """The student as it is built: nobody teaches it, so that no teacher need be there."""
    return distill.model_copy(update={"epochs": 0, "alpha": 1.0, "augment": None, "views": 1, "teacher": None})


def _shortly(distill: DistillSection, train: TrainSection, short: float) -> DistillSection:
    epochs = train.epochs if distill.epochs is None else distill.epochs
    rate = train.learning_rate if distill.learning_rate is None else distill.learning_rate
    return distill.model_copy(update={"epochs": _scaled(epochs, short), "learning_rate": _warmed_up(rate, short)})


def _warmed_up(rate: LearningRate | None, short: float) -> LearningRate | None:
    """The same schedule, its warm-up as much shorter as the training."""
    return None if rate is None else rate.model_copy(update={"warmup_epochs": round(rate.warmup_epochs * short)})


def _unhealed(prune: MagnitudePruning | ChannelPruning) -> ChannelPruning | None:
    """Zeros make no file smaller and no inference faster: what magnitude pruning leaves has the shape it had."""
    return prune.model_copy(update={"epochs": 0}) if isinstance(prune, ChannelPruning) else None


def _briefly_healed(prune: MagnitudePruning | ChannelPruning, short: float) -> MagnitudePruning | ChannelPruning:
    return prune.model_copy(update={"epochs": _scaled(prune.epochs, short)})
