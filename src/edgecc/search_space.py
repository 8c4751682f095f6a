"""`[search]`: variants whose options are left open, and what the open ones may be."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PlainValidator, ValidationError, WithJsonSchema, model_validator

from edgecc.artifact import Format
from edgecc.section import KeyFaultError, Name, PositiveInt, Section
from edgecc.units import Duration
from edgecc.variant import VariantSection

FORMATS = "formats"
"""The option that is open wherever several formats are emitted: a recipe has one."""
OPEN_KEYS = frozenset({"choice", "low", "high"})
"""A table with any of these stands for the values that an option may have."""


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number")
    if not abs(value) <= sys.float_info.max:  # as it is with NaN
        raise ValueError("a finite number")
    return value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    # In TOML 1, 1.0 and true are three values; in Python they are equal.
    if not values or len({repr(value) for value in values}) < len(values):
        raise ValueError("at least one value, and each once")
    return values


Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]


class Choice(Section):
    """An option that is one of these."""

    choice: Annotated[tuple[Any, ...], AfterValidator(_each_once)]
    """Values of any kind, tables and lists too."""

    @property
    def samples(self) -> tuple[Any, ...]:
        """Values that all have to be fit for the option."""
        return self.choice

    @property
    def count(self) -> float:
        """How many values there are."""
        return len(self.choice)

    def every(self) -> tuple[Any, ...]:
        """All of them, in order."""
        return self.choice

    def at(self, index: int) -> Any:
        """The value of this place in the order, from 0."""
        return self.choice[index]


class Range(Section):
    """An option that is a number from `low` to `high`, both included where the step meets them."""

    low: Number
    high: Number
    step: Number | None = None
    """Without it, every whole number between two whole ones, and any number between two others."""
    log: Annotated[bool, Field(strict=True)] = False
    """Whether small numbers are as near to each other as their ratio tells; not with `step`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.high <= self.low:
            raise KeyFaultError("high", f"more than `low` = {self.low}", self.high)
        if self.log and self.low <= 0:
            raise KeyFaultError("low", "more than 0 with `log`", self.low)
        if self.log and self.step is not None:
            raise KeyFaultError("step", "none beside `log`", self.step)
        if self.step is not None and self.step <= 0:
            raise KeyFaultError("step", "more than 0", self.step)
        if self.step is not None and self.count < 2:
            raise KeyFaultError("step", "one that stays between `low` and `high`", self.step)
        return self

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return all(isinstance(each, int) for each in (self.low, self.high, self.step or 1))

    @property
    def samples(self) -> tuple[Any, ...]:
        """The first and the last value: what is fit for the option at both ends is so in between."""
        return (self.at(0), float(self.high) if math.isinf(self.count) else self.at(int(self.count) - 1))

    @property
    def count(self) -> float:
        """How many values there are; infinite for any number in between."""
        step = self._step
        return math.inf if step is None else (_exact(self.high) - _exact(self.low)) // _exact(step) + 1

    def every(self) -> tuple[Any, ...]:
        """All of them, in order.

        Raises:
            OverflowError: it has any number in between.
        """
        return tuple(self.at(index) for index in range(int(self.count)))

    def at(self, index: int) -> int | float:
        """The value of this place in the order, from 0."""
        value = _exact(self.low) + index * _exact(self._step or 0)
        return int(value) if self.is_whole else float(value)

    @property
    def _step(self) -> int | float | None:
        return self.step or (1 if self.is_whole else None)


def _exact(number: int | float) -> Fraction:
    """The number as it was written: three steps of 0.1 are 0.3, and not 0.30000000000000004."""
    return Fraction(str(number))


@dataclass(frozen=True)
class OpenOption:
    """An option of a variant that the search chooses."""

    path: tuple[str, ...]
    values: Choice | Range

    @property
    def name(self) -> str:
        """Such as `distill.hp.width`."""
        return ".".join(self.path)

    @classmethod
    def read(cls, path: tuple[str, ...], table: Mapping[str, Any]) -> OpenOption:
        """The option that this table leaves open.

        Raises:
            OpenOptionError: it cannot be read.
        """
        kind = Choice if "choice" in table else Range
        try:
            return cls(path, kind.model_validate(table))
        except ValidationError as error:
            raise OpenOptionError(path, kind, error) from None


