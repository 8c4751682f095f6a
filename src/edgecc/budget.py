"""`[[budgets]]`: a limit on one metric, as it is written and in base units."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import PlainValidator, WithJsonSchema, model_validator

from edgecc.artifact import Format
from edgecc.metrics import METRICS, USER_PREFIX
from edgecc.section import KeyFaultError, Section
from edgecc.units import Unit, parse, parse_difference, parse_points


def _text_or_number(value: object) -> str | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('a quantity like "2 ms", or a number for a metric of your own')
    return value


Limit = Annotated[
    str | float, PlainValidator(_text_or_number), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}]})
]
"""As it was written. A plain number only for a metric of the user's own."""


class Budget(Section):
    """A limit on one metric. Without `target`, `variant` or `format` it judges all that ship."""

    metric: str
    target: str | None = None
    variant: str | None = None
    format: Format | None = None
    max: Limit | None = None
    min: Limit | None = None
    max_drop: Limit | None = None
    """What may be lost against another variant: of accuracy in percentage points, of a metric of the user's own in
    its unit, in the direction that is worse."""
    against: str | None = None
    """The variant that `max_drop` compares with; `float32` where none is named."""
    max_regression: Limit | None = None
    """How much worse than in the baseline: in percent; accuracy in percentage points, a metric of the user's own in its
    unit."""
    emulated: bool = False
    """Judge the time and memory of an emulated processor too, which no device takes."""
    severity: Literal["error", "warn"] = "error"

    @model_validator(mode="after")
    def _limit_fits_metric(self) -> Self:
        if self.metric not in METRICS and not self.is_users:
            return self  # reported with the nearest spelling by project_file
        given = [key for key in _LIMITS if getattr(self, key) is not None]
        allowed = self._allowed()
        if len(given) != 1 or given[0] not in allowed:
            raise ValueError(f"exactly one of {', '.join(f'`{key}`' for key in allowed)} for {self.metric}")
        if self.against is not None and self.max_drop is None:
            raise ValueError("`against` only together with `max_drop`")
        if self.max_drop is not None and self.metric != "accuracy" and not self.is_users:
            raise ValueError("`max_drop` only for accuracy and metrics of your own")
        try:
            self._parse_limit()
        except ValueError as error:
            raise KeyFaultError(given[0], str(error), self.written) from None
        return self

    def _allowed(self) -> tuple[str, ...]:
        """The keys that can limit the metric; of the user's own, project_file knows the direction."""
        if self.is_users:
            return _LIMITS
        metric = METRICS[self.metric]
        bound = "max" if metric.better == "lower" else "min"
        return (bound, "max_drop", _REGRESSION) if metric.unit is Unit.FRACTION else (bound, _REGRESSION)

    def _parse_limit(self) -> float:
        if self.loses_points:
            return parse_points(self.written)
        is_loss = self.max_drop is not None or self.max_regression is not None
        return parse_difference(self.written) if is_loss and self.is_users else parse(self.written, self.limit_unit)

    @property
    def is_users(self) -> bool:
        """Whether it is on a metric of the user's own."""
        return self.metric.startswith(USER_PREFIX)

    @property
    def is_difference(self) -> bool:
        """Whether two values of the metric are told apart by their difference rather than their ratio."""
        return self.unit in (Unit.FRACTION, Unit.NUMBER)

    @property
    def loses_points(self) -> bool:
        """Whether the limit is in percentage points."""
        return self.unit is Unit.FRACTION and self.max is None and self.min is None

    @property
    def limit_unit(self) -> Unit:
        """The limit's base unit."""
        is_relative = self.max_regression is not None and not self.is_difference
        return Unit.FRACTION if is_relative else self.unit

    @property
    def unit(self) -> Unit:
        """The metric's base unit."""
        return Unit.NUMBER if self.is_users else METRICS[self.metric].unit

    @property
    def written(self) -> str | float:
        """The limit as the project file has it."""
        given = (self.max, self.min, self.max_drop, self.max_regression)
        return next(limit for limit in given if limit is not None)

    @property
    def limit(self) -> float:
        """The limit in the metric's base unit; of a drop or regression, a fraction, or in the metric's own unit."""
        return self._parse_limit()

    @property
    def reference(self) -> str:
        """The variant that `max_drop` compares with."""
        return self.against or "float32"

    def in_words(self) -> str:
        """The limit as a table shows it: as it was written, since a rounded limit could contradict a verdict."""
        limit = str(self.written).strip()
        if self.max_drop is not None:
            return f"at most {limit} {'worse than' if self.is_users else 'below'} {self.reference}"
        if self.max_regression is not None:
            return f"at most {limit} worse than the baseline"
        return f"{'at most' if self.max is not None else 'at least'} {limit}"


_REGRESSION = "max_regression"
_LIMITS = ("max", "min", "max_drop", _REGRESSION)