@dataclass(frozen=True)
class OpenVariant:
    """A variant with open options: `[search.variants.NAME]`."""

    name: str
    table: Mapping[str, Any]
    """As the project file has it."""
    options: tuple[OpenOption, ...]

    @property
    def count(self) -> float:
        """How many recipes it stands for."""
        return math.prod(option.values.count for option in self.options)

    def closed(self, values: Mapping[str, Any]) -> VariantSection:
        """The variant with these values, by option.

        Raises:
            ValidationError: they do not fit together.
        """
        return VariantSection.model_validate(self.closed_table(values))

    def closed_table(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The variant's table with these values, by option, whether they are fit for it or not."""
        table = copy.deepcopy(dict(self.table))
        for option in self.options:
            _put(table, option.path, values[option.name])
        return table

    def sampled(self) -> Iterator[Sampled]:
        """Itself with each sample of each option and the first of all others; once if nothing is open."""
        yield from (self._sampled(picks) for picks in self._single_picks())

    def misfits(self) -> Iterator[tuple[Sampled, list[Any]]]:
        """What is wrong with it whatever is chosen: pydantic's problems that no sample of any other option would cure.

        Values that only do not fit together are left to the search.
        """
        singles = self._single_picks()
        for picks in singles:
            sampled = self._sampled(picks)
            problems = sampled.problems()
            if not problems:
                continue
            others = [self._sampled(picks | other).problems() for other in singles if other.keys() != picks.keys()]
            lasting = [problem for place, problem in problems.items() if all(place in other for other in others)]
            if lasting:
                yield sampled, lasting

    def _single_picks(self) -> list[dict[str, int]]:
        numbers = {option.name: range(len(option.values.samples)) for option in self.options}
        return [{name: number} for name in numbers for number in numbers[name]] or [{}]

    def _sampled(self, picks: Mapping[str, int]) -> Sampled:
        values = {option.name: option.values.samples[picks.get(option.name, 0)] for option in self.options}
        return Sampled({**dict.fromkeys(values, 0), **picks}, self.closed_table(values))


@dataclass(frozen=True)
class Sampled:
    """An open variant with one sample of each option."""

    numbers: Mapping[str, int]
    """By option, which of its samples that is."""
    table: Mapping[str, Any]
    """The variant's, with these samples in it."""

    def problems(self) -> dict[tuple[Any, ...], Any]:
        """What pydantic says of the table, by the place that it speaks of."""
        try:
            VariantSection.model_validate(self.table)
        except ValidationError as error:
            return {_place(problem): problem for problem in error.errors()}
        return {}


def _place(problem: Any) -> tuple[Any, ...]:
    error = problem.get("ctx", {}).get("error")
    return (*problem["loc"], error.key) if isinstance(error, KeyFaultError) else tuple(problem["loc"])


_OpenTable = Annotated[
    Mapping[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "description": (
                "Like a table of [variants]; { choice = [...] } or { low = .., high = .., step = .., log = .. } in the "
                "place of a value leaves an option open."
            ),
            "properties": dict.fromkeys(VariantSection.model_fields, True),
            "additionalProperties": False,
        }
    ),
]


class SearchSection(Section):
    """The search for recipes that meet the budgets."""

    variants: Annotated[Mapping[Name, _OpenTable], Field(min_length=1)]
    """Like `[variants.NAME]`, where `{ choice = [...] }` or `{ low = .., high = .. }` leaves an option open."""
    max_trials: PositiveInt = 50
    """Recipes that are looked at untrained; those that can meet the budgets so far are trained shortly."""
    max_trainings: PositiveInt = 10
    """Recipes that are trained as long as they say."""
    short: Annotated[float, Field(gt=0, lt=1)] = 0.125
    """Share of a recipe's epochs that a short training has, one epoch at least."""
    time_limit: Duration | None = None
    """No training is begun that is not expected to end by then."""

    def open_variants(self, formats: Sequence[Format]) -> tuple[OpenVariant, ...]:
        """The variants with their open options; where several formats are emitted, one of them is an option too.

        Args:
            formats: what a variant is emitted in that does not say it itself.
        """
        return tuple(_opened(name, table, formats) for name, table in self.variants.items())


def _opened(name: str, table: Mapping[str, Any], formats: Sequence[Format]) -> OpenVariant:
    given = table.get(FORMATS, [str(format) for format in formats])
    if isinstance(given, list | tuple) and len(given) > 1:
        given = {"choice": [[format] for format in given]}
    table = {**table, FORMATS: given}
    return OpenVariant(name, table, tuple(open_options(table)))


def open_options(table: Mapping[str, Any]) -> Iterator[OpenOption]:
    """The open options of a table, in its order.

    Raises:
        OpenOptionError: an option is left open in a way that cannot be read.
    """
    for path, value in open_tables(table):
        yield OpenOption.read(path, value)


def open_tables(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Where options are left open, and the tables that stand there in place of a value, unchecked."""
    for key, value in table.items():
        if not isinstance(value, Mapping):
            continue
        if OPEN_KEYS & value.keys():
            yield (*path, key), value
        else:
            yield from open_tables(value, (*path, key))


class OpenOptionError(ValueError):
    """An option that is left open in a way that cannot be read."""

    def __init__(self, path: tuple[str, ...], expected: type[Choice | Range], error: ValidationError) -> None:
        super().__init__(str(error))
        self.path = path
        self.expected = expected
        self.error = error


def _put(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
